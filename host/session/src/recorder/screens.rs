//! Screens for clients that come late: drawn once for all who wait.
//!
//! Owns who waits, in which order, and how long a drawing is kept. Deliberately
//! knows neither sandbox nor recorder: the caller draws.
//!
//! ```text
//!   waits ──▶ has the turn ──▶ draws the screen as it is then
//!     ▲            │                 │
//!     │            ▼                 ▼ the result is everybody's who waited
//!     └── a guest steps back     has its picture
//!         while others wait
//! ```

use std::sync::{Arc, Mutex, MutexGuard};

use sandbox_broker_core::sandbox::{Result, Size};
use sandbox_stdx::lock::lock;
use tokio::sync::Semaphore;

/// Largest size in bytes of one part of a picture.
const PART: usize = 64 * 1024;

/// The text that draws the screen at an offset, on a terminal that was reset.
#[derive(Debug)]
pub struct Picture {
    /// All output before this offset is in the screen.
    pub offset: u64,
    /// The terminal's size there.
    pub size: Size,
    /// The text, in order. No part is empty.
    pub parts: Vec<String>,
}

impl Picture {
    pub(super) fn new(offset: u64, size: Size) -> Self {
        Picture { offset, size, parts: Vec::new() }
    }

    /// Adds text. Small pieces are joined, so that many of them cost no more
    /// than their bytes.
    pub(super) fn push(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(last) if last.len() + text.len() <= PART => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.parts.push(text.to_owned()),
        }
    }

    /// Bytes of text.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(String::len).sum()
    }
}

/// Who wants a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A client of the session's user.
    Own,
    /// A guest. It waits while others wait.
    Guest,
}

/// The drawings of one session. Only one is made at a time: each runs a program
/// in the sandbox.
#[derive(Debug)]
pub(crate) struct Screens {
    turn: Semaphore,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    own: usize,
    guests: usize,
    /// Counts drawings that were begun.
    begun: u64,
    /// The last drawing that was finished, while somebody may want it.
    last: Option<(u64, Result<Arc<Picture>>)>,
}

impl Default for Screens {
    fn default() -> Self {
        Screens { turn: Semaphore::new(1), waiting: Mutex::default() }
    }
}

impl Screens {
    /// Returns a picture at `offset` or later, or one that was begun after this
    /// call: the caller knows no later offset. `draw` makes one. All who wait
    /// when it begins get the same picture or the same error. Cancel-safe:
    /// another caller that waits draws then.
    pub(super) async fn get<F>(&self, offset: u64, asker: Asker, draw: impl FnOnce() -> F) -> Result<Arc<Picture>>
    where
        F: Future<Output = Result<Picture>>,
    {
        let waiter = Waiter::take(self, offset, asker);
        let turn = loop {
            let turn = self.turn.acquire().await.expect("never closed");
            if let Some(drawn) = waiter.drawn() {
                return drawn;
            }
            // Those that go first are in the queue, so they come before this
            // one.
            if asker == Asker::Own || self.lock().own == 0 {
                break turn;
            }
        };
        let number = self.begin();
        let drawn = draw().await.map(Arc::new);
        self.lock().last = Some((number, drawn.clone()));
        drop(turn);
        drawn
    }

    fn begin(&self) -> u64 {
        let mut waiting = self.lock();
        waiting.begun += 1;
        waiting.begun
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }
}

impl Waiting {
    fn count(&mut self, asker: Asker) -> &mut usize {
        match asker {
            Asker::Own => &mut self.own,
            Asker::Guest => &mut self.guests,
        }
    }
}

/// One caller that waits, until it is dropped.
struct Waiter<'a> {
    screens: &'a Screens,
    offset: u64,
    asker: Asker,
    /// Drawings that were begun before it came.
    before: u64,
}

impl<'a> Waiter<'a> {
    fn take(screens: &'a Screens, offset: u64, asker: Asker) -> Self {
        let mut waiting = screens.lock();
        *waiting.count(asker) += 1;
        Waiter { screens, offset, asker, before: waiting.begun }
    }

    /// The drawing, if one was made for this waiter too.
    fn drawn(&self) -> Option<Result<Arc<Picture>>> {
        let waiting = self.screens.lock();
        let (number, drawn) = waiting.last.as_ref()?;
        let fits = drawn.as_ref().is_ok_and(|picture| picture.offset >= self.offset);
        (*number > self.before || fits).then(|| drawn.clone())
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.screens.lock();
        *waiting.count(self.asker) -= 1;
        if waiting.own + waiting.guests == 0 {
            waiting.last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::future::join_all;

    use super::*;
    use sandbox_broker_core::sandbox::{Code, Error, Fault};

    fn picture(offset: u64) -> Picture {
        Picture::new(offset, Size { cols: 80, rows: 24 })
    }

    /// Draws at this offset, after the others had their turn to come.
    async fn draw(log: &RefCell<Vec<u64>>, offset: u64) -> Result<Picture> {
        log.borrow_mut().push(offset);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        Ok(picture(offset))
    }

    #[tokio::test]
    async fn all_who_wait_get_one_drawing() {
        let (screens, log) = (Screens::default(), RefCell::default());
        let next = || draw(&log, 50 + log.borrow().len() as u64);
        let got = join_all((1..=64).map(|at| screens.get(at, Asker::Own, next))).await;
        // The first one began before the others came, and is too early for some.
        assert_eq!(*log.borrow(), [50, 51]);
        let got: Vec<_> = got.into_iter().map(Result::unwrap).collect();
        assert!(got[..50].iter().all(|picture| picture.offset == 50));
        assert!(got[50..].iter().all(|picture| Arc::ptr_eq(picture, &got[50]) && picture.offset == 51));
        assert!(screens.lock().last.is_none(), "nobody wants it any more");
    }

    #[tokio::test]
    async fn all_who_wait_get_one_error() {
        let (screens, tries) = (Screens::default(), RefCell::new(0));
        let fail = || async {
            *tries.borrow_mut() += 1;
            tokio::task::yield_now().await;
            Err(Error::new(Fault::Provider, Code::OutOfRange, "too large"))
        };
        let got = join_all((0..10).map(|at| screens.get(at, Asker::Own, fail))).await;
        assert!(got.iter().all(Result::is_err));
        assert_eq!(*tries.borrow(), 2);
    }

    #[tokio::test]
    async fn guests_are_drawn_for_after_the_others() {
        let (screens, order) = (&Screens::default(), &RefCell::new(Vec::new()));
        let turn = screens.turn.acquire().await.unwrap();
        let get = |name: &'static str, asker, offset| async move {
            let draw = || async move {
                order.borrow_mut().push(name);
                Ok(picture(2))
            };
            assert_eq!(screens.get(offset, asker, draw).await.unwrap().offset, 2);
        };
        let free = async {
            tokio::task::yield_now().await;
            drop(turn);
        };
        tokio::join!(get("guest", Asker::Guest, 1), get("own", Asker::Own, 2), free);
        assert_eq!(*order.borrow(), ["own"], "one drawing for both, by the session's own");
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_drawing_to_the_next() {
        let (screens, log) = (Screens::default(), RefCell::default());
        let mut first = Box::pin(screens.get(1, Asker::Own, std::future::pending));
        assert!(futures_util::poll!(&mut first).is_pending());
        let second = screens.get(2, Asker::Own, || draw(&log, 2));
        let (second, ()) = tokio::join!(second, async { drop(first) });
        assert_eq!(second.unwrap().offset, 2);
    }

    #[test]
    fn small_pieces_are_joined() {
        let mut picture = picture(0);
        for _ in 0..PART + 10 {
            picture.push("x");
            picture.push("");
        }
        assert_eq!((picture.parts.len(), picture.len()), (2, PART + 10));
    }
}
