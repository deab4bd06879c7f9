//! The part of a file that a reader wants, cut out of what an agent sends. Knows no
//! request.

use sandbox_broker_sdk::http::Response;
use sandbox_broker_sdk::stream::{FutureReader, StreamReader};
use sandbox_broker_sdk::{Code, Error};

/// What `read` returns.
pub type Reading = (StreamReader<u8>, FutureReader<Result<(), Error>>);

/// What of an answer's body is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes before it.
    pub skip: u64,
    /// Bytes of it, at most.
    pub take: u64,
}

impl Part {
    pub fn of(answer: &Response, offset: u64, length: Option<u64>) -> Result<Self, Error> {
        let encoding = answer.header("content-encoding").unwrap_or("identity");
        if encoding != "identity" {
            return Err(Error::new(Code::Internal, "the sandbox's agent sent a file compressed"));
        }
        let start = range_start(answer.header("content-range"));
        Self::from_head(answer.status, start, offset, length)
            .ok_or_else(|| Error::new(Code::Internal, "the sandbox's agent sent another part of the file"))
    }

    /// A server may ignore the range and send all of it.
    pub fn from_head(status: u16, start: Option<u64>, offset: u64, length: Option<u64>) -> Option<Self> {
        let take = length.unwrap_or(u64::MAX);
        match status {
            200 => Some(Self { skip: offset, take }),
            _ => (start == Some(offset)).then_some(Self { skip: 0, take }),
        }
    }

    /// Cuts a piece of the body to what is wanted.
    pub fn cut(&mut self, piece: &mut Vec<u8>) {
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(piece.len());
        piece.drain(..skip);
        self.skip -= skip as u64;
        piece.truncate(usize::try_from(self.take).unwrap_or(usize::MAX));
        self.take -= piece.len() as u64;
    }
}

/// First byte of `bytes 5-9/10`.
fn range_start(content_range: Option<&str>) -> Option<u64> {
    content_range?.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// Size of the file in `bytes */10`.
pub fn size_behind(content_range: Option<&str>) -> Option<u64> {
    content_range?.rsplit_once('/')?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ignores_the_range_still_gives_the_part() {
        let mut part = Part::from_head(200, None, 5, Some(4)).expect("usable");
        let mut got = Vec::new();
        for piece in [&b"012"[..], b"3456", b"789ab"] {
            let mut piece = piece.to_vec();
            part.cut(&mut piece);
            got.extend(piece);
        }
        assert_eq!(got, b"5678");
        assert_eq!(part, Part { skip: 0, take: 0 });
        assert_eq!(Part::from_head(206, Some(4), 5, None), None);
        assert_eq!(range_start(Some("bytes 5-9/10")), Some(5));
        assert_eq!(size_behind(Some("bytes */10")), Some(10));
    }
}
