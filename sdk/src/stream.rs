//! The plugin's ends of `stream` and `future`: those that it gets from the host, and those that it hands out.

use std::pin::Pin;

use crate::__bindings::{files, provider};
use crate::{Code, Error, Exit};

pub use wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult, StreamWriter};

/// A byte stream to hand out. Write into the first end and return the second.
///
/// If `write_all` gives bytes back, the reader is gone.
pub fn bytes() -> (StreamWriter<u8>, StreamReader<u8>) {
    provider::wit_stream::new()
}

/// The writing end of a future that tells how something ended.
pub type Outcome<T> = FutureWriter<Result<T, Error>>;

/// What a future of [`outcome`] may tell: how a process ended, or nothing but success.
pub trait Told: Sized + 'static {
    #[doc(hidden)]
    fn outcome(otherwise: fn() -> Result<Self, Error>) -> (Outcome<Self>, FutureReader<Result<Self, Error>>);
}

/// Of a terminal or a process. Every sandbox provider exports `exec`, which has this future.
impl Told for Exit {
    fn outcome(otherwise: fn() -> Result<Self, Error>) -> (Outcome<Self>, FutureReader<Result<Self, Error>>) {
        provider::wit_future::new(otherwise)
    }
}

/// Of a file. Only for a plugin that exports `files`.
impl Told for () {
    fn outcome(otherwise: fn() -> Result<Self, Error>) -> (Outcome<Self>, FutureReader<Result<Self, Error>>) {
        files::wit_future::new(otherwise)
    }
}

/// A future that tells how something ended. If it is dropped without a value, it says `internal`, so that unfinished
/// work never looks like success.
pub fn outcome<T: Told>() -> (Outcome<T>, FutureReader<Result<T, Error>>) {
    T::outcome(|| Err(Error::new(Code::Internal, "the plugin gave up without a reason")))
}

/// Reads a stream in pieces. Giving up a wait loses nothing: the read goes on and the next call gets its result.
pub struct Chunks {
    state: State,
    size: usize,
}

type Read = (StreamReader<u8>, StreamResult, Vec<u8>);

enum State {
    Idle(StreamReader<u8>),
    Reading(Pin<Box<dyn Future<Output = Read>>>),
    Ended,
}

impl Chunks {
    /// Reads at most `size` bytes at once.
    pub fn new(stream: StreamReader<u8>, size: usize) -> Self {
        Self { state: State::Idle(stream), size }
    }

    /// The bytes that have arrived, or `None` at the end. This future may be dropped, and the call repeated.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return None,
                State::Reading(read) => State::Reading(read),
                State::Idle(mut stream) => {
                    let buf = Vec::with_capacity(self.size);
                    State::Reading(Box::pin(async move {
                        let (status, buf) = stream.read(buf).await;
                        (stream, status, buf)
                    }))
                }
            };
            if let State::Reading(read) = &mut self.state {
                let (stream, status, buf) = read.await;
                self.state = match status {
                    StreamResult::Complete(_) => State::Idle(stream),
                    _ => State::Ended,
                };
                if !buf.is_empty() {
                    return Some(buf);
                }
            }
        }
    }
}
