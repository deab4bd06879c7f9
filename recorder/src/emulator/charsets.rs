//! Character sets that replace a part of ASCII: line drawing and the national sets of DEC's terminals (VT220 Programmer
//! Reference, chapter 2). Does not know which set is in use.

/// The set that a final byte designates. `None` for ASCII and for unknown sets.
pub(super) fn designated(byte: u8) -> Option<u8> {
    (set(byte).is_some()).then_some(byte)
}

/// The character that replaces an ASCII character.
pub(super) fn replace(charset: u8, code: u8) -> Option<char> {
    let (from, to) = set(charset)?;
    let at = from.find(char::from(code))?;
    to.chars().nth(at)
}

/// The characters that are replaced, and their replacements.
fn set(byte: u8) -> Option<(&'static str, &'static str)> {
    Some(match byte {
        b'0' => ("`abcdefghijklmnopqrstuvwxyz{|}~", "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·"),
        b'A' => ("#", "£"),
        b'4' => ("#@[\\]{|}~", "£¾i½|¨f¼´"),
        b'C' | b'5' => ("[\\]^`{|}~", "ÄÖÅÜéäöåü"),
        b'R' => ("#@[\\]{|}~", "£à°ç§éùè¨"),
        b'Q' => ("@[\\]^`{|}~", "àâçêîôéùèû"),
        b'K' => ("@[\\]{|}~", "§ÄÖÜäöüß"),
        b'Y' => ("#@[\\]`{|}~", "£§°çéùàòèì"),
        b'E' | b'6' => ("@[\\]^`{|}~", "ÄÆØÅÜäæøåü"),
        b'Z' => ("#@[\\]{|}", "£§¡Ñ¿°ñç"),
        b'H' | b'7' => ("@[\\]^`{|}~", "ÉÄÖÅÜéäöåü"),
        b'=' => ("#@[\\]^_`{|}~", "ùàéçêîèôäöüû"),
        _ => return None,
    })
}
