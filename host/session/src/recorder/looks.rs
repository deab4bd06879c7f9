//! How a terminal looks: to programs that ask for its colors, and in a list of
//! sessions.
//!
//! Owns the two as values. Deliberately knows neither who tells them nor who
//! shows them.

/// Colors of the driver's terminal, each as red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colors {
    /// Color of text.
    pub foreground: [u8; 3],
    /// Color behind text.
    pub background: [u8; 3],
    /// Color of the cursor.
    pub cursor: [u8; 3],
}

/// What programs say of themselves. One line each, without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The terminal's title (OSC 0 and 2), at most 1 KiB.
    pub title: Option<String>,
    /// The shell's directory (OSC 7), at most 4 KiB.
    pub directory: Option<String>,
}
