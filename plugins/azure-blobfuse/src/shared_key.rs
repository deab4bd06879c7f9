//! Requests signed with the account's key, by the scheme "Shared Key" of the
//! blob service. Knows its canonical form; the key is the host's.

use jiff::Timestamp;
use sandbox_broker_sdk::Error;
use sandbox_broker_sdk::mounter::Request;

use crate::container::Container;
use crate::host::Host;
use crate::sas::VERSION;

/// A signed request to the container itself. Names of `query` and of `headers`
/// are in lower case; those of headers begin with `x-ms-`.
pub fn request(
    host: &dyn Host,
    container: &Container,
    method: &str,
    query: &[(&str, &str)],
    headers: &[(&str, &str)],
    body: &[u8],
    now: Timestamp,
) -> Result<Request, Error> {
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut headers = headers.to_vec();
    headers.extend([("x-ms-date", date.as_str()), ("x-ms-version", VERSION)]);
    headers.sort_unstable();
    let mut query_sorted = query.to_vec();
    query_sorted.sort_unstable();

    // Eleven standard headers in a fixed order; of these only the length of a
    // body is sent, and zero counts as none.
    let length = if body.is_empty() { String::new() } else { body.len().to_string() };
    let mut text = format!("{method}\n\n\n{length}\n\n\n\n\n\n\n\n\n");
    for (name, value) in &headers {
        text.push_str(&format!("{name}:{value}\n"));
    }
    text.push_str(&container.in_requests());
    for (name, value) in &query_sorted {
        text.push_str(&format!("\n{name}:{value}"));
    }

    let signature = base64_simd::STANDARD.encode_to_string(host.sign(text.as_bytes())?);
    let authorization = format!("SharedKey {}:{signature}", container.account);
    headers.push(("authorization", &authorization));
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(Request { method: method.to_owned(), url: container.url(query), headers, body: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{Fake, azure, emulator, now};

    #[test]
    fn the_signed_text_is_canonical() {
        let fake = Fake::new();
        let query = [("restype", "container"), ("comp", "acl")];
        let headers = [("x-ms-lease-id", "1"), ("x-ms-blob-public-access", "blob")];
        request(&fake, &azure(), "PUT", &query, &headers, b"<x/>", now()).expect("signed");
        request(&fake, &emulator(), "GET", &query, &[], b"", now()).expect("signed");
        assert_eq!(
            fake.signed(),
            [
                "PUT\n\n\n4\n\n\n\n\n\n\n\n\nx-ms-blob-public-access:blob\nx-ms-date:Wed, 25 Nov 2026 00:05:38 GMT\n\
                 x-ms-lease-id:1\nx-ms-version:2022-11-02\n/mystore/files\ncomp:acl\nrestype:container",
                "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Wed, 25 Nov 2026 00:05:38 GMT\nx-ms-version:2022-11-02\n\
                 /devstoreaccount1/devstoreaccount1/test1\ncomp:acl\nrestype:container",
            ]
        );
    }

    #[test]
    fn a_request_is_the_one_that_the_service_accepts() {
        let query = [("comp", "lease"), ("restype", "container")];
        let headers = [("x-ms-lease-action", "acquire"), ("x-ms-lease-duration", "15")];
        let sent = request(&Fake::new(), &emulator(), "PUT", &query, &headers, b"", now()).expect("signed");
        assert_eq!(sent.url, "http://127.0.0.1:10000/devstoreaccount1/test1?comp=lease&restype=container");
        let authorization = sent.headers.iter().find(|(name, _)| name == "authorization").map(|(_, value)| &**value);
        // Azurite 3.37.0 accepted a request with exactly this text signed.
        assert_eq!(authorization, Some(include_str!("tests/lease.authorization").trim_end()));
    }
}
