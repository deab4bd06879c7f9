//! What the services' answers mean, in words: the codes of their errors,
//! answers that are none of theirs, and no answer at all. Pure.
//!
//! The same codes reach the sandbox, where rclone prints them; [`words`] serves
//! both.

use jiff::Timestamp;
use sandbox_broker_sdk::mounter::Response;
use sandbox_broker_sdk::{Code, Error, quote};

use crate::answers::{ahead, element, header};
use crate::bucket::Bucket;
use crate::config::Credential;

/// Who was asked, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The token service, with the operator's key.
    Tokens,
    /// The bucket, with what a sandbox gets.
    Files(Credential),
    /// The same, by the sandbox.
    Sandbox(Credential),
}

/// A refusal of a service to the broker.
pub fn of_response(response: &Response, asked: Asked, bucket: &Bucket, now: Timestamp) -> Error {
    let code = element(response, "Code").map(|code| quote(&code)).unwrap_or_default();
    let error = |kind: Code, message: String| {
        let error = Error::new(kind, message).with("status", response.status).with("error-code", &code);
        let id = header(response, "x-amz-request-id").or_else(|| header(response, "x-amzn-requestid"));
        id.map_or(error.clone(), |id| error.with("request-id", quote(id)))
    };
    let service = if asked == Asked::Tokens { &bucket.sts } else { &bucket.service };
    let said = element(response, "Message").map(|said| quote(&said)).unwrap_or_default();
    // The token service has the code of a wrong key for a wrong clock as well.
    let late = ["Signature expired", "Signature not yet current", "too large", "RequestTime"];
    if code == "RequestTimeTooSkewed" || late.iter().any(|text| said.contains(text)) && code != "EntityTooLarge" {
        let skew = ahead(response, now).map_or("the two differ".to_owned(), |ahead| {
            format!("it is {} s {} the service's", ahead.abs(), if ahead > 0 { "ahead of" } else { "behind" })
        });
        return error(
            Code::FailedPrecondition,
            format!(
                "{} refuses what was signed because of the broker's clock, {skew}: set it right",
                service.authority
            ),
        );
    }
    let region = element(response, "Region").or_else(|| header(response, "x-amz-bucket-region").map(str::to_owned));
    let elsewhere = matches!(&*code, "AuthorizationHeaderMalformed" | "AuthorizationQueryParametersError")
        || matches!(response.status, 301 | 307);
    if elsewhere && (region.is_some() || said.contains("region")) {
        let right = region.map_or_else(|| said.clone(), |region| format!("it is in {}", quote(&region)));
        return error(
            Code::FailedPrecondition,
            format!(
                "bucket {} is not in region {}: {right}; correct `region` and the secret's",
                bucket.name, bucket.region
            ),
        );
    }
    // Some services have one code for a wrong key and for missing rights.
    let unknown = ["signature we calculated", "Access Key Id you provided"];
    let wrong = code == "AccessDenied" && unknown.iter().any(|text| said.contains(text));
    let named = if wrong { "SignatureDoesNotMatch" } else { &*code };
    if let Some((kind, message)) = words(named, asked, bucket) {
        return error(kind, message);
    }
    let no_tokens = matches!(response.status, 405 | 501) || matches!(&*code, "InvalidAction" | "NotImplemented");
    if asked == Asked::Tokens && no_tokens {
        return error(
            Code::Unimplemented,
            format!(
                "{} makes no temporary credentials: correct `sts_endpoint`, or set credential = \"key\" with the \
                 secret secret_key in `reveal`",
                service.authority
            ),
        );
    }
    if code.is_empty() {
        return error(
            Code::Unimplemented,
            format!("{} does not answer as an S3 service ({}): check `endpoint`", service.authority, response.status),
        );
    }
    let said = if said.is_empty() { "no reason was given" } else { &said };
    let status = response.status;
    error(Error::code_of_status(status), format!("{} failed ({status} {code}): {said}", service.authority))
}

/// Words for one of the services' codes; none for one that does not concern a
/// mount.
pub fn words(code: &str, asked: Asked, bucket: &Bucket) -> Option<(Code, String)> {
    let service = if asked == Asked::Tokens { &bucket.sts } else { &bucket.service };
    let (name, authority) = (&bucket.name, &service.authority);
    let wrong = match asked {
        Asked::Tokens => format!(
            "{authority} does not accept the key: set the secret secret_key to the key whose id is in its `carry`, \
             and `region` there to the service's"
        ),
        Asked::Files(Credential::Key) | Asked::Sandbox(Credential::Key) => {
            format!("{authority} does not accept the key: set the secret secret_key to the key of `access_key_id`")
        }
        Asked::Files(Credential::Sts) => {
            format!(
                "{authority} does not accept the credentials of {}: do both belong to one service?",
                bucket.sts.authority
            )
        }
        Asked::Sandbox(Credential::Sts) => {
            format!("{authority} does not accept the sandbox's credentials any more: the key behind them was removed")
        }
    };
    Some(match (code, asked) {
        ("NoSuchBucket", _) => {
            (Code::NotFound, format!("{authority} has no bucket {name}: create it, or correct `bucket` (S3_BUCKET)"))
        }
        (
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidClientTokenId" | "InvalidToken" | "InvalidTokenId"
            | "IncompleteSignature" | "MissingAuthenticationToken",
            _,
        ) => (Code::Unauthenticated, wrong),
        ("ExpiredToken" | "ExpiredTokenException", Asked::Sandbox(_)) => (
            Code::Unauthenticated,
            "the sandbox's credentials ended before they were renewed".to_owned(),
        ),
        ("ExpiredToken" | "ExpiredTokenException", _) => (
            Code::Unauthenticated,
            format!("{authority} takes the credentials for ended: set the broker's clock right, or make a new key"),
        ),
        ("AccessDenied" | "AccessDeniedException", Asked::Tokens) => (
            Code::PermissionDenied,
            "the key may not have temporary credentials made: allow it sts:AssumeRole for `role_arn`, and let the role \
             trust it"
                .to_owned(),
        ),
        ("AccessDenied" | "AllAccessDisabled" | "Forbidden", _) => (
            Code::PermissionDenied,
            format!(
                "no permission for {}: allow the role or the key to list the bucket and to read, write and delete \
                 there, or correct `prefix`",
                bucket.shown()
            ),
        ),
        ("ValidationError" | "InvalidParameterValue", Asked::Tokens) => (
            Code::FailedPrecondition,
            format!(
                "{authority} refuses what is asked: check that the secret secret_key goes there by its `to`, that \
                 `role_arn` exists and that `token_life` is within the role's longest session"
            ),
        ),
        ("MalformedPolicyDocument" | "PackedPolicyTooLarge", Asked::Tokens) => {
            (Code::FailedPrecondition, format!("{authority} refuses the policy of the mount: use a shorter `prefix`"))
        }
        ("RegionDisabledException", Asked::Tokens) => (
            Code::FailedPrecondition,
            format!("tokens of region {} are not enabled in the account: enable it", bucket.region),
        ),
        ("SlowDown" | "ServiceUnavailable" | "InternalError" | "ThrottlingException" | "Throttling", _) => {
            (Code::Unavailable, format!("{authority} is busy ({code}): try again later"))
        }
        ("XMinioServerNotInitialized", _) => (Code::Unavailable, format!("{authority} is starting: try again")),
        _ => return None,
    })
}

/// The error for no answer.
pub fn of_failure(e: &Error, asked: Asked, bucket: &Bucket) -> Error {
    let (service, setting) =
        if asked == Asked::Tokens { (&bucket.sts, "sts_endpoint") } else { (&bucket.service, "endpoint") };
    let transport = e.attrs.iter().find(|(name, _)| name == "transport").map_or("", |(_, value)| value.as_str());
    let is = |names: &[&str]| names.iter().any(|name| transport.starts_with(name));
    let message = if is(&["Dns", "DestinationNotFound"]) {
        format!("the name {} does not resolve: check `region`, `{setting}` and the network", service.authority)
    } else if is(&["HttpRequestDenied"]) {
        format!("the broker may not ask {}: add it to `allow` of the provider", service.url)
    } else if is(&["DestinationIpProhibited"]) {
        format!(
            "{} has a private address, which the broker does not connect to: set `allow_private = true` for the \
             provider if it is meant",
            service.authority
        )
    } else if is(&["ConnectionRefused"]) {
        format!("nobody serves {}: start it, or correct `{setting}`", service.url)
    } else {
        format!("{} cannot be asked: {}", service.authority, e.message)
    };
    Error { message, ..e.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{bucket, now, refusal};

    fn said(asked: Asked, status: u16, code: &str) -> (Code, String) {
        let e = of_response(&refusal(status, code), asked, &bucket(""), now());
        (e.code, e.message)
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let files = Asked::Files(Credential::Sts);
        for (asked, status, name, code, expected) in [
            (files, 404, "NoSuchBucket", Code::NotFound, "has no bucket files: create it"),
            (files, 403, "AccessDenied", Code::PermissionDenied, "no permission for files: allow"),
            (files, 403, "InvalidAccessKeyId", Code::Unauthenticated, "do both belong to one service?"),
            (files, 400, "ExpiredToken", Code::Unauthenticated, "takes the credentials for ended"),
            (files, 503, "SlowDown", Code::Unavailable, "is busy (SlowDown): try again later"),
            (
                Asked::Files(Credential::Key),
                403,
                "SignatureDoesNotMatch",
                Code::Unauthenticated,
                "the key of `access_key_id`",
            ),
            (
                Asked::Tokens,
                403,
                "SignatureDoesNotMatch",
                Code::Unauthenticated,
                "does not accept the key: set the secret secret_key",
            ),
            (
                Asked::Tokens,
                403,
                "InvalidClientTokenId",
                Code::Unauthenticated,
                "does not accept the key: set the secret secret_key",
            ),
            (Asked::Tokens, 403, "AccessDenied", Code::PermissionDenied, "allow it sts:AssumeRole"),
            (Asked::Tokens, 400, "ValidationError", Code::FailedPrecondition, "`token_life` is within"),
            (Asked::Tokens, 405, "MethodNotAllowed", Code::Unimplemented, "makes no temporary credentials"),
            (files, 409, "Odd", Code::Aborted, "failed (409 Odd): words of the service"),
        ] {
            let (found, message) = said(asked, status, name);
            assert_eq!(found, code, "{name}: {message}");
            assert!(message.contains(expected), "{name}: {message}");
        }
    }

    #[test]
    fn a_wrong_clock_is_told_from_a_wrong_key() {
        let mut response = refusal(403, "RequestTimeTooSkewed");
        response.headers.push(("date".into(), "Tue, 24 Nov 2026 23:45:38 GMT".into()));
        let e = of_response(&response, Asked::Files(Credential::Sts), &bucket(""), now());
        assert_eq!(e.code, Code::FailedPrecondition);
        assert!(
            e.message.contains("because of the broker's clock, it is 1200 s ahead of the service's"),
            "{}",
            e.message
        );
        let mut response = refusal(403, "SignatureDoesNotMatch");
        response.body =
            b"<E><Code>SignatureDoesNotMatch</Code><Message>Signature expired: 1 is now earlier than 2</Message></E>"
                .to_vec();
        let e = of_response(&response, Asked::Tokens, &bucket(""), now());
        assert!(e.message.contains("the broker's clock, the two differ: set it right"), "{}", e.message);
    }

    #[test]
    fn a_wrong_region_is_named_with_the_right_one() {
        let mut response = refusal(400, "AuthorizationHeaderMalformed");
        response.body = b"<E><Code>AuthorizationHeaderMalformed</Code><Region>eu-north-1</Region></E>".to_vec();
        let asked = Asked::Files(Credential::Sts);
        let e = of_response(&response, asked, &bucket(""), now());
        assert_eq!(
            e.message,
            "bucket files is not in region eu-west-1: it is in eu-north-1; correct `region` and the secret's"
        );
        let mut response = refusal(301, "PermanentRedirect");
        response.headers.push(("x-amz-bucket-region".into(), "us-west-2".into()));
        assert!(of_response(&response, asked, &bucket(""), now()).message.contains("it is in us-west-2"));
    }

    #[test]
    fn another_web_server_is_not_taken_for_the_service() {
        let page = Response { status: 404, headers: Vec::new(), body: b"<html>".to_vec() };
        let e = of_response(&page, Asked::Files(Credential::Sts), &bucket(""), now());
        assert_eq!(e.code, Code::Unimplemented);
        assert_eq!(e.message, "s3.eu-west-1.amazonaws.com does not answer as an S3 service (404): check `endpoint`");
    }

    #[test]
    fn no_answer_is_told_by_its_cause() {
        let failed = |transport: &str| {
            let e = Error::new(Code::Unavailable, "the host's words").with("transport", transport);
            of_failure(&e, Asked::Tokens, &bucket("")).message
        };
        assert!(
            failed("DnsError(DnsErrorPayload { .. })").starts_with("the name sts.eu-west-1.amazonaws.com does not")
        );
        assert_eq!(
            failed("HttpRequestDenied"),
            "the broker may not ask https://sts.eu-west-1.amazonaws.com: add it to `allow` of the provider"
        );
        assert!(failed("DestinationIpProhibited").contains("`allow_private = true`"));
        assert_eq!(
            failed("ConnectionRefused"),
            "nobody serves https://sts.eu-west-1.amazonaws.com: start it, or correct `sts_endpoint`"
        );
        assert_eq!(failed("HttpResponseTimeout"), "sts.eu-west-1.amazonaws.com cannot be asked: the host's words");
    }
}
