//! One terminal on some server, whatever way leads to it: types, and waits for
//! output. Knows no protocol.

use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::DEADLINE;

/// A server that shows nothing for this long has nothing more.
const SILENCE: Duration = Duration::from_secs(5);

/// A way to a terminal.
#[async_trait]
pub trait Link: Send {
    /// Types `text`.
    async fn send(&mut self, text: &str);

    /// Waits for output and appends it.
    async fn receive(&mut self, output: &mut Vec<u8>);
}

/// A terminal and what it has shown that nobody has passed yet.
pub struct Terminal {
    link: Box<dyn Link>,
    shown: Vec<u8>,
}

impl Terminal {
    pub fn new(link: impl Link + 'static) -> Self {
        Terminal { link: Box::new(link), shown: Vec::new() }
    }

    pub async fn send(&mut self, text: &str) {
        self.link.send(text).await;
    }

    /// Waits for output; whether it came in time.
    async fn receives(&mut self, within: Duration) -> bool {
        tokio::time::timeout(within, self.link.receive(&mut self.shown)).await.is_ok()
    }

    async fn receive(&mut self) {
        assert!(self.receives(DEADLINE).await, "no output for {DEADLINE:?}");
    }

    /// Waits for the first output of the shell.
    pub async fn prompt(&mut self) {
        while self.shown.is_empty() {
            self.receive().await;
        }
    }

    /// Passes everything up to the end of `text`.
    pub async fn until(&mut self, text: &str) {
        loop {
            if let Some(at) = self.shown.windows(text.len()).position(|w| w == text.as_bytes()) {
                self.shown.drain(..at + text.len());
                return;
            }
            self.receive().await;
        }
    }

    /// Passes everything up to `text`, after which nothing is shown, or until
    /// nothing was shown for [`SILENCE`], for a server may have lost it. How many
    /// bytes came, `text` among them, and when the last.
    pub async fn count_until_last(&mut self, text: &str) -> (usize, Instant) {
        let (mut passed, mut last) = (0, Instant::now());
        while !self.shown.ends_with(text.as_bytes()) {
            let keep = self.shown.len().min(text.len());
            passed += self.shown.len() - keep;
            self.shown.drain(..self.shown.len() - keep);
            if !self.receives(SILENCE).await {
                break;
            }
            last = Instant::now();
        }
        (passed + std::mem::take(&mut self.shown).len(), last)
    }

    /// Passes everything up to this byte. Looks at each byte once, for there may
    /// be many before it.
    pub async fn past(&mut self, byte: u8) {
        loop {
            if let Some(at) = memchr::memchr(byte, &self.shown) {
                self.shown.drain(..=at);
                return;
            }
            self.shown.clear();
            self.receive().await;
        }
    }

    /// Passes exactly `n` bytes.
    pub async fn bytes(&mut self, n: usize) {
        while self.shown.len() < n {
            self.receive().await;
        }
        self.shown.drain(..n);
    }

    /// Passes output for ever.
    pub async fn watch(&mut self) -> ! {
        loop {
            self.link.receive(&mut self.shown).await;
            self.shown.clear();
        }
    }
}
