//! What the rules look at and what they find. Owns how a finding is placed, and when a rule must be silent; deliberately
//! knows no rule.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::Value;

use crate::check::found;
use crate::document::SourceMap;
use crate::mistake::Mistake;

/// What the rules look at besides the file's values.
pub(crate) struct Context<'a> {
    /// Where things stand.
    pub(crate) map: &'a SourceMap,
    /// The directory of the file.
    pub(crate) base: &'a Path,
    /// Pointers of what is wrong by itself.
    pub(crate) wrong: &'a BTreeSet<String>,
    /// Every name in `[providers]`, including those of wrong sections.
    pub(crate) providers: &'a [String],
}

/// The rules at work. Each file of this folder adds the rules of one section.
pub(super) struct Rules<'a> {
    pub(super) context: &'a Context<'a>,
    /// Providers in use.
    pub(super) used: BTreeSet<String>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
    /// Secrets that are missing, by provider.
    pub(super) missing: Vec<(String, Mistake)>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(context: &'a Context<'a>) -> Self {
        Rules { context, used: BTreeSet::new(), mistakes: Vec::new(), warnings: Vec::new(), missing: Vec::new() }
    }
}

impl Rules<'_> {
    pub(super) fn mistake(&mut self, pointer: &str, message: impl Into<String>) {
        self.mistakes.push(self.context.map.at(pointer, message));
    }

    pub(super) fn warning(&mut self, pointer: &str, message: impl Into<String>) {
        self.warnings.push(self.context.map.at(pointer, message));
    }

    /// Whether the value, something in it or something around it is wrong by itself.
    pub(super) fn is_wrong(&self, pointer: &str) -> bool {
        let inside = format!("{pointer}/");
        self.context
            .wrong
            .iter()
            .any(|w| w == pointer || w.starts_with(&inside) || pointer.starts_with(&format!("{w}/")))
    }

    /// What was found at `pointer`, for a message.
    pub(super) fn text(&self, pointer: &str, text: &str) -> String {
        found(&Value::from(text), self.context.map.mark(pointer), pointer, true)
    }

    /// Reads a value that has bounds. Returns the lower bound when the value is wrong.
    pub(super) fn within<T: PartialOrd + Copy>(
        &mut self,
        pointer: &str,
        text: &str,
        read: fn(&str) -> Option<T>,
        bounds: &RangeInclusive<T>,
        words: &str,
    ) -> T {
        let value = read(text);
        match value.filter(|value| bounds.contains(value)) {
            Some(value) => value,
            None => {
                let found = self.text(pointer, text);
                self.mistake(pointer, format!("found {found}, expected {words}"));
                *bounds.start()
            }
        }
    }
}
