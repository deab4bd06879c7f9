//! The colours that programs set and ask for: the 256 of the palette, and the dynamic colours, which are those of the
//! text, of the background and of the cursor.
//!
//! Owns how colours are parsed and restored. Does not know which cell uses which.

use std::collections::BTreeMap;

pub(super) type Rgb = [u8; 3];

/// The colours of the driver's terminal. The default is the page's dark theme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colors {
    pub(crate) foreground: Rgb,
    pub(crate) background: Rgb,
    pub(crate) cursor: Rgb,
}

impl Default for Colors {
    fn default() -> Self {
        Self { foreground: [0xd7, 0xdc, 0xe5], background: [0x11, 0x14, 0x1a], cursor: [0x8a, 0xb4, 0xff] }
    }
}

impl Colors {
    /// The background is darker than the text.
    pub(super) fn is_dark(&self) -> bool {
        let light = |[red, green, blue]: Rgb| 2 * u32::from(red) + 5 * u32::from(green) + u32::from(blue);
        light(self.background) <= light(self.foreground)
    }

    fn get(&self, number: usize) -> Rgb {
        [self.foreground, self.background, self.cursor][number]
    }
}

/// The first sixteen colours of the page's dark and light theme.
const DARK: [u32; 16] = [
    0x2a303c, 0xf2777a, 0x8fcf8a, 0xe6c07b, 0x7fb0ff, 0xc792ea, 0x6fcfd6, 0xc9cfda, 0x6d7688, 0xff9a9c, 0xabe3a6,
    0xf5d79c, 0xa5c8ff, 0xdcb4f5, 0x97e3e8, 0xf4f6fa,
];
const LIGHT: [u32; 16] = [
    0x252a33, 0xc4293d, 0x237a3b, 0x8a5a00, 0x1f5fd0, 0x8a3fb0, 0x0b7480, 0x6b7482, 0x586170, 0xd93a4d, 0x2f8a49,
    0x9a6a10, 0x3b78e0, 0x9d57c2, 0x1f8792, 0x3d4552,
];

/// The colours that programs changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Palette {
    indexed: BTreeMap<u8, Rgb>,
    /// Text, background, cursor.
    dynamic: [Option<Rgb>; 3],
}

impl Palette {
    pub(super) fn set(&mut self, index: u8, color: Rgb) {
        self.indexed.insert(index, color);
    }

    pub(super) fn get(&self, index: u8, colors: &Colors) -> Rgb {
        self.indexed.get(&index).copied().unwrap_or_else(|| default(index, colors))
    }

    /// Restores one colour, or all.
    pub(super) fn restore(&mut self, index: Option<u8>) {
        match index {
            Some(index) => drop(self.indexed.remove(&index)),
            None => self.indexed.clear(),
        }
    }

    pub(super) fn set_dynamic(&mut self, number: usize, color: Option<Rgb>) {
        self.dynamic[number] = color;
    }

    pub(super) fn dynamic(&self, number: usize, colors: &Colors) -> Rgb {
        self.dynamic[number].unwrap_or_else(|| colors.get(number))
    }

    /// Appends what brings a terminal into this state, whatever colours it had.
    pub(super) fn draw(&self, text: &mut String) {
        use std::fmt::Write as _;
        text.push_str("\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\");
        for (index, [red, green, blue]) in &self.indexed {
            let _ = write!(text, "\x1b]4;{index};rgb:{red:02x}/{green:02x}/{blue:02x}\x1b\\");
        }
        for (number, color) in self.dynamic.iter().enumerate() {
            if let Some([red, green, blue]) = color {
                let _ = write!(text, "\x1b]{};rgb:{red:02x}/{green:02x}/{blue:02x}\x1b\\", 10 + number);
            }
        }
    }
}

/// The page's sixteen colours, then xterm's cube and greys.
fn default(index: u8, colors: &Colors) -> Rgb {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    match index {
        0..16 => {
            let page = if colors.is_dark() { DARK } else { LIGHT };
            let [_, red, green, blue] = page[usize::from(index)].to_be_bytes();
            [red, green, blue]
        }
        16..232 => {
            let cube = usize::from(index - 16);
            [STEPS[cube / 36], STEPS[cube / 6 % 6], STEPS[cube % 6]]
        }
        _ => [8 + (index - 232) * 10; 3],
    }
}

/// Parses a colour like XParseColor: `rgb:R/G/B` or `#RGB`, with 1 to 4 digits for each part.
pub(super) fn parse(text: &str) -> Option<Rgb> {
    let is_hex = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = |part: &str| u32::from_str_radix(part, 16).ok();
    if let Some(head) = text.get(..4).filter(|head| head.eq_ignore_ascii_case("rgb:")) {
        let parts: Vec<&str> = text[head.len()..].split('/').collect();
        let [red, green, blue] = parts[..] else { return None };
        let length = red.len();
        if !(1..=4).contains(&length) || [green, blue].iter().any(|part| part.len() != length) {
            return None;
        }
        let most = (1_u32 << (4 * length)) - 1;
        // Rounds to the nearest of 256 values.
        let scale = |part| Some(((value(part)? * 510 + most) / (2 * most)) as u8);
        return [red, green, blue]
            .iter()
            .all(|part| is_hex(part))
            .then_some(())
            .and_then(|()| Some([scale(red)?, scale(green)?, scale(blue)?]));
    }
    let digits = text.strip_prefix('#')?;
    if !is_hex(digits) || !matches!(digits.len(), 3 | 6 | 9 | 12) {
        return None;
    }
    let length = digits.len() / 3;
    let scale = |at: usize| {
        let value = value(&digits[at * length..(at + 1) * length])?;
        Some((if length == 1 { value << 4 } else { value >> (4 * (length - 2)) }) as u8)
    };
    Some([scale(0)?, scale(1)?, scale(2)?])
}
