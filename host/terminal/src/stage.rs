//! The words of the wire for the state of a step, the same at both levels.

use sandbox_broker_session::{Stage, StageState};

/// The state of a step as `begin`, `done` or `failed`, and how long the step
/// took in milliseconds.
pub(crate) fn told_state(stage: &Stage) -> (&'static str, Option<u64>) {
    let ms = stage.elapsed.as_millis() as u64;
    match stage.state {
        StageState::Started => ("begin", None),
        StageState::Done => ("done", Some(ms)),
        StageState::Failed => ("failed", Some(ms)),
    }
}
