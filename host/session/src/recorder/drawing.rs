//! The screen, drawn by the recorder.
//!
//! Owns how long a drawing may take and how large it may be. Deliberately
//! knows not who waits for it: `screens` does.

use std::sync::Arc;
use std::time::Duration;

use sandbox_broker_core::sandbox::{Code, Error, Fault, Result};
use sandbox_recorder::wire::MAX_SCREEN;
use tokio::time::{Instant, timeout};

use super::ended::{ended_well, torn};
use super::said::{Frames, Said, garbled};
use super::screens::{Asker, Picture};
use super::tape::Tape;
use crate::retry::{PATIENCE, retry_until};

/// Time for the recorder to draw a screen.
const DRAWN_WITHIN: Duration = Duration::from_secs(60);

impl Tape {
    /// Returns the text that draws the screen as it is now, at `offset` or
    /// later. All clients that wait get the same picture. Tries again while
    /// that may help, for a minute.
    pub async fn screen(&self, offset: u64, asker: Asker) -> Result<Arc<Picture>> {
        let draw = || async move {
            let within = || async move {
                let late =
                    |_| Err(Error::new(Fault::Provider, Code::DeadlineExceeded, "the screen was not drawn in time"));
                timeout(DRAWN_WITHIN, self.draw()).await.unwrap_or_else(late)
            };
            retry_until("could not get a screen yet", Instant::now() + PATIENCE, within).await
        };
        self.screens.get(offset, asker, draw).await
    }

    async fn draw(&self) -> Result<Picture> {
        let mut process = self.ask(["screen"]).await?;
        let mut frames = Frames::default();
        let (mut whole, mut picture) = (false, None::<Picture>);
        while let Some(chunk) = process.stdout.recv().await {
            frames.push(chunk);
            while let Some(said) = frames.next()? {
                let Said::Screen(offset, size, more) = said else { return Err(said.unexpected()) };
                if whole {
                    return Err(garbled("a screen goes on after its end"));
                }
                let picture = picture.get_or_insert_with(|| Picture::new(offset, size));
                whole = more.is_empty();
                picture.push(&more);
                if picture.len() > MAX_SCREEN {
                    let message = format!("the recorder's screen has more than {} MiB", MAX_SCREEN >> 20);
                    return Err(Error::new(Fault::Provider, Code::OutOfRange, message));
                }
            }
        }
        ended_well(&mut process).await?;
        picture.filter(|_| whole).ok_or_else(torn)
    }
}
