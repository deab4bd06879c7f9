//! Bytes that stand as base64 text in JSON messages.
//!
//! Owns how a message is read: what it gives, and whether it opens or closes a call. It keeps nothing of a message beside
//! what was asked for, so a server does not size the host's memory. Deliberately knows no frame and no connection.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Names of members, from the outside in.
#[derive(Debug)]
pub struct Path(Box<[Box<str>]>);

/// Where bytes stand.
#[derive(Debug)]
pub struct Place {
    path: Path,
    /// The usual spelling of a message with nothing else: before the text, and after it.
    around: (Box<[u8]>, Box<[u8]>),
}

/// What the messages of a call mean.
#[derive(Debug)]
pub struct Messages {
    /// Where the bytes of the first output stand, and those of the second.
    pub outputs: (Place, Option<Place>),
    /// What the message has that opens the call.
    pub opens: Path,
    /// What the message has that closes it.
    pub closes: Path,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It opens the call.
    Opens,
    /// It closes the call.
    Closes,
    /// Neither.
    Other,
}

/// A message that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// For this reason.
    #[error("a message is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// What should be bytes is none.
    #[error("a message holds bytes that are not base64")]
    Base64,
}

impl Path {
    /// None if it is not one to eight names joined by dots.
    pub fn parse(text: &str) -> Option<Self> {
        let names: Box<[Box<str>]> = text.split('.').map(Box::from).collect();
        let fits = (1..=8).contains(&names.len())
            && names
                .iter()
                .all(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
        fits.then_some(Self(names))
    }

    /// The value there.
    fn find<'de>(&self, message: &'de [u8]) -> serde_json::Result<Option<Found<'de>>> {
        let mut reader = serde_json::Deserializer::from_slice(message);
        let found = Find(&self.0).deserialize(&mut reader)?;
        reader.end()?;
        Ok(found)
    }
}

impl Place {
    /// The bytes at that path.
    pub fn new(path: Path) -> Self {
        let before: String = path.0.iter().map(|name| format!("{{\"{name}\":")).collect();
        let after = format!("\"{}", "}".repeat(path.0.len()));
        let around = (format!("{before}\"").into_bytes().into(), after.into_bytes().into());
        Place { path, around }
    }

    /// Appends the bytes of a message in the usual spelling. False if it has another, or others.
    fn take_usual(&self, message: &[u8], out: &mut Vec<u8>) -> bool {
        let (before, after) = &self.around;
        // A quote or an escape inside is not base64, so no scan for the end of the text is needed.
        let Some(text) = message.strip_prefix(&**before).and_then(|rest| rest.strip_suffix(&**after)) else {
            return false;
        };
        let whole = out.len();
        let decoded = base64_simd::STANDARD.decode_append(text, out).is_ok();
        if !decoded {
            out.truncate(whole);
        }
        decoded
    }

    /// Appends the bytes of any message.
    fn take(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), Unread> {
        match self.path.find(message)? {
            None => {}
            Some(Found::Text(text)) => {
                out.extend(base64_simd::forgiving_decode_to_vec(text.as_bytes()).map_err(|_| Unread::Base64)?);
            }
            Some(Found::Other) => return Err(Unread::Base64),
        }
        Ok(())
    }
}

impl Messages {
    /// Appends the bytes of a message to the outputs, and tells what it is.
    pub fn read(&self, message: &[u8], out: &mut (Vec<u8>, Vec<u8>)) -> Result<Kind, Unread> {
        let (first, second) = &self.outputs;
        let usual = first.take_usual(message, &mut out.0)
            || second.as_ref().is_some_and(|second| second.take_usual(message, &mut out.1));
        if usual {
            return Ok(Kind::Other);
        }
        first.take(message, &mut out.0)?;
        if let Some(second) = second {
            second.take(message, &mut out.1)?;
        }
        Ok(if self.closes.find(message)?.is_some() {
            Kind::Closes
        } else if self.opens.find(message)?.is_some() {
            Kind::Opens
        } else {
            Kind::Other
        })
    }
}

/// Appends a message that has bytes: as base64, between `before` and `behind`.
pub fn wrap(before: &str, bytes: &[u8], behind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(before.as_bytes());
    base64_simd::STANDARD.encode_append(bytes, out);
    out.extend_from_slice(behind.as_bytes());
}

/// A value that was found.
enum Found<'de> {
    Text(Cow<'de, str>),
    Other,
}

/// Finds the value at a path, and throws away what stands beside it. A `null` is none.
struct Find<'p>(&'p [Box<str>]);

impl<'de> Find<'_> {
    /// What a value that is no object is worth.
    fn found(&self, value: Found<'de>) -> Option<Found<'de>> {
        self.0.is_empty().then_some(value)
    }
}

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Option<Found<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<Found<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = self.found(Found::Other);
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            match self.0 {
                [next, rest @ ..] if **next == *name => found = map.next_value_seed(Find(rest))?.or(found),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.found(Found::Other))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(self.found(Found::Other))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(self.found(Found::Other))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(self.found(Found::Other))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(self.found(Found::Other))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.found(Found::Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(self.found(Found::Text(Cow::Borrowed(text))))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Messages {
        let path = |text| Path::parse(text).unwrap();
        Messages {
            outputs: (Place::new(path("event.data.stdout")), Some(Place::new(path("event.data.stderr")))),
            opens: path("event.start"),
            closes: path("event.end"),
        }
    }

    fn read(message: &str) -> Result<(Kind, String, String), Unread> {
        let mut out = Default::default();
        let kind = messages().read(message.as_bytes(), &mut out)?;
        Ok((kind, String::from_utf8(out.0).unwrap(), String::from_utf8(out.1).unwrap()))
    }

    #[test]
    fn bytes_are_taken_out_of_any_spelling() {
        for (message, first, second) in [
            (r#"{"event":{"data":{"stdout":"aGkK"}}}"#, "hi\n", ""),
            (r#"{"event":{"data":{"stderr":"ZQ=="}}}"#, "", "e"),
            (r#"{ "event" : { "data" : { "stdout" : "aGk" } } }"#, "hi", ""),
            (r#"{"event":{"data":{"stdout":"\u0061GkK"},"later":[1,{"data":2}]}}"#, "hi\n", ""),
            (r#"{"event":{"data":{"stdout":"aGkK","stderr":"ZQ=="}}}"#, "hi\n", "e"),
            (r#"{"event":{"data":{"stdout":null}}}"#, "", ""),
            (r#"{"event":{"data":[]}}"#, "", ""),
            (r#"{"event":{"keepalive":{}}}"#, "", ""),
            ("{}", "", ""),
            ("[null, true, -1, 1.5, \"x\"]", "", ""),
        ] {
            assert_eq!(read(message).unwrap(), (Kind::Other, first.to_owned(), second.to_owned()), "{message}");
        }
    }

    #[test]
    fn a_call_is_opened_and_closed_by_messages() {
        let kind = |message| read(message).unwrap().0;
        assert_eq!(kind(r#"{"event":{"start":{"pid":42}}}"#), Kind::Opens);
        assert_eq!(kind(r#"{"event":{"start":{}}}"#), Kind::Opens);
        assert_eq!(kind(r#"{"event":{"end":{}}}"#), Kind::Closes);
        assert_eq!(kind(r#"{"event":{"end":null}}"#), Kind::Other);
        assert_eq!(kind(r#"{"start":{"pid":42}}"#), Kind::Other);
    }

    #[test]
    fn what_is_no_message_is_no_output() {
        for message in [
            "",
            "{",
            "{} x",
            r#"{"event":{"data":{"stdout":"a*b"}}}"#,
            r#"{"event":{"data":{"stdout":7}}}"#,
            // What stands before and after fits, the middle leaves the text.
            r#"{"event":{"data":{"stdout":"aGk="},"x":{"y":{"z":""}}}"#,
        ] {
            assert!(read(message).is_err(), "{message}");
        }
        let deep = "[".repeat(100_000);
        assert!(read(&deep).is_err());
    }

    #[test]
    fn paths_are_names_joined_by_dots() {
        for good in ["a", "event.data.pty", "a_1.B"] {
            assert!(Path::parse(good).is_some(), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a b", "a\"", "a.b.c.d.e.f.g.h.i"] {
            assert!(Path::parse(bad).is_none(), "{bad}");
        }
    }
}
