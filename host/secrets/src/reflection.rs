//! An answer that repeats a secret which its request carried.
//!
//! Owns the forms in which a secret is recognized, across the pieces of a body. It is a second line: what keeps a secret is
//! that it goes only where the operator binds it. A service that repeats what it was sent, or a page of it that does, must
//! not hand a key to the plugin all the same. Deliberately knows no header's name.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use memchr::memmem::Finder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sandbox_stdx::hex::hex;

/// Shortest secret that is looked for, bytes. A shorter one stands in honest answers by chance.
const LEAST: usize = 8;

/// What many encoders leave alone.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A secret stands in the answer.
#[derive(Debug)]
pub struct Reflected;

/// Looks for secrets in one answer, or in one stream of a connection.
///
/// The beginning of a secret is held back once it is as long as the shortest secret. What is shorter goes on at once: on a
/// terminal it is a key that somebody has just pressed.
#[derive(Clone, Debug, Default)]
pub struct Search {
    forms: Arc<[Finder<'static>]>,
    /// The end of what came so far. The guest has seen the first `seen` bytes of it.
    tail: Bytes,
    seen: usize,
}

impl Search {
    /// Looks for these.
    pub fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let mut forms: Vec<Vec<u8>> = secrets.filter(|secret| secret.len() >= LEAST).flat_map(forms).collect();
        forms.sort_unstable();
        forms.dedup();
        let forms = forms.iter().map(|form| Finder::new(form).into_owned()).collect();
        Search { forms, ..Search::default() }
    }

    /// Whether there is anything to look for.
    pub fn is_needed(&self) -> bool {
        !self.forms.is_empty()
    }

    /// Looks at headers or trailers.
    pub fn headers(&self, headers: &HeaderMap) -> Result<(), Reflected> {
        if headers.values().any(|value| self.found(value.as_bytes())) { Err(Reflected) } else { Ok(()) }
    }

    /// Looks at the next piece of the body, and returns what the guest may see.
    pub fn piece(&mut self, piece: Bytes) -> Result<Bytes, Reflected> {
        if self.forms.is_empty() {
            return Ok(piece);
        }
        let all = if self.tail.is_empty() {
            piece
        } else {
            let mut all = BytesMut::with_capacity(self.tail.len() + piece.len());
            all.extend_from_slice(&self.tail);
            all.extend_from_slice(&piece);
            all.freeze()
        };
        if self.found(&all) {
            return Err(Reflected);
        }
        let shown = (all.len() - self.begun(&all)).max(self.seen);
        let news = all.slice(self.seen..shown);
        let kept = shown.saturating_sub(LEAST - 1);
        self.tail = Bytes::copy_from_slice(&all[kept..]);
        self.seen = shown - kept;
        Ok(news)
    }

    /// What is left at the end: no secret came of it.
    pub fn end(&mut self) -> Bytes {
        let held = self.tail.slice(self.seen..);
        self.seen = self.tail.len();
        held
    }

    fn found(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| form.find(bytes).is_some())
    }

    /// Bytes at the end that are the beginning of a form, [`LEAST`] at least.
    fn begun(&self, bytes: &[u8]) -> usize {
        let of = |form: &Finder<'_>| {
            let form = form.needle();
            (LEAST..form.len().min(bytes.len() + 1)).rev().find(|n| bytes.ends_with(&form[..*n]))
        };
        self.forms.iter().filter_map(of).max().unwrap_or_default()
    }
}

/// The ways in which an answer may write a secret.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let url = percent_encode(bytes, NON_ALPHANUMERIC).to_string();
    let form = percent_encode(bytes, UNRESERVED).to_string();
    let hexadecimal = hex(bytes);
    let texts = [
        secret.to_owned(),
        secret.replace('/', "\\/"),
        escapes_in_lower_case(&url),
        escapes_in_lower_case(&form),
        url,
        form,
        hexadecimal.to_uppercase(),
        hexadecimal,
    ];
    let based = (0..3).flat_map(|before| {
        let padded = [vec![0; before], bytes.to_vec()].concat();
        // The first characters hold bits of what stands before the secret, and the last of what follows it.
        let (from, cut) = ([0, 2, 3][before], usize::from(padded.len() % 3 != 0));
        [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)]
            .map(|text| text[from..text.len() - cut].to_owned())
    });
    texts.into_iter().chain(based).map(String::into_bytes).collect()
}

/// Percent-encoded text with `%2f` in the place of `%2F`.
fn escapes_in_lower_case(encoded: &str) -> String {
    let mut pieces = encoded.split('%');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |all, piece| format!("{all}%{}{}", piece[..2].to_lowercase(), &piece[2..]))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const SECRET: &str = "sk-a+b/c==canary";

    /// What the guest sees of a body that comes in pieces of `size`.
    fn seen(body: &[u8], size: usize) -> Result<Vec<u8>, Reflected> {
        let mut search = Search::new([SECRET].into_iter());
        let mut seen = Vec::new();
        for piece in body.chunks(size) {
            seen.extend_from_slice(&search.piece(Bytes::copy_from_slice(piece))?);
            let leaked = (LEAST..SECRET.len()).any(|n| seen.ends_with(&SECRET.as_bytes()[..n]));
            assert!(!leaked, "the guest has seen the beginning of the secret");
        }
        seen.extend_from_slice(&search.end());
        Ok(seen)
    }

    #[test]
    fn a_secret_is_found_in_every_form_and_across_pieces() {
        let encoded = |before: &str| STANDARD.encode(format!("{before}{SECRET} and more"));
        for form in [
            SECRET.to_owned(),
            SECRET.replace('/', "\\/"),
            "sk-a%2Bb%2Fc%3D%3Dcanary".to_owned(),
            "sk-a%2bb%2fc%3d%3dcanary".to_owned(),
            "sk%2Da%2Bb%2Fc%3D%3Dcanary".to_owned(),
            hex(SECRET.as_bytes()),
            encoded(""),
            encoded("a"),
            encoded("ab"),
            encoded("user:"),
        ] {
            for size in [1, 2, 5, 64, 4096] {
                let body = format!("{{\"echo\":\"{form}\"}}");
                assert!(seen(body.as_bytes(), size).is_err(), "{form} in pieces of {size}");
            }
        }
    }

    #[test]
    fn an_answer_without_it_is_whole() {
        let body = format!("{{\"almost\":\"{}\",\"sk-a\":\"{SECRET:.9}\"}} sk-a", &SECRET[..SECRET.len() - 1]);
        for size in [1, 3, 4096] {
            assert_eq!(seen(body.as_bytes(), size).unwrap(), body.as_bytes());
        }
        let mut short = Search::new(["k1"].into_iter());
        assert_eq!(short.piece(Bytes::from_static(b"k1 k")).unwrap(), "k1 k", "by chance");
    }

    #[test]
    fn a_key_that_begins_like_a_secret_is_shown_at_once() {
        let mut search = Search::new([SECRET].into_iter());
        for key in SECRET[..LEAST - 1].bytes() {
            assert_eq!(search.piece(Bytes::copy_from_slice(&[key])).unwrap(), [key][..]);
        }
    }

    #[test]
    fn a_header_that_has_it_is_found() {
        let search = Search::new([SECRET].into_iter());
        let mut headers = HeaderMap::new();
        headers.insert("date", "today".parse().unwrap());
        assert!(search.headers(&headers).is_ok());
        headers.insert("x-ms-client-request-id", format!("id {SECRET}").parse().unwrap());
        assert!(search.headers(&headers).is_err());
    }
}
