//! The little of Rust that the rules read: code without comments and literals,
//! and the paths in it.
//!
//! Names only what is written: it expands no macro and follows no alias.

/// The same text, of the same length and lines, with every comment and every
/// string, byte and character literal turned into spaces.
pub(super) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let Some(end) = unread(bytes, at) else {
            at += 1;
            continue;
        };
        let end = end.min(bytes.len());
        code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end;
    }
    String::from_utf8(code).expect("whole literals and comments became spaces")
}

/// The end of the comment or literal that begins here.
fn unread(bytes: &[u8], at: usize) -> Option<usize> {
    let find = |from: usize, stop: u8| {
        bytes.iter().skip(from).position(|byte| *byte == stop).map_or(bytes.len(), |found| from + found)
    };
    match &bytes[at..] {
        [b'/', b'/', ..] => Some(find(at, b'\n')),
        [b'/', b'*', ..] => {
            let (mut depth, mut end) = (1_usize, at + 2);
            while depth > 0 && end < bytes.len() {
                match &bytes[end..] {
                    [b'/', b'*', ..] => (depth, end) = (depth + 1, end + 2),
                    [b'*', b'/', ..] => (depth, end) = (depth - 1, end + 2),
                    _ => end += 1,
                }
            }
            Some(end)
        }
        [b'"', ..] => {
            let mut end = at + 1;
            while end < bytes.len() && bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            Some(end + 1)
        }
        [b'r', rest @ ..] => {
            let marks = rest.iter().take_while(|byte| **byte == b'#').count();
            if rest.get(marks) != Some(&b'"') {
                return None;
            }
            let mut end = find(at + marks + 2, b'"');
            while end < bytes.len() && !bytes[end + 1..].starts_with(&vec![b'#'; marks]) {
                end = find(end + 1, b'"');
            }
            Some(end + 1 + marks)
        }
        [b'\'', b'\\', ..] => Some(find(at + 3, b'\'') + 1),
        // A lifetime has no second mark right after its first character.
        [b'\'', first, ..] => {
            let length = match first {
                0..0x80 => 1,
                0x80..0xe0 => 2,
                0xe0..0xf0 => 3,
                0xf0.. => 4,
            };
            (bytes.get(at + 1 + length) == Some(&b'\'')).then_some(at + 2 + length)
        }
        _ => None,
    }
}

/// A path as it is written, a group in a `use` taken apart into its members.
#[derive(Debug)]
pub(super) struct Path<'a> {
    /// Where its own last part begins, in bytes.
    pub(super) at: usize,
    /// Its names; the last may be `*`.
    pub(super) names: Vec<&'a str>,
}

/// Every path of at least one name in this [`code`].
pub(super) fn paths(code: &str) -> Vec<Path<'_>> {
    let mut reader = Reader { code, at: 0, found: Vec::new() };
    while reader.at < code.len() {
        match code.as_bytes()[reader.at] {
            // A macro's `$name` and a lifetime name no path.
            b'$' | b'\'' => {
                reader.at += 1;
                reader.name();
            }
            byte if is_name(byte) => reader.path(&[]),
            _ => reader.at += 1,
        }
    }
    reader.found
}

/// The number of the line, from 1, that holds this byte.
pub(super) fn line(code: &str, at: usize) -> usize {
    1 + code.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// Whether this byte can be part of a name.
pub(super) fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

struct Reader<'a> {
    code: &'a str,
    at: usize,
    found: Vec<Path<'a>>,
}

impl<'a> Reader<'a> {
    /// Reads a path, or what follows `before::`.
    fn path(&mut self, before: &[&'a str]) {
        let at = self.at;
        let mut names = before.to_vec();
        match self.peek() {
            Some(b'{') => return self.group(before),
            Some(b'*') => {
                self.at += 1;
                names.push("*");
            }
            _ => names.push(self.name()),
        }
        if self.follows("::") && self.peek().is_some_and(|byte| byte == b'{' || byte == b'*' || is_name(byte)) {
            return self.path(&names);
        }
        self.found.push(Path { at, names });
    }

    fn group(&mut self, before: &[&'a str]) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'}' => {
                    self.at += 1;
                    return;
                }
                byte if byte == b'{' || byte == b'*' || is_name(byte) => {
                    self.path(before);
                    // `as name` is no member.
                    while self.peek().is_some_and(|byte| byte != b',' && byte != b'}') {
                        self.at += 1;
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    fn name(&mut self) -> &'a str {
        let rest = &self.code[self.at..];
        let name = &rest[..rest.bytes().position(|byte| !is_name(byte)).unwrap_or(rest.len())];
        self.at += name.len();
        name
    }

    /// Whether this comes next, after white space; reads it if so.
    fn follows(&mut self, mark: &str) -> bool {
        self.peek();
        let follows = self.code[self.at..].starts_with(mark);
        if follows {
            self.at += mark.len();
        }
        follows
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.code.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = r##"a::b(); // c::d
/* e::f /* g */ h::i */ let s = "j::k \" l::m"; let r = r#"n::o " p"#; let q: &'a str = b'"'; 'é'; '\''; q::r()"##;
        let code = code(text);
        assert_eq!(code.len(), text.len());
        assert_eq!(
            code.split_whitespace().collect::<Vec<_>>().join(" "),
            "a::b(); let s = ; let r = ; let q: &'a str = b ; ; ; q::r()"
        );
    }

    #[test]
    fn groups_are_taken_apart() {
        let code = "use crate::{\n a::{self, B as C},\n d, e::*};\nlet x = f::g::<H>(); $crate::no";
        let found: Vec<_> = paths(code).into_iter().map(|path| (line(code, path.at), path.names.join("::"))).collect();
        for path in [(2, "crate::a::self"), (2, "crate::a::B"), (3, "crate::d"), (3, "crate::e::*"), (4, "f::g")] {
            assert!(found.contains(&(path.0, path.1.to_owned())), "{path:?} in {found:?}");
        }
        assert!(!found.iter().any(|(_, path)| path.starts_with("crate::no")), "{found:?}");
    }
}
