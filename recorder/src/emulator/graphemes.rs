//! Decides whether a code point joins the one before it, and how many columns they take.
//!
//! Follows the page's emulator (Unicode 15, and its simplified form of the rules GB6 to GB13 of UAX 29), so that both put
//! every character in the same column. Knows neither cells nor the cursor.

use super::widths::RANGES;

/// What decides whether the next code point joins the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Join {
    class: u8,
    /// The columns of what was joined so far.
    pub(super) width: u8,
}

/// How a code point follows the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) joins: bool,
    /// The columns of it together with what it joins.
    pub(super) width: u8,
    pub(super) state: Join,
}

const PREPEND: u8 = 1;
const EXTEND: u8 = 2;
const REGIONAL: u8 = 3;
const SPACING_MARK: u8 = 4;
const L: u8 = 5;
const V: u8 = 6;
const T: u8 = 7;
const LV: u8 = 8;
const LVT: u8 = 9;
const ZWJ: u8 = 10;
const PICTOGRAPH: u8 = 11;

/// Precomposed Hangul: the first and the last syllable, and the number of syllables with one leading pair.
const SYLLABLES: (u32, u32, u32) = (0xac00, 0xd7a3, 28);

/// Asks that the character before it is drawn as an emoji, which takes two columns.
const EMOJI_PRESENTATION: u32 = 0xfe0f;

/// A narrow character of no class. All of ASCII is so.
pub(super) const PLAIN: Join = Join { class: 0, width: 1 };

/// Decides how a code point follows `before`, which is `None` if something else than text came last.
pub(super) fn place(code: u32, before: Option<Join>) -> Placed {
    let (class, wide) =
        if code < 0x300 && code != 0xa9 && code != 0xae && code != 0xad { (0, false) } else { properties(code) };
    let width = if wide || code == EMOJI_PRESENTATION { 2 } else { 1 };
    let Some(before) = before else {
        return Placed { joins: false, width, state: Join { class, width } };
    };
    if !joins(before.class, class) {
        return Placed { joins: false, width, state: Join { class, width } };
    }
    let pair = class == REGIONAL;
    let width = if before.width > width {
        before.width
    } else if pair {
        2
    } else {
        width
    };
    // Regional indicators join in pairs, so a third one joins nothing.
    Placed { joins: true, width, state: Join { class: if pair { 0 } else { class }, width } }
}

fn joins(before: u8, after: u8) -> bool {
    matches!(
        (before, after),
        (L, L | V | LV | LVT)
            | (LV | V, V | T)
            | (LVT | T, T)
            | (_, EXTEND | ZWJ | SPACING_MARK)
            | (PREPEND, _)
            | (ZWJ, PICTOGRAPH)
            | (REGIONAL, REGIONAL)
    )
}

fn properties(code: u32) -> (u8, bool) {
    let (first, last, pairs) = SYLLABLES;
    if (first..=last).contains(&code) {
        return (if (code - first).is_multiple_of(pairs) { LV } else { LVT }, true);
    }
    let at = RANGES.partition_point(|range| range.1 < code);
    match RANGES.get(at) {
        Some(&(first, _, class, wide)) if first <= code => (class, wide),
        _ => (0, false),
    }
}
