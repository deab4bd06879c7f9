//! When a failed call is tried again.
//!
//! Owns the pauses, and which errors are worth another try. Deliberately knows
//! not what is tried. The caller says for how long.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use sandbox_broker_core::sandbox::{Code, Error, Fault, Result};
use sandbox_stdx::lock::lock;

use crate::failure::log_failure;
use crate::replaced::is_replaced;
use sandbox_broker_policy::duration::InWords;
use sandbox_broker_policy::stage::{Stage, Step};

/// First and longest pause between two tries.
pub(crate) const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Pauses between tries. Each is twice the last one, up to a longest.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new((first, longest): (Duration, Duration)) -> Self {
        Backoff { next: first, longest }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let longer = (self.next * 2).min(self.longest);
        std::mem::replace(&mut self.next, longer)
    }

    /// Returns the pause after this error. It is at least as long as the
    /// provider asks.
    pub(crate) fn after(&mut self, error: &Error) -> Duration {
        let pause = self.next();
        error.retry_after.map_or(pause, |asked| asked.max(pause))
    }
}

/// Whether the same call may succeed later although nobody acts. A provider in
/// trouble may answer `Internal` or `Unknown`, and a failed plugin gets a fresh
/// instance for each call.
pub(crate) fn may_succeed_later(error: &Error) -> bool {
    error.code.is_transient()
        || error.fault == Fault::Plugin
        || matches!(error.code, Code::Cancelled | Code::Internal | Code::Unknown)
}

/// Tries until the call succeeds, or fails for a reason that does not pass with
/// time. The last try begins before `deadline`. Each failed try is logged as
/// `what`.
pub(crate) async fn retry_until<T, F>(what: &str, deadline: Instant, mut once: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut backoff = Backoff::new(PAUSE);
    loop {
        let error = match once().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let next = Instant::now() + backoff.after(&error);
        if !may_succeed_later(&error) || next >= deadline {
            return Err(error);
        }
        log_failure(what, &error);
        sleep_until(next).await;
    }
}

/// How long a call is tried again if nobody knows whether its error passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Longest pause that a provider may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Number of tries that may fail for a reason that does not pass with time.
const TRIES: u32 = 5;

/// After this time clients hear that their terminal does not answer.
const TELL_AFTER: Duration = Duration::from_secs(5);

/// Returns the pause after this error: as long as the provider asks, within
/// reason.
pub(crate) fn pause_after(error: &Error, backoff: &mut Backoff) -> Duration {
    backoff.after(error).min(LONGEST_PAUSE)
}

/// Makes a connection again that `error` broke. `pause` is the first and the
/// longest pause between tries. Gives up when the error does not pass with
/// time, and when nothing has answered for a whole `lease` or a minute,
/// whichever is longer. By then a sandbox whose lease could not be renewed is
/// gone, and a sandbox whose agent is dead does not come back. If it takes
/// longer than seconds, `news` is told.
pub(crate) async fn reconnect<T, F>(
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
    // The error of the last try. The first error says only that the connection
    // broke.
    let why = Mutex::new(error.message.clone());
    let said = || lock(&why).clone();
    let mut trying = Box::pin(timeout(limit, keep_trying(error, Backoff::new(pause), &why, once)));
    let given_up = |_| {
        let message = format!("it has not answered for {}: {}", InWords(limit), said());
        Err(Error::new(Fault::Provider, Code::DeadlineExceeded, message))
    };
    let tried = tokio::select! {
        tried = &mut trying => return tried.unwrap_or_else(given_up),
        () = sleep(TELL_AFTER) => {
            let words = format!("The sandbox does not answer ({}); trying again for {}", said(), InWords(limit));
            // If the queue is full, it holds such news already.
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
    mut backoff: Backoff,
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
        if !may_succeed_later(&error) {
            hopeless += 1;
        }
        if hopeless > TRIES || (!error.code.is_transient() && broke.elapsed() > PATIENCE) {
            return Err(error);
        }
        sleep(pause_after(&error, &mut backoff)).await;
        match once().await {
            Ok(done) => return Ok(done),
            Err(again) => error = again,
        }
        lock(why).clone_from(&error.message);
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
                reconnect(closed(), lease, PAUSE, &news, || std::future::ready(Err::<(), _>(closed()))).await
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
        let error = reconnect(closed(), LEASE, PAUSE, &news, std::future::pending::<Result<()>>).await.unwrap_err();
        assert_eq!(error.code, Code::DeadlineExceeded);
        assert!(told.try_recv().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_is_not_told_and_a_long_one_twice() {
        for (after, said) in [(2 * SECOND, 0), (20 * SECOND, 2)] {
            let (news, mut told) = mpsc::channel(2);
            let until = Instant::now() + after;
            let once = || std::future::ready(if Instant::now() < until { Err(closed()) } else { Ok(()) });
            reconnect(closed(), LEASE, PAUSE, &news, once).await.unwrap();
            drop(news);
            let mut stages = Vec::new();
            while let Some(stage) = told.recv().await {
                stages.push(stage.message);
            }
            assert_eq!(stages.len(), said, "{stages:?}");
        }
    }
}
