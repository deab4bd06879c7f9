//! Where a level 1 client's output comes from.
//!
//! Owns the states of catching up and how a screen is cut into frames.
//! Deliberately decides no transition; `outbound` does.
//!
//! ```text
//!         wants bytes           read to its end
//!   Live ────────────▶ Playing ─────────────────▶ Live
//!    │ Behind             │ the recorder does not have it: tell a gap
//!    │ wants screens      ▼
//!    ├──▶ Settling ──▶ Fetching ──▶ Drawing ─────▶ Live
//!    │ has nothing        ▲    the screen, in parts
//!    └────────────────────┘
//! ```

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::frames::level1::{screen_head, screen_tail, screen_text};
use crate::socket::limits::MAX_JOINED;
use sandbox_broker_core::sandbox::Result as SandboxResult;
use sandbox_broker_session::{Picture, Playback};

/// Frames of a screen between two pings. Even on a slow line the next ping comes
/// within the time in which a client must answer.
const PARTS_PER_PING: usize = 4;

/// Where output comes from.
pub(super) enum OutputSource {
    /// The session itself.
    Live,
    /// The client is behind and has not drawn what it was sent. A screen taken now
    /// would be old by the time the line is free for it.
    Settling,
    /// The recorder was asked for the screen.
    Fetching(BoxFuture<'static, SandboxResult<Arc<Picture>>>),
    /// The screen is being sent: one message in many frames, and no other message
    /// fits between them.
    Drawing(ScreenFrames),
    /// The recorder plays back what comes before this offset.
    Playing(Box<Playback>, u64),
}

/// A screen on its way to the client. All clients that wait for it share the
/// picture; each costs one part of it at a time.
pub(super) struct ScreenFrames {
    picture: Arc<Picture>,
    /// Index of the part that is sent next.
    part: usize,
    /// Bytes of that part that were sent.
    done: usize,
    /// Frames that were sent.
    sent: usize,
}

impl ScreenFrames {
    /// None of it was sent.
    pub(super) fn new(picture: Arc<Picture>) -> Self {
        ScreenFrames { picture, part: 0, done: 0, sent: 0 }
    }

    /// Whether a ping goes before the next frame: a client that receives for a
    /// long time must still show that it lives.
    pub(super) fn is_ping_due(&self) -> bool {
        self.sent > 0 && self.sent.is_multiple_of(PARTS_PER_PING)
    }

    /// Takes the next frame of the message, and whether it is the last. A frame
    /// has little more than six times [`MAX_JOINED`] bytes at most.
    pub(super) fn next(&mut self) -> (String, bool) {
        let mut json = String::new();
        if self.sent == 0 {
            json = screen_head(self.picture.offset);
        }
        self.sent += 1;
        if let Some(part) = self.picture.parts.get(self.part) {
            let rest = &part[self.done..];
            let text = &rest[..rest.floor_char_boundary(MAX_JOINED)];
            screen_text(text, &mut json);
            self.done += text.len();
            if self.done == part.len() {
                (self.part, self.done) = (self.part + 1, 0);
            }
        }
        let last = self.part >= self.picture.parts.len();
        if last {
            screen_tail(self.picture.size.into(), &mut json);
        }
        (json, last)
    }
}
