//! A network between a client and a broker that can be cut.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// An address for a proxy, so that a broker can be told of it before it runs.
pub struct Place(TcpListener);

impl Place {
    pub async fn find() -> Self {
        Place(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.0.local_addr().unwrap().port())
    }
}

/// Carries connections to a broker until it is cut or dropped.
pub struct Proxy {
    url: String,
    /// Where it leads.
    broker: watch::Sender<String>,
    /// Counts the cuts.
    cuts: watch::Sender<usize>,
    /// Connections that were carried so far.
    carried: watch::Sender<usize>,
    _accept: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Before the broker at this URL; with `tls`, clients have to speak it.
    pub fn start(place: Place, broker: &str, tls: Option<rustls::ServerConfig>) -> Self {
        let url = place.url();
        let broker = watch::Sender::new(address(broker));
        let target = broker.subscribe();
        let tls = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let (cuts, carried) = (watch::Sender::new(0), watch::Sender::new(0));
        let (cut, count) = (cuts.clone(), carried.clone());
        let accept = async move {
            loop {
                let (client, _) = place.0.accept().await.unwrap();
                let (broker, tls, cut) = (target.borrow().clone(), tls.clone(), cut.subscribe());
                count.send_modify(|count| *count += 1);
                tokio::spawn(async move {
                    match tls {
                        None => carry(client, &broker, cut).await,
                        Some(tls) => {
                            if let Ok(client) = tls.accept(client).await {
                                carry(client, &broker, cut).await;
                            }
                        }
                    }
                });
            }
        };
        Proxy { url, broker, cuts, carried, _accept: AbortOnDropHandle::new(tokio::spawn(accept)) }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Connections that come from now on go to the broker at this URL.
    pub fn lead_to(&self, broker: &str) {
        self.broker.send_replace(address(broker));
    }

    /// Breaks every connection, without a word to either side.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Connections that were carried so far.
    pub fn carried(&self) -> usize {
        *self.carried.borrow()
    }
}

fn address(url: &str) -> String {
    url.strip_prefix("http://").unwrap().to_owned()
}

async fn carry(mut client: impl AsyncRead + AsyncWrite + Unpin, broker: &str, mut cut: watch::Receiver<usize>) {
    let Ok(mut broker) = TcpStream::connect(broker).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut broker) => {}
        _ = cut.changed() => {}
    }
}
