//! Images: fetched by the engine, whose progress is passed on.

use std::collections::BTreeMap;

use sandbox_broker_sdk::time::{self, Instant};
use sandbox_broker_sdk::{Code, Error, progress, quote};
use serde::Deserialize;
use std::time::Duration;

use crate::engine::{Answer, Engine};
use crate::errors::{self, Asked};

/// Longest line of the engine's news, in bytes.
const MAX_LINE: usize = 64 << 10;

/// Most layers whose progress is counted.
const MAX_LAYERS: usize = 512;

/// Time before the deadline of the call at which a pull gives up and says why.
const SPARE: Duration = Duration::from_secs(2);

/// Longest body of a refusal, in bytes.
const MAX_REFUSAL: usize = 64 << 10;

/// Has the engine fetch `image`. Layers that it has by the deadline stay, so another try goes on from there.
pub async fn pull(engine: &Engine<'_>, image: &str, deadline_ms: u64) -> Result<(), Error> {
    let begun = Instant::now();
    let limit = Duration::from_millis(deadline_ms).saturating_sub(SPARE).max(SPARE);
    let late = || {
        Error::new(
            Code::DeadlineExceeded,
            format!(
                "fetching the image {} takes longer than {} s: try again, raise `limits.call_timeout` of this provider, \
                 or fetch it on the engine's machine by `docker pull`",
                quote(image),
                begun.elapsed().as_secs()
            ),
        )
    };
    time::timeout(limit, follow(engine, image)).await.unwrap_or_else(|_| Err(late()))
}

async fn follow(engine: &Engine<'_>, image: &str) -> Result<(), Error> {
    let message = format!("fetching the image {image}");
    progress::say(&message);
    let mut query = vec![("fromImage", image)];
    if !has_tag(image) {
        // Without a tag the engine would fetch all there are.
        query.push(("tag", "latest"));
    }
    let answer = engine.follow("/images/create", &query).await?;
    if answer.status != 200 {
        let answer = Answer { status: answer.status, body: answer.bytes(MAX_REFUSAL).await? };
        return Err(answer.error(Asked::Pull(image)));
    }
    let mut body = answer.into_reader();
    let mut news = News::default();
    let mut buffer = Vec::new();
    let mut told = None;
    while body.chunk(&mut buffer).await? {
        news.read(&mut buffer, image)?;
        let percent = news.percent();
        if percent != told {
            progress::report(&message, percent);
            told = percent;
        }
    }
    buffer.push(b'\n');
    news.read(&mut buffer, image)
}

/// Whether the name says which of the images it means.
fn has_tag(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    last.contains([':', '@'])
}

/// What has come of each layer: bytes that are here, and all of them.
#[derive(Debug, Default)]
struct News {
    layers: BTreeMap<String, (u64, u64)>,
}

/// A line of the engine's news.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    id: String,
    status: String,
    #[serde(rename = "progressDetail")]
    detail: Detail,
    error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    current: u64,
    total: u64,
}

impl News {
    /// Reads the whole lines of `buffer` and leaves the rest. An error of the engine is told in a line.
    fn read(&mut self, buffer: &mut Vec<u8>, image: &str) -> Result<(), Error> {
        let whole = buffer.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in buffer.drain(..whole).as_slice().split(|byte| *byte == b'\n') {
            // News that cannot be read is no reason to fail.
            let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
            if let Some(words) = line.error {
                let (code, message) = errors::of_pull(image, &quote(&words));
                return Err(Error::new(code, message));
            }
            self.note(line);
        }
        if buffer.len() > MAX_LINE {
            return Err(Error::new(Code::Internal, "the engine's news of an image has no end of line"));
        }
        Ok(())
    }

    fn note(&mut self, line: Line) {
        if !self.layers.contains_key(&line.id) && self.layers.len() >= MAX_LAYERS {
            return;
        }
        match line.status.as_str() {
            "Downloading" if line.detail.total > 0 => {
                self.layers.insert(line.id, (line.detail.current.min(line.detail.total), line.detail.total));
            }
            "Download complete" | "Pull complete" => {
                if let Some((here, all)) = self.layers.get_mut(&line.id) {
                    *here = *all;
                }
            }
            _ => {}
        }
    }

    /// How much of what is known to come is here.
    fn percent(&self) -> Option<u8> {
        let (here, all) = self
            .layers
            .values()
            .fold((0_u64, 0_u64), |(here, all), layer| (here.saturating_add(layer.0), all.saturating_add(layer.1)));
        let percent = u128::from(here) * 100 / u128::from(all.max(1));
        (all > 0).then(|| u8::try_from(percent).unwrap_or(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_means_the_latest() {
        for tagged in ["a:1", "h:5000/a:1", "a@sha256:00"] {
            assert!(has_tag(tagged), "{tagged}");
        }
        for bare in ["a", "h:5000/a", "h.test/a/b"] {
            assert!(!has_tag(bare), "{bare}");
        }
    }

    #[test]
    fn progress_is_that_of_all_layers() {
        let mut news = News::default();
        let mut read = |text: &str| {
            let mut buffer = text.as_bytes().to_vec();
            news.read(&mut buffer, "i").expect("no error");
            (news.percent(), buffer.len())
        };
        assert_eq!(read("{\"status\":\"Pulling from i\",\"id\":\"latest\"}\r\n"), (None, 0));
        let half = r#"{"status":"Downloading","progressDetail":{"current":50,"total":100},"id":"a"}"#;
        // A line that has not come whole waits.
        assert_eq!(read(half), (None, half.len()));
        assert_eq!(read(&format!("{half}\n")), (Some(50), 0));
        assert_eq!(
            read("{\"status\":\"Downloading\",\"progressDetail\":{\"current\":0,\"total\":100},\"id\":\"b\"}\n"),
            (Some(25), 0)
        );
        assert_eq!(
            read("{\"status\":\"Download complete\",\"progressDetail\":{},\"id\":\"a\"}\nnot json\n"),
            (Some(50), 0)
        );
    }

    #[test]
    fn an_error_in_the_news_is_one() {
        let mut buffer = b"{\"errorDetail\":{\"message\":\"x\"},\"error\":\"manifest unknown\"}\n".to_vec();
        let error = News::default().read(&mut buffer, "i:1").expect_err("an error");
        assert_eq!(error.code, Code::InvalidArgument);
        let mut endless = vec![b'x'; MAX_LINE + 1];
        assert!(News::default().read(&mut endless, "i").is_err());
    }
}
