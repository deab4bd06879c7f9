//! When a request to the control plane is sent again. Pure.
//!
//! A sandbox that was made twice costs twice, so a creation is repeated only
//! after an answer that proves that nothing was made.

use std::time::Duration;

use sandbox_broker_sdk::Code;

/// Tries of one request, the first included: outlives a deploy's hiccup and
/// stays within any deadline.
const MAX_TRIES: u32 = 4;

/// First pause when the server does not say; doubles with each try.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What repeating a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The same as doing it once.
    Same,
    /// Perhaps a second sandbox.
    Twice,
}

/// How a try ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// With this status.
    Status {
        status: u16,
        /// `Retry-After`, if given.
        retry_after: Option<Duration>,
        /// `Should-Retry`, if given.
        should_retry: Option<bool>,
    },
    /// Without an answer, for this reason.
    Transport(Code),
}

/// The pause before the next try; none when there should be no next one.
/// `tries` is how many were made, `left` the time that remains.
pub fn pause(effect: Effect, tries: u32, outcome: Outcome, left: Duration) -> Option<Duration> {
    if tries >= MAX_TRIES {
        return None;
    }
    let backoff = FIRST_PAUSE * 2_u32.pow(tries.saturating_sub(1));
    let pause = match outcome {
        Outcome::Status { should_retry: Some(false), .. } => return None,
        // Refused before anything was done, and told when to come back.
        Outcome::Status { status: 429, retry_after: Some(wait), .. } => wait.max(FIRST_PAUSE),
        Outcome::Status { status: 502..=504, retry_after, .. } if effect == Effect::Same => {
            retry_after.unwrap_or(backoff).max(FIRST_PAUSE)
        }
        Outcome::Transport(Code::Unavailable) if effect == Effect::Same => backoff,
        _ => return None,
    };
    (pause < left).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn status(status: u16, retry_after: Option<u64>) -> Outcome {
        let retry_after = retry_after.map(Duration::from_secs);
        Outcome::Status { status, retry_after, should_retry: None }
    }

    #[test]
    fn a_creation_is_never_repeated_blindly() {
        for outcome in [
            status(502, Some(1)),
            status(503, None),
            status(504, None),
            status(500, None),
            Outcome::Transport(Code::Unavailable),
            Outcome::Transport(Code::DeadlineExceeded),
            status(429, None),
        ] {
            assert_eq!(pause(Effect::Twice, 1, outcome, MINUTE), None, "{outcome:?}");
        }
        let told = pause(Effect::Twice, 1, status(429, Some(2)), MINUTE);
        assert_eq!(told, Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_is_the_same_twice_is_repeated_within_bounds() {
        for outcome in [status(502, None), status(503, None), status(504, None), Outcome::Transport(Code::Unavailable)]
        {
            let pauses: Vec<_> = (1..=MAX_TRIES).map(|n| pause(Effect::Same, n, outcome, MINUTE)).collect();
            assert_eq!(pauses.iter().flatten().count() as u32, MAX_TRIES - 1, "{outcome:?}");
            assert_eq!(pauses.last(), Some(&None));
        }
        for outcome in
            [status(500, None), status(400, None), status(404, None), Outcome::Transport(Code::PermissionDenied)]
        {
            assert_eq!(pause(Effect::Same, 1, outcome, MINUTE), None, "{outcome:?}");
        }
    }

    #[test]
    fn a_wait_that_does_not_fit_is_the_callers_to_make() {
        assert_eq!(pause(Effect::Same, 1, status(429, Some(60)), MINUTE), None);
        assert_eq!(pause(Effect::Same, 1, status(503, Some(61)), MINUTE), None);
    }

    #[test]
    fn a_server_may_forbid_it() {
        let no = Outcome::Status { status: 503, retry_after: None, should_retry: Some(false) };
        assert_eq!(pause(Effect::Same, 1, no, MINUTE), None);
    }
}
