//! How programs want keys reported: kitty's keyboard protocol, with a stack for each buffer, and xterm's modifyOtherKeys
//! and formatOtherKeys.
//!
//! Only keeps these settings. Keys are encoded in the page.

use super::parser::Params;

/// The most entries of a stack. Beyond that, the oldest is dropped.
const MAX_STACK: usize = 16;

/// All flags of kitty's protocol.
const FLAGS: u8 = 0x1f;

/// The flags of one buffer. The last entry is in force, the others are saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stack(Vec<u8>);

impl Stack {
    pub(super) fn flags(&self) -> u8 {
        self.0.last().copied().unwrap_or(0)
    }

    pub(super) fn push(&mut self, flags: i32) {
        if self.0.is_empty() {
            self.0.push(0);
        }
        self.0.push(flags as u8 & FLAGS);
        if self.0.len() > MAX_STACK {
            self.0.remove(0);
        }
    }

    pub(super) fn pop(&mut self, count: usize) {
        self.0.truncate(self.0.len().saturating_sub(count));
    }

    /// Changes the flags in force. `how` is 1 to replace them, 2 to add and 3 to remove flags.
    pub(super) fn set(&mut self, flags: i32, how: i32) {
        let flags = flags as u8 & FLAGS;
        if self.0.is_empty() {
            self.0.push(0);
        }
        if let Some(last) = self.0.last_mut() {
            match how {
                0 | 1 => *last = flags,
                2 => *last |= flags,
                3 => *last &= !flags,
                _ => {}
            }
        }
    }

    /// Appends what brings an empty stack into this state.
    pub(super) fn draw(&self, text: &mut String) {
        use std::fmt::Write as _;
        let mut flags = self.0.iter();
        if let Some(first) = flags.next().filter(|first| **first != 0) {
            let _ = write!(text, "\x1b[={first};1u");
        }
        for flags in flags {
            let _ = write!(text, "\x1b[>{flags}u");
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keyboard {
    pub(super) normal: Stack,
    pub(super) alternate: Stack,
    /// 0 means off, here and below.
    pub(super) modify_other: u8,
    pub(super) format_other: u8,
}

/// The number of modifyOtherKeys and formatOtherKeys among xterm's key resources.
pub(super) const OTHER: i32 = 4;

/// Returns the new value of the resource, `most` at most. `None` if the parameters name another resource. Without
/// parameters, all resources are reset.
pub(super) fn resource(params: &Params, most: i32) -> Option<u8> {
    match params.get(0) {
        OTHER => Some(params.get(1).clamp(0, most) as u8),
        0 if params.len() <= 1 => Some(0),
        _ => None,
    }
}
