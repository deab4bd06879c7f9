//! When what failed is tried again. Decides by the error alone; what is tried,
//! and for how long, is the caller's matter.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::driver::failed;
use super::tape::is_replaced;
use super::{Stage, Step, Words};
use sandbox_broker_core::sandbox::{Code, Error, Fault, Result};

/// First and longest pause between two tries.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Pauses between tries: each twice the last one, up to a longest.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    pub(super) fn new((first, longest): (Duration, Duration)) -> Self {
        Pauses { next: first, longest }
    }

    pub(super) fn next(&mut self) -> Duration {
        let longer = (self.next * 2).min(self.longest);
        std::mem::replace(&mut self.next, longer)
    }

    /// The next one after this error, no shorter than the provider asks.
    pub(super) fn after(&mut self, error: &Error) -> Duration {
        let pause = self.next();
        error.retry_after.map_or(pause, |asked| asked.max(pause))
    }
}

/// Whether the same may succeed later though nobody acts. A provider in trouble
/// may say anything of what it does not know, and a plugin that failed gets a
/// fresh instance each time.
pub(super) fn may_pass(error: &Error) -> bool {
    error.code.is_transient()
        || error.fault == Fault::Plugin
        || matches!(error.code, Code::Cancelled | Code::Internal | Code::Unknown)
}

/// Tries until it succeeds or fails for a reason that time does not mend, the
/// last time before `deadline`. `what` could not be done goes to the log.
pub(super) async fn patiently<T, F>(what: &str, deadline: Instant, mut once: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut pauses = Pauses::new(PAUSE);
    loop {
        let error = match once().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let next = Instant::now() + pauses.after(&error);
        if !may_pass(&error) || next >= deadline {
            return Err(error);
        }
        failed(what, &error);
        sleep_until(next).await;
    }
}

/// How long a reason is borne of which nobody knows whether time mends it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The longest pause where the provider says how long.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Tries in a row that fail for a reason that time does not mend.
const TRIES: u32 = 5;

/// When clients hear that their terminal does not answer.
const TELL_AFTER: Duration = Duration::from_secs(5);

/// The next pause after this error, as long as the provider asks within reason.
pub(super) fn pause_after(error: &Error, pauses: &mut Pauses) -> Duration {
    pauses.after(error).min(LONGEST_PAUSE)
}

/// Makes a connection again that broke by `error`, with pauses from the first
/// to the longest of `pause`. Gives up when the error is one that time does not
/// mend, and when nothing answered for a whole `lease` or a minute, whichever
/// is longer: a sandbox whose lease could not be renewed is gone by then, and
/// one whose agent is dead does not come back. What becomes of it goes to
/// `news` when it takes more than seconds.
pub(super) async fn again<T, F>(
    error: Error,
    lease: Duration,
    pause: (Duration, Duration),
    news: &mpsc::Sender<Stage>,
    once: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let broke = Instant::now();
    let limit = lease.max(PATIENCE);
    // What the last try said: the first error tells only that the way broke.
    let why = Mutex::new(error.message.clone());
    let said = || why.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut trying = Box::pin(timeout(limit, keep_trying(error, Pauses::new(pause), &why, once)));
    let given_up = |_| {
        let message = format!("it has not answered for {}: {}", Words(limit), said());
        Err(Error::new(Fault::Provider, Code::DeadlineExceeded, message))
    };
    let tried = tokio::select! {
        tried = &mut trying => return tried.unwrap_or_else(given_up),
        () = sleep(TELL_AFTER) => {
            let words = format!("The sandbox does not answer ({}); trying again for {}", said(), Words(limit));
            // Only news of the same kind can be in its way.
            let _ = news.try_send(Stage::started(Step::Shell, words));
            trying.await.unwrap_or_else(given_up)
        }
    };
    if tried.is_ok() {
        let _ = news.try_send(Stage::done(Step::Shell, "The sandbox answers again", broke.elapsed()));
    }
    tried
}

async fn keep_trying<T, F>(
    mut error: Error,
    mut pauses: Pauses,
    why: &Mutex<String>,
    mut once: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let (mut hopeless, broke) = (0, Instant::now());
    loop {
        if error.code == Code::NotFound || is_replaced(&error) {
            return Err(error);
        }
        if !may_pass(&error) {
            hopeless += 1;
        }
        if hopeless > TRIES || (!error.code.is_transient() && broke.elapsed() > PATIENCE) {
            return Err(error);
        }
        sleep(pause_after(&error, &mut pauses)).await;
        match once().await {
            Ok(done) => return Ok(done),
            Err(again) => error = again,
        }
        why.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&error.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LEASE: Duration = Duration::from_secs(300);

    fn closed() -> Error {
        Error::new(Fault::Provider, Code::Unavailable, "port is not open")
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_stays_dead_is_told_of_after_seconds_and_given_up_after_a_lease() {
        for (lease, limit) in [(LEASE, LEASE), (3 * SECOND, PATIENCE)] {
            let (news, mut told) = mpsc::channel(2);
            let began = Instant::now();
            let trying = tokio::spawn(async move {
                again(closed(), lease, PAUSE, &news, || std::future::ready(Err::<(), _>(closed()))).await
            });
            let stage = told.recv().await.unwrap();
            assert_eq!(began.elapsed(), TELL_AFTER);
            assert!(stage.message.contains("does not answer (port is not open)"), "{}", stage.message);
            let error = trying.await.unwrap().unwrap_err();
            assert_eq!((began.elapsed(), error.code), (limit, Code::DeadlineExceeded));
            assert!(error.message.ends_with("port is not open"), "{error}");
            assert!(told.recv().await.is_none(), "it is told once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_hangs_is_told_of_and_given_up_too() {
        let (news, mut told) = mpsc::channel(2);
        let error = again(closed(), LEASE, PAUSE, &news, std::future::pending::<Result<()>>).await.unwrap_err();
        assert_eq!(error.code, Code::DeadlineExceeded);
        assert!(told.try_recv().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_is_not_told_and_a_long_one_twice() {
        for (after, said) in [(2 * SECOND, 0), (20 * SECOND, 2)] {
            let (news, mut told) = mpsc::channel(2);
            let until = Instant::now() + after;
            let once = || std::future::ready(if Instant::now() < until { Err(closed()) } else { Ok(()) });
            again(closed(), LEASE, PAUSE, &news, once).await.unwrap();
            drop(news);
            let mut stages = Vec::new();
            while let Some(stage) = told.recv().await {
                stages.push(stage.message);
            }
            assert_eq!(stages.len(), said, "{stages:?}");
        }
    }
}
