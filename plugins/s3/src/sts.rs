//! Temporary credentials: the request for them, what they may do, and what is
//! read from the answer.

use sandbox_broker_sdk::mounter::{MountTarget, Request, Response};
use sandbox_broker_sdk::{Code, Error};
use serde_json::json;

use crate::answers::element;
use crate::bucket::{Bucket, encode};
use crate::config::Config;
use crate::grant::Credentials;

/// Digits of a mount's id in the name of a session, by which the service's own
/// log tells mounts apart. A name has 64 characters at most.
const ID_DIGITS: usize = 24;

/// Asks for credentials. The host signs it.
pub fn request(config: &Config, bucket: &Bucket, target: &MountTarget) -> Request {
    let session = format!("sandbox-broker-{}", target.id.chars().take(ID_DIGITS).collect::<String>());
    let life = config.token_secs().to_string();
    let policy = policy(config, bucket, target.read_only);
    let mut form = vec![
        ("Action", "AssumeRole"),
        ("Version", "2011-06-15"),
        ("RoleSessionName", &session),
        ("DurationSeconds", &life),
        ("Policy", &policy),
    ];
    if !config.role_arn.is_empty() {
        form.push(("RoleArn", &config.role_arn));
    }
    let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    Request {
        method: "POST".into(),
        url: format!("{}/", bucket.sts.url),
        headers: vec![("content-type".into(), "application/x-www-form-urlencoded".into())],
        body: body.join("&").into_bytes(),
    }
}

/// What the credentials may do at most: what a mount does, in the bucket, below
/// the prefix.
fn policy(config: &Config, bucket: &Bucket, read_only: bool) -> String {
    // Other parts of Amazon's cloud have another word for themselves.
    let partition = config.role_arn.split(':').nth(1).filter(|_| config.is_aws()).unwrap_or("aws");
    let arn = format!("arn:{partition}:s3:::{}", bucket.name);
    let mut objects = vec!["s3:GetObject"];
    if !read_only {
        objects.extend(["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]);
    }
    let mut list = json!({ "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [arn] });
    if !bucket.prefix.is_empty() {
        let folder = bucket.folder();
        list["Condition"] = json!({ "StringLike": { "s3:prefix": [folder, format!("{folder}*")] } });
    }
    let files = json!({ "Effect": "Allow", "Action": objects, "Resource": [format!("{arn}/{}*", bucket.folder())] });
    json!({ "Version": "2012-10-17", "Statement": [list, files] }).to_string()
}

/// The credentials of a good answer.
pub fn read(response: &Response) -> Result<Credentials, Error> {
    let part = |name: &str| element(response, name).filter(|text| !text.is_empty());
    let found = || {
        let expires = part("Expiration")?.parse().ok()?;
        let (id, secret) = (part("AccessKeyId")?, part("SecretAccessKey")?);
        Some(Credentials { id, secret, token: Some(part("SessionToken")?), expires: Some(expires) })
    };
    // They become lines of a file.
    let fits = |one: &Credentials| {
        let token = one.token.as_deref().unwrap_or_default();
        [&*one.id, &*one.secret, token]
            .iter()
            .all(|text| text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\')))
    };
    found().filter(fits).ok_or_else(|| {
        Error::new(Code::Unimplemented, "the token service answered without credentials: check `sts_endpoint`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{assumed, bucket, credentials, section, target};

    fn policy_of(members: &str, read_only: bool) -> serde_json::Value {
        serde_json::from_str(&policy(&section(members), &bucket(members), read_only)).expect("json")
    }

    #[test]
    fn the_request_is_a_form_and_names_no_secret() {
        let request = request(&section(""), &bucket(""), &target());
        assert_eq!((&*request.method, &*request.url), ("POST", "https://sts.eu-west-1.amazonaws.com/"));
        let body = String::from_utf8(request.body).expect("text");
        assert!(body.starts_with("Action=AssumeRole&Version=2011-06-15&RoleSessionName=sandbox-broker-aaaaaaaaaaaaaaaaaaaaaaaa&DurationSeconds=3600&Policy=%7B"), "{body}");
        assert!(body.ends_with("&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"), "{body}");
    }

    #[test]
    fn the_policy_is_bound_to_the_bucket_and_the_prefix() {
        let policy = policy_of(r#","prefix":"people/ada""#, false);
        let [list, files] = &policy["Statement"].as_array().expect("statements")[..] else { panic!("two") };
        assert_eq!(list["Resource"], json!(["arn:aws:s3:::files"]));
        assert_eq!(list["Condition"]["StringLike"]["s3:prefix"], json!(["people/ada/", "people/ada/*"]));
        assert_eq!(files["Resource"], json!(["arn:aws:s3:::files/people/ada/*"]));
        assert!(files["Action"].as_array().expect("actions").contains(&json!("s3:DeleteObject")));

        let policy = policy_of("", true);
        assert_eq!(policy["Statement"][1]["Action"], json!(["s3:GetObject"]));
        assert_eq!(policy["Statement"][1]["Resource"], json!(["arn:aws:s3:::files/*"]));
        assert!(policy["Statement"][0].get("Condition").is_none());
    }

    #[test]
    fn a_policy_fits_its_bound_with_the_longest_names() {
        let members = format!(r#","prefix":"{}""#, "a".repeat(256));
        let config = section(&members);
        let bucket = Bucket { name: "b".repeat(63), ..bucket(&members) };
        assert!(policy(&config, &bucket, false).len() <= 2048);
    }

    #[test]
    fn other_partitions_have_their_own_names() {
        let policy = policy_of(r#","role_arn":"arn:aws-cn:iam::1:role/r""#, false);
        assert_eq!(policy["Statement"][0]["Resource"], json!(["arn:aws-cn:s3:::files"]));
    }

    #[test]
    fn credentials_are_read_whole_or_not_at_all() {
        assert_eq!(read(&assumed()).expect("credentials"), credentials());
        for broken in ["<Expiration>", "<SessionToken>", "<SecretAccessKey>", "<AccessKeyId>"] {
            let mut response = assumed();
            let text = String::from_utf8(response.body).expect("text").replace(broken, "<Other>");
            response.body = text.replace(&broken.replace('<', "</"), "</Other>").into_bytes();
            assert_eq!(read(&response).expect_err(broken).code, Code::Unimplemented);
        }
    }
}
