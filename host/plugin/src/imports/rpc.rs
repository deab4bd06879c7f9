//! Calls of the Connect protocol as a guest describes them to `net`.
//!
//! Owns their bounds, which the contract names. Deliberately makes no call: [`rpc`](crate::net::rpc) does.

use std::time::Duration;

use super::request::{fields, unfit, uri};
use crate::bindings::host::net::{RpcCall, RpcInput};
use crate::bindings::host::types as wit;
use crate::net::rpc::{Call, Plan};
use sandbox_broker_codec::json::Path;
use sandbox_broker_core::sandbox::CHUNK_BYTES;

/// Bytes of the message that asks.
const MESSAGE_BYTES: usize = 256 << 10;
/// Bytes of a text that input is sent with.
const TEXT_BYTES: usize = 4 << 10;
/// Codes that say that the other end takes no more: the protocol has sixteen.
const CODES: usize = 16;

/// What is to be called, and its place for messages.
pub(super) fn call(request: RpcCall) -> Result<(Call, String), wit::Error> {
    let RpcCall { url, headers, message, opens, first, second, closes, silence_ms } = request;
    let (uri, place) = uri(&url)?;
    if message.len() > MESSAGE_BYTES {
        return Err(unfit("the message of a call has at most 256 KiB"));
    }
    let path = |text: &str| Path::parse(text).ok_or_else(|| unfit("a member of a message has a path of names"));
    let call = Call {
        uri,
        headers: fields(&headers, &place)?,
        message,
        opens: path(&opens)?,
        outputs: (path(&first)?, second.as_deref().map(path).transpose()?),
        closes: path(&closes)?,
        silence: Duration::from_millis(silence_ms.into()),
    };
    Ok((call, place))
}

/// How input is sent, and its place for messages.
pub(super) fn plan(input: RpcInput) -> Result<(Plan, String), wit::Error> {
    let RpcInput { headers, url, begin, around, single, end, size, pause_ms, timeout_ms, over } = input;
    let (stream, place) = uri(&url)?;
    let single_texts = single.as_ref().map_or(0, |(_, before, behind)| before.len() + behind.len());
    let end_text = end.as_ref().map_or(0, |(_, message)| message.len());
    let longest = begin.len().max(around.0.len() + around.1.len()).max(single_texts).max(end_text);
    let size = usize::try_from(size).ok().filter(|size| (1..=CHUNK_BYTES).contains(size));
    let (Some(size), true) = (size, longest <= TEXT_BYTES && over.len() <= CODES) else {
        return Err(unfit("input is sent in 1 to 64 KiB, with at most 4 KiB of text and 16 codes"));
    };
    let single = single.map(|(url, before, behind)| Ok::<_, wit::Error>((uri(&url)?.0, before, behind)));
    let end = end.map(|(url, message)| Ok::<_, wit::Error>((uri(&url)?.0, message)));
    let plan = Plan {
        headers: fields(&headers, &place)?,
        stream,
        begin,
        around,
        single: single.transpose()?,
        end: end.transpose()?,
        size,
        pause: Duration::from_millis(pause_ms.into()),
        timeout: Duration::from_millis(timeout_ms.into()),
        over,
    };
    Ok((plan, place))
}
