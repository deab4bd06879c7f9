//! The numbers of the types of frames. All directions share one range.

pub(super) const HELLO: u8 = 0x01;
pub(super) const OUTPUT: u8 = 0x02;
pub(super) const GAP: u8 = 0x03;
pub(super) const TAKEN: u8 = 0x04;
pub(super) const EXIT: u8 = 0x05;
pub(super) const SCREEN: u8 = 0x06;
pub(super) const REFUSED: u8 = 0x07;
pub(super) const SIZE: u8 = 0x08;
pub(super) const TITLE: u8 = 0x09;
pub(super) const DIRECTORY: u8 = 0x0a;
pub(super) const INPUT: u8 = 0x11;
pub(super) const RESIZE: u8 = 0x12;
pub(super) const ACK: u8 = 0x13;
pub(super) const SIGNAL: u8 = 0x14;
pub(super) const COLORS: u8 = 0x15;
pub(super) const ENTRY: u8 = 0x21;
pub(super) const CONTENT: u8 = 0x22;
pub(super) const DONE: u8 = 0x23;
pub(super) const FAILED: u8 = 0x24;
pub(super) const WHOLE: u8 = 0x25;
pub(super) const READY: u8 = 0x26;
