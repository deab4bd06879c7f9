//! Old output, read from the recorder's ring.
//!
//! Owns one stretch of it on its way out, and asks again for the rest if the
//! connection breaks. Deliberately knows not who reads it.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sandbox_broker_core::sandbox::{Process, Result};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::ended::{ended_well, torn};
use super::piece::Piece;
use super::said::{Frames, Said};
use super::tape::{PAUSE, Tape};
use crate::retry::{Backoff, PATIENCE, may_succeed_later, pause_after};

impl Tape {
    /// Reads the output between two offsets, as far as the recorder still has
    /// it. Dropping it ends the transfer.
    pub fn read(&self, from: u64, to: u64) -> Playback {
        let reading = Reading::Asking(self.part(Duration::ZERO, from, to), from, to);
        Playback { tape: self.clone(), from, to, reading, backoff: Backoff::new(PAUSE), broke: None }
    }

    /// Asks for output after a pause.
    fn part(&self, pause: Duration, from: u64, to: u64) -> BoxFuture<'static, Result<Process>> {
        let tape = self.clone();
        async move {
            sleep(pause).await;
            tape.ask(["read", "--from", &from.to_string(), "--to", &to.to_string()]).await
        }
        .boxed()
    }
}

/// A stretch of old output, on its way out of the recorder's ring.
pub struct Playback {
    tape: Tape,
    /// The stretch that has not come yet.
    from: u64,
    to: u64,
    reading: Reading,
    /// Pauses before it is asked for again.
    backoff: Backoff,
    /// Since when no piece came.
    broke: Option<Instant>,
}

/// The state of a [`Playback`].
enum Reading {
    /// The request for what lies between two offsets. It is kept when
    /// [`Playback::next`] is dropped, so that it is not sent twice.
    Asking(BoxFuture<'static, Result<Process>>, u64, u64),
    Answer(Box<Process>, Frames),
}

impl Playback {
    /// Returns the next piece, or none after the last one. If the transfer
    /// breaks, the rest is asked for again while that may help, for a minute.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            let error = match self.reading.next().await {
                Ok(None) if self.from < self.to => torn(),
                Ok(piece) => {
                    match &piece {
                        Some(Piece::Gap(_, end)) => self.from = *end,
                        Some(Piece::Output(offset, bytes)) => self.from = offset + bytes.len() as u64,
                        Some(Piece::Size(..)) | None => {}
                    }
                    (self.backoff, self.broke) = (Backoff::new(PAUSE), None);
                    return Ok(piece);
                }
                Err(error) => error,
            };
            let pause = pause_after(&error, &mut self.backoff);
            let broke = *self.broke.get_or_insert_with(Instant::now);
            if !may_succeed_later(&error) || broke.elapsed() + pause > PATIENCE {
                return Err(error);
            }
            debug!(code = ?error.code, %error, from = self.from, to = self.to, "the transfer of old output broke; asking for the rest");
            self.reading = Reading::Asking(self.tape.part(pause, self.from, self.to), self.from, self.to);
        }
    }
}

impl Reading {
    /// Cancel-safe.
    async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            let (process, frames) = match self {
                Reading::Answer(process, frames) => (process, frames),
                Reading::Asking(process, from, to) => {
                    let frames = Frames::between(*from, *to);
                    let process = process.await?;
                    *self = Reading::Answer(Box::new(process), frames);
                    continue;
                }
            };
            match frames.next()? {
                Some(Said::Output(offset, bytes)) => return Ok(Some(Piece::Output(offset, bytes))),
                Some(Said::Gap(from, to)) => return Ok(Some(Piece::Gap(from, to))),
                Some(Said::Size(offset, size)) => return Ok(Some(Piece::Size(offset, size))),
                Some(said) => return Err(said.unexpected()),
                None => {}
            }
            match process.stdout.recv().await {
                Some(chunk) => frames.push(chunk),
                None => return ended_well(process).await.map(|()| None),
            }
        }
    }
}
