//! A list of the bucket whose URL carries its signature: how the broker tries
//! the credentials that a sandbox gets.
//!
//! Owns the formula, "Signature Version 4" in a query. The host signs requests
//! with the operator's key; these carry credentials that it does not have.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sandbox_broker_sdk::mounter::Request;
use sha2::{Digest as _, Sha256};

use crate::bucket::{Bucket, encode};
use crate::grant::Credentials;

/// How long the URL is good, seconds: it is sent at once.
const LIFE_SECS: &str = "60";

/// Lists at most one file below the prefix.
pub fn list(bucket: &Bucket, credentials: &Credentials, now: Timestamp) -> Request {
    let folder = bucket.folder();
    let mut query = vec![("list-type", "2"), ("max-keys", "1")];
    // A policy that is bound to the prefix asks for it, and one for all of the bucket must not be refused.
    if !folder.is_empty() {
        query.push(("prefix", &folder));
    }
    let url = presigned(&bucket.host(), &bucket.path(), &query, &bucket.region, credentials, now);
    Request { method: "GET".into(), url: format!("{}{url}", bucket.scheme()), headers: Vec::new(), body: Vec::new() }
}

/// A URL without its scheme.
fn presigned(
    host: &str,
    path: &str,
    query: &[(&str, &str)],
    region: &str,
    credentials: &Credentials,
    now: Timestamp,
) -> String {
    let at = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = &at[..8];
    let scope = format!("{day}/{region}/s3/aws4_request");
    let credential = format!("{}/{scope}", credentials.id);
    let mut pairs = query.to_vec();
    pairs.extend([
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", &at),
        ("X-Amz-Expires", LIFE_SECS),
        ("X-Amz-SignedHeaders", "host"),
    ]);
    if let Some(token) = &credentials.token {
        pairs.push(("X-Amz-Security-Token", token));
    }
    let mut pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.sort_unstable();
    let query = pairs.join("&");
    let path = path.split('/').map(encode).collect::<Vec<_>>().join("/");
    let request = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
    let first = format!("AWS4{}", credentials.secret).into_bytes();
    let key = [day, region, "s3", "aws4_request"].iter().fold(first, |key, part| hmac(&key, part));
    format!("{host}{path}?{query}&X-Amz-Signature={}", hex(&hmac(&key, &text)))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{bucket, credentials, now};

    /// The example that AWS publishes for a signature in a query.
    #[test]
    fn the_published_example_comes_out() {
        let credentials = Credentials {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
            expires: None,
        };
        // Its URL lives for a day; what it signs depends on that.
        let text = "GET\n/test.txt\nX-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F\
                    us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\n\
                    host:examplebucket.s3.amazonaws.com\n\nhost\nUNSIGNED-PAYLOAD";
        let digest = hex(&Sha256::digest(text.as_bytes()));
        assert_eq!(digest, "3bfa292879f6447bbcda7001decf97f4a54dc650c8942174ae0a9121cf58ad04");
        let scope = "20130524/us-east-1/s3/aws4_request";
        let first = format!("AWS4{}", credentials.secret).into_bytes();
        let key = scope.split('/').fold(first, |key, part| hmac(&key, part));
        let text = format!("AWS4-HMAC-SHA256\n20130524T000000Z\n{scope}\n{digest}");
        assert_eq!(hex(&hmac(&key, &text)), "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");

        let at = "2013-05-24T00:00:00Z".parse().expect("a time");
        let url = presigned("examplebucket.s3.amazonaws.com", "/test.txt", &[], "us-east-1", &credentials, at);
        let (signed, _) = url.split_once("&X-Amz-Signature=").expect("a signature");
        let expected = text_of_the_example();
        assert_eq!(signed, expected);
    }

    /// The same URL for a minute.
    fn text_of_the_example() -> &'static str {
        "examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE\
         %2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host"
    }

    #[test]
    fn a_list_stays_below_the_prefix_and_carries_the_token() {
        let request = list(&bucket(r#","prefix":"a b""#), &credentials(), now());
        assert!(request.url.starts_with("https://s3.eu-west-1.amazonaws.com/files?"), "{}", request.url);
        for part in
            ["list-type=2", "max-keys=1", "prefix=a%20b%2F", "X-Amz-Security-Token=token%2B1", "X-Amz-Signature="]
        {
            assert!(request.url.contains(part), "{}", request.url);
        }
        assert!(!list(&bucket(""), &credentials(), now()).url.contains("&prefix="));
    }
}
