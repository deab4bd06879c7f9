//! Which size the terminal had at which byte of the output.
//!
//! Owns the changes of size in the part of the output that is held. Pure.

use std::collections::VecDeque;

use sandbox_broker_core::sandbox::Size;

/// Largest number of changes that are kept. A terminal takes one in 40 ms.
/// Beyond it, the oldest output is reported with the size that came after it.
const MAX_CHANGES: usize = 1024;

/// Each size with the offset of the first byte that was written for it, rising.
#[derive(Debug, Default)]
pub(crate) struct Sizes(VecDeque<(u64, Size)>);

impl Sizes {
    /// The terminal has this size from `offset` on. No earlier change counts
    /// there any more.
    pub(crate) fn change(&mut self, offset: u64, size: Size) {
        while self.0.pop_back_if(|(at, _)| *at >= offset).is_some() {}
        if self.0.back().is_some_and(|(_, last)| *last == size) {
            return;
        }
        self.0.push_back((offset, size));
        if self.0.len() > MAX_CHANGES {
            self.0.pop_front();
        }
    }

    /// The size at `offset`. Before the first change it is the first size.
    pub(crate) fn at(&self, offset: u64) -> Option<Size> {
        let after = self.0.partition_point(|(at, _)| *at <= offset);
        self.0.get(after.saturating_sub(1)).map(|(_, size)| *size)
    }

    /// The last change from `since` to `offset`, both included.
    pub(crate) fn between(&self, since: u64, offset: u64) -> Option<(u64, Size)> {
        let after = self.0.partition_point(|(at, _)| *at <= offset);
        self.0.get(after.checked_sub(1)?).copied().filter(|(at, _)| *at >= since)
    }

    /// Offset of the first change after `offset`.
    pub(crate) fn next(&self, offset: u64) -> Option<u64> {
        self.0.get(self.0.partition_point(|(at, _)| *at <= offset)).map(|(at, _)| *at)
    }

    /// Drops the changes that do not matter for output from `start` on.
    pub(crate) fn forget(&mut self, start: u64) {
        while self.0.get(1).is_some_and(|(at, _)| *at <= start) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(cols: u16) -> Size {
        Size { cols, rows: 24 }
    }

    fn sizes(changes: &[(u64, u16)]) -> Sizes {
        let mut sizes = Sizes::default();
        changes.iter().for_each(|(at, cols)| sizes.change(*at, size(*cols)));
        sizes
    }

    #[test]
    fn every_byte_has_the_size_that_it_was_written_for() {
        let mut sizes = sizes(&[(0, 80), (10, 80), (10, 100), (10, 120), (20, 90), (30, 90)]);
        let cols = |sizes: &Sizes| [0, 9, 10, 19, 20, 99].map(|at| sizes.at(at).unwrap().cols);
        assert_eq!(cols(&sizes), [80, 80, 120, 120, 90, 90]);
        assert_eq!([0, 9, 10, 20].map(|at| sizes.next(at)), [Some(10), Some(10), Some(20), None]);
        sizes.forget(19);
        assert_eq!(cols(&sizes), [120, 120, 120, 120, 90, 90]);
        assert_eq!(Sizes::default().at(7), None);
    }

    #[test]
    fn a_change_is_found_by_who_does_not_know_of_it() {
        let sizes = sizes(&[(0, 80), (10, 120), (20, 90)]);
        let found = |since, offset| sizes.between(since, offset).map(|(at, size)| (at, size.cols));
        assert_eq!(found(0, 5), Some((0, 80)));
        assert_eq!(found(5, 9), None);
        assert_eq!(found(5, 10), Some((10, 120)));
        assert_eq!(found(10, 99), Some((20, 90)));
        assert_eq!(found(21, 99), None);
    }

    #[test]
    fn changes_are_bounded() {
        let mut sizes = Sizes::default();
        (0..5000).for_each(|at| sizes.change(at, size(80 + (at % 2) as u16)));
        assert_eq!(sizes.0.len(), MAX_CHANGES);
        assert_eq!(sizes.at(4999), Some(size(81)));
    }
}
