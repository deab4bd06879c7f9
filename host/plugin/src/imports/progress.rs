//! The import `progress`: what a call is doing now, for the person who waits.
//!
//! Owns the bounds on what a plugin says. Deliberately does not know who waits: a call that nobody waits for has nowhere to
//! report to.

use wasmtime::component::{HasData, Linker};

use crate::bindings::host::progress;
use sandbox_broker_core::progress::{Progress, Report};
use sandbox_stdx::words::clean;

/// Bytes of a report that are kept.
const REPORT_BYTES: usize = 256;

/// What this capability sees of a Store.
#[derive(Clone, Copy)]
pub(crate) struct ProgressView<'a>(pub(crate) Option<&'a Progress>);

/// A Store whose guest may report progress.
pub(crate) trait LendsProgress: 'static {
    fn progress(&mut self) -> ProgressView<'_>;
}

struct HasProgress;

impl HasData for HasProgress {
    type Data<'a> = ProgressView<'a>;
}

/// Adds `progress` to what a guest may import.
pub(crate) fn link<T: LendsProgress>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    progress::add_to_linker::<T, HasProgress>(linker, T::progress)
}

impl progress::Host for ProgressView<'_> {
    fn report(&mut self, message: String, percent: Option<u8>) {
        let Some(to) = self.0 else { return };
        let message = clean(&message, REPORT_BYTES);
        if !message.is_empty() {
            to.send_replace(Report { message, percent: percent.map(|percent| percent.min(100)) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::progress::Host as _;
    use super::*;

    #[test]
    fn a_report_is_cut_and_cleaned_and_an_empty_one_is_none() {
        let (to, news) = tokio::sync::watch::channel(Report::default());
        ProgressView(Some(&to)).report(String::new(), Some(1));
        assert!(!news.has_changed().unwrap());
        ProgressView(Some(&to)).report(format!("a\x1b[2J{}", "b".repeat(1000)), Some(250));
        let Report { message, percent } = news.borrow().clone();
        assert!(message.len() <= REPORT_BYTES + '…'.len_utf8() && !message.contains('\x1b'), "{message}");
        assert_eq!(percent, Some(100));
        ProgressView(None).report("nobody waits".to_owned(), None);
    }
}
