//! The files and flags of rclone. Owns which of its settings are written and
//! why; knows no step.

use std::time::Duration;

use sandbox_broker_sdk::mounter::File;

use crate::bucket::Bucket;
use crate::config::Config;
use crate::grant::Credentials;

/// How long a closed file waits until it is stored: one that is opened again at
/// once is stored once.
const WRITE_BACK: &str = "100ms";

/// Files that are stored at the same time.
const TRANSFERS: &str = "8";

/// Name of the file system, by which a mount is known for ours.
const DEVICE: &str = "sandbox-broker-s3";

/// How long rclone uses credentials before it reads them again, as a part of
/// their life, with its bounds in seconds.
const READ_AGAIN: (u64, u64, u64) = (8, 5, 60);

/// What is mounted, as rclone names it.
pub fn source(bucket: &Bucket) -> String {
    format!("storage:{}/{}", bucket.name, bucket.folder())
}

/// The files with the settings. For root alone.
pub fn files(config: &Config, bucket: &Bucket, workspace: &str, life: Option<Duration>) -> Vec<File> {
    let (service, quirks) =
        if config.is_aws() { (&*bucket.service.url, "AWS") } else { (&*bucket.service.url, "Other") };
    let settings = [
        ("type", "s3"),
        ("provider", quirks),
        // As the file `aws` says.
        ("env_auth", "true"),
        ("region", &bucket.region),
        ("endpoint", service),
        ("force_path_style", if bucket.path_style { "true" } else { "false" }),
        // It may not make a bucket, and so must not ask for one before each upload.
        ("no_check_bucket", "true"),
        // An empty folder is a name that ends in a slash.
        ("directory_markers", "true"),
        ("list_version", "2"),
        ("list_url_encode", "true"),
    ];
    let lines: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    let (part, least, most) = READ_AGAIN;
    let again = life.map_or(most, |life| (life.as_secs() / part).clamp(least, most));
    let give = format!("{workspace}/give");
    // The library that rclone uses asks a program again when what it gave has ended.
    let aws = format!("[default]\ncredential_process = /bin/sh {give} {workspace}/credentials {again}\n");
    vec![
        private(format!("{workspace}/rclone.conf"), format!("[storage]\n{lines}")),
        private(format!("{workspace}/aws"), aws),
        private(give, include_str!("give.sh").to_owned()),
    ]
}

/// The file with the credentials. For root alone.
pub fn credentials_file(workspace: &str, credentials: &Credentials) -> File {
    let token = credentials.token.as_deref().unwrap_or_default();
    let lines = [("id", &*credentials.id), ("secret", &*credentials.secret), ("token", token)];
    let text: String =
        lines.iter().map(|(name, value)| format!("{name}='{}'\n", value.replace('\'', r"'\''"))).collect();
    private(format!("{workspace}/credentials"), text)
}

/// The flags of the mount.
pub fn flags(config: &Config, read_only: bool) -> Vec<String> {
    let time = |time: Duration| format!("{}ms", time.as_millis());
    let believed = time(config.attribute_time());
    let umask = &config.umask;
    let mut flags: Vec<String> = [
        // Every kind of access, each file by way of the sandbox's disk.
        "--vfs-cache-mode=full".to_owned(),
        format!("--vfs-write-back={WRITE_BACK}"),
        format!("--vfs-cache-max-size={}Mi", config.cache_mib()),
        // A copy is compared with what the service has when a file is opened.
        "--vfs-cache-max-age=1h".to_owned(),
        format!("--dir-cache-time={believed}"),
        format!("--attr-timeout={believed}"),
        "--poll-interval=0".to_owned(),
        "--vfs-links".to_owned(),
        // A time of one's own would be a request for each file that is looked at.
        "--use-server-modtime".to_owned(),
        format!("--umask={umask}"),
        "--allow-other".to_owned(),
        format!("--devname={DEVICE}"),
        format!("--transfers={TRANSFERS}"),
        format!("--low-level-retries={}", config.retries),
        "--contimeout=5s".to_owned(),
        format!("--timeout={}", time(config.request_time())),
        "--log-level=ERROR".to_owned(),
    ]
    .into();
    if read_only {
        flags.push("--read-only".to_owned());
    }
    flags
}

fn private(path: String, text: String) -> File {
    File { path, content: text.into_bytes(), mode: 0o600 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{bucket, credentials, section};

    fn text(file: &File) -> &str {
        std::str::from_utf8(&file.content).expect("text")
    }

    #[test]
    fn what_is_configured_reaches_the_program() {
        let members = r#","endpoint":"http://127.0.0.1:9000","path_style":false,"region":"r-1""#;
        let written = files(&section(members), &bucket(members), "/run/w", Some(Duration::from_secs(3600)));
        let conf = text(&written[0]);
        for line in ["provider = Other", "region = r-1", "endpoint = http://127.0.0.1:9000", "force_path_style = false"]
        {
            assert!(conf.lines().any(|found| found == line), "{conf}");
        }
        assert!(written.iter().all(|file| file.mode == 0o600));
        let conf = files(&section(""), &bucket(""), "/run/w", None);
        assert!(text(&conf[0]).contains("provider = AWS\n"));
        let set = r#","cache_size":"512MiB","attribute_timeout":"2m","umask":"077","request_timeout":"5m","retries":7"#;
        let flags = flags(&section(set), true).join(" ");
        for flag in [
            "max-size=512Mi",
            "dir-cache-time=120000ms",
            "umask=077",
            " --timeout=300000ms",
            "retries=7",
            "--read-only",
        ] {
            assert!(flags.contains(flag), "{flags}");
        }
    }

    #[test]
    fn credentials_are_read_again_before_they_end() {
        let again = |life: Option<u64>| {
            let written = files(&section(""), &bucket(""), "/run/w", life.map(Duration::from_secs));
            text(&written[1]).rsplit(' ').next().expect("a number").trim().to_owned()
        };
        assert_eq!([again(None), again(Some(3600)), again(Some(160)), again(Some(20))], ["60", "60", "20", "5"]);
    }

    #[test]
    fn whatever_a_key_holds_is_one_word_of_the_shell() {
        let odd = Credentials { secret: "a'b $(c) \"d\"".into(), ..credentials() };
        let file = credentials_file("/run/w", &odd);
        let script = format!("{}printf %s \"$secret\"", text(&file));
        let said = std::process::Command::new("/bin/sh").args(["-c", &script]).output().expect("a shell");
        assert_eq!(String::from_utf8(said.stdout).expect("text"), odd.secret);
    }
}
