//! A real S3 service of the test's own: MinIO, with its data in a temporary
//! directory, and what a test wants to see and do behind the broker's back
//! through the service's own API.
//!
//! It checks each signature and makes temporary credentials, whose policy it
//! follows. Owns its start and its requests; knows no broker.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Response};
use sha2::{Digest as _, Sha256};

use super::eventually;
use super::expiry::Expiry;
use super::service::{Blob, between, unescaped};

/// The key with all rights.
pub const KEY_ID: &str = "key-of-the-tests";
pub const SECRET_KEY: &str = "canary-secret-key-of-the-tests-0123";
pub const REGION: &str = "eu-test-1";

/// What stands for itself in a URL that is signed.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A running service; ends with the test.
pub struct S3 {
    program: PathBuf,
    directory: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    /// Stands before it, if its credentials are to end early.
    expiry: Option<Expiry>,
}

/// Who signs.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: String,
    pub secret: String,
    pub token: String,
}

impl S3 {
    /// One on a free port; none, with words, where it is not built. Under CI that
    /// fails.
    pub async fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("S3_SERVICE").map(PathBuf::from) else {
            assert!(std::env::var_os("CI").is_none(), "S3_SERVICE is not set: run `cargo xtask test`");
            println!("skipped: S3_SERVICE is not set: run `cargo xtask test`, which builds it");
            return None;
        };
        let mut s3 = S3 { program, directory: tempfile::tempdir().unwrap(), port: 0, child: None, expiry: None };
        s3.resume().await;
        Some(s3)
    }

    /// The same, whose temporary credentials live so long, whatever is asked for.
    pub async fn start_with(life: Duration) -> Option<Self> {
        let mut s3 = Self::start().await?;
        s3.expiry = Some(Expiry::start(s3.endpoint(), life).await);
        Some(s3)
    }

    /// Ends it, as when the service cannot be reached; its data stays.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again after [`stop`](Self::stop), on the same port and data.
    pub async fn resume(&mut self) {
        assert!(self.child.is_none(), "it runs");
        if self.port == 0 {
            // It takes no port 0.
            self.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        }
        let output = File::create(self.directory.path().join("log")).unwrap();
        let mut command = Command::new(&self.program);
        command
            .args(["server", "--quiet", "--address", &format!("127.0.0.1:{}", self.port)])
            .arg(self.directory.path().join("data"))
            .env("MINIO_ROOT_USER", KEY_ID)
            .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
            .env("MINIO_SITE_REGION", REGION)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            .env("HOME", self.directory.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        self.child = Some(command.spawn().unwrap());
        eventually("the S3 service", async || {
            // Its own word for being ready comes too early.
            reqwest::get(self.endpoint()).await.ok()?;
            let answer = self.send(&Self::key(), Method::GET, "/", &[], None).await;
            (answer.status() == 200).then_some(())
        })
        .await;
    }

    /// Where it is reached.
    pub fn port(&self) -> u16 {
        self.expiry.as_ref().map_or(self.port, Expiry::port)
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// The key with all rights.
    pub fn key() -> Key {
        Key { id: KEY_ID.into(), secret: SECRET_KEY.into(), token: String::new() }
    }

    pub async fn make(&self, bucket: &str) {
        self.call(Method::PUT, &format!("/{bucket}"), &[], None).await;
    }

    /// Deletes a bucket and all that is in it.
    pub async fn delete_bucket(&self, bucket: &str) {
        for blob in self.list(bucket).await {
            let name = if blob.directory { format!("{}/", blob.name) } else { blob.name };
            self.delete(bucket, &name).await;
        }
        self.call(Method::DELETE, &format!("/{bucket}"), &[], None).await;
    }

    /// All files of a bucket, by name.
    pub async fn list(&self, bucket: &str) -> Vec<Blob> {
        let mut blobs = Vec::new();
        let mut next = String::new();
        loop {
            let mut query = vec![("list-type", "2")];
            if !next.is_empty() {
                query.push(("continuation-token", &next));
            }
            let xml = self.call(Method::GET, &format!("/{bucket}"), &query, None).await.text().await.unwrap();
            blobs.extend(between(&xml, "Contents").map(|blob| {
                let name = unescaped(between(blob, "Key").next().unwrap());
                let directory = name.ends_with('/');
                let size = between(blob, "Size").next().unwrap().parse().unwrap();
                Blob { name: name.trim_end_matches('/').to_owned(), size, directory }
            }));
            match between(&xml, "NextContinuationToken").next() {
                Some(found) => next = unescaped(found),
                None => break,
            }
        }
        blobs
    }

    /// What a file holds; none if there is no such file.
    pub async fn read(&self, bucket: &str, name: &str) -> Option<Vec<u8>> {
        let answer = self.send(&Self::key(), Method::GET, &format!("/{bucket}/{name}"), &[], None).await;
        match answer.status().as_u16() {
            200 => Some(answer.bytes().await.unwrap().to_vec()),
            404 => None,
            status => panic!("{status}: {}", answer.text().await.unwrap()),
        }
    }

    pub async fn upload(&self, bucket: &str, name: &str, content: impl Into<Vec<u8>>) {
        self.call(Method::PUT, &format!("/{bucket}/{name}"), &[], Some(content.into())).await;
    }

    pub async fn delete(&self, bucket: &str, name: &str) {
        self.call(Method::DELETE, &format!("/{bucket}/{name}"), &[], None).await;
    }

    async fn call(&self, method: Method, path: &str, query: &[(&str, &str)], content: Option<Vec<u8>>) -> Response {
        let answer = self.send(&Self::key(), method, path, query, content).await;
        let status = answer.status();
        if !status.is_success() {
            panic!("{path:?}: {status}: {}", answer.text().await.unwrap());
        }
        answer
    }

    /// Sends a request signed with a key.
    pub async fn send(
        &self,
        key: &Key,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        content: Option<Vec<u8>>,
    ) -> Response {
        let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
        let path = path.split('/').map(encode).collect::<Vec<_>>().join("/");
        let mut pairs: Vec<String> =
            query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        pairs.sort_unstable();
        let query = pairs.join("&");
        let at = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{}/{REGION}/s3/aws4_request", &at[..8]);
        let host = format!("127.0.0.1:{}", self.port());
        let mut headers =
            vec![("host", host.as_str()), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), ("x-amz-date", &at)];
        if !key.token.is_empty() {
            headers.push(("x-amz-security-token", &key.token));
        }
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let request = format!("{method}\n{path}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD");
        let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(&request)));
        let first = format!("AWS4{}", key.secret).into_bytes();
        let derived = scope.split('/').fold(first, |key, part| hmac(&key, part));
        let signature = hex(&hmac(&derived, &text));
        let id = &key.id;
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        let url = format!("{}{path}?{query}", self.endpoint());
        let mut request = reqwest::Client::new().request(method, url).header("authorization", authorization);
        for (name, value) in &headers[1..] {
            request = request.header(*name, *value);
        }
        if let Some(content) = content {
            request = request.header("content-length", content.len()).body(content);
        }
        request.send().await.unwrap()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.stop();
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
