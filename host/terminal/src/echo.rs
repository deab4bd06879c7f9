//! An echo on the terminal's own upgrade, for the conformance test. Knows no
//! session.

use axum::response::Response;
use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::Message;

use crate::socket::ending::Ending;
use crate::socket::limits::Limits;
use crate::socket::reader::of_error;
use crate::socket::upgrade::Upgrade;
use crate::socket::writer::Writer;

impl Upgrade {
    /// Sends back every message.
    pub fn echo(self, limits: Limits) -> Response {
        self.accept(&limits, move |socket| async move {
            let (sink, mut stream) = socket.split();
            let mut sink = Writer::new(sink);
            let ending = loop {
                match stream.next().await {
                    Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                        if sink.send(message).await.is_err() {
                            break Ending::Gone("the connection broke");
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break of_error(error),
                    None => break Ending::Gone("the connection ended"),
                }
            };
            _ = tokio::time::timeout(limits.close_within, ending.close(sink, stream)).await;
        })
    }
}
