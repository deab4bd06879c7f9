//! Which questions of programs to the terminal were answered. Without a
//! recorder, the terminal of the client that drives answers them.
//!
//! Owns what a client must not answer again, and what nobody has answered yet.
//! Pure.

use std::sync::Arc;

/// How far the output was sent to drivers.
#[derive(Debug, Default)]
pub struct Answered {
    /// Name of the last driver, and the offset that it was sent.
    last: Option<(Arc<str>, u64)>,
    /// Highest offset that an earlier driver was sent.
    before: u64,
}

impl Answered {
    /// A driver of this name was sent the output before `offset`.
    pub fn sent(&mut self, client: &Arc<str>, offset: u64) {
        match &mut self.last {
            Some((last, own)) if last == client => *own = offset.max(*own),
            last => {
                let before = last.replace((Arc::clone(client), offset));
                self.before = before.map_or(0, |(_, own)| own).max(self.before);
            }
        }
    }

    /// Returns the offset from which a driver of this name answers, if it has
    /// the output before `since`. A driver that was cut off answers what it has
    /// not seen. A driver that begins anew answers nothing old: programs no
    /// longer wait for it. The result is never after `end`, the end of the
    /// output.
    pub fn unanswered(&self, client: &str, since: Option<u64>, end: u64) -> u64 {
        match (&self.last, since) {
            (None, _) => 0,
            (Some((last, _)), Some(since)) if &**last == client => self.before.max(since).min(end),
            _ => end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_question_is_answered_by_one() {
        let (one, two) = (Arc::from("one"), Arc::from("two"));
        let mut answered = Answered::default();
        assert_eq!(answered.unanswered("one", None, 50), 0, "the first driver answers what was asked before it came");
        answered.sent(&one, 100);
        assert_eq!(answered.unanswered("two", None, 120), 120);
        assert_eq!(answered.unanswered("one", None, 120), 120, "a page that was loaded again answers nothing old");
        assert_eq!(answered.unanswered("one", Some(90), 120), 90, "what was sent and never arrived");
        answered.sent(&two, 150);
        assert_eq!(answered.unanswered("one", Some(100), 200), 200);
        answered.sent(&one, 200);
        assert_eq!(answered.unanswered("one", Some(120), 300), 150, "the other one has answered this");
        assert_eq!(answered.unanswered("one", Some(999), 300), 300);
    }
}
