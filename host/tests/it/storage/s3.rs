//! With S3: what goes wrong is told in words that name what to do, credentials
//! are renewed and open one prefix alone, and nothing that was closed is lost.

use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;

use super::faults::{free_port, refused};
use super::{FILES, NO_HANG, Shell, Store, released};
use crate::support::s3::{KEY_ID, REGION, S3, SECRET_KEY};
use crate::support::service::{Kind, Service};
use crate::support::{Broker, Frame, eventually};

/// How long credentials live where they are to end during a test.
const LIFE: Duration = Duration::from_secs(20);

/// A store whose service makes such credentials.
async fn short_lived() -> Option<Store<Service>> {
    let start = async || Some(Service::S3(S3::start_with(LIFE).await?));
    Store::alone_with(Kind::S3, start).await
}

#[tokio::test]
async fn what_the_service_refuses_is_told_before_a_sandbox_is_made() {
    let Some(store) = Store::s3().await else { return };
    let good = store.config("", "");
    let endpoint = store.service.endpoint();
    let authority = endpoint.strip_prefix("http://").unwrap();

    let wrong = "wrong-canary-key";
    let said = refused(&good.replace(SECRET_KEY, wrong)).await;
    assert!(said.contains(&format!("{authority} does not accept the key: set the secret secret_key")), "{said}");
    assert!(!said.contains(wrong), "{said}");
    let said = refused(&good.replace(KEY_ID, "nobodys-key")).await;
    assert!(said.contains("does not accept the key: set the secret secret_key"), "{said}");

    let said = refused(&good.replace(&format!("bucket = \"{}\"", store.container), "bucket = \"absent\"")).await;
    assert!(said.contains(&format!("{authority} has no bucket absent: create it")), "{said}");

    let nobody = format!("http://127.0.0.1:{}", free_port());
    let said = refused(&good.replace(&endpoint, &nobody)).await;
    assert!(said.contains(&format!("nobody serves {nobody}: start it")), "{said}");

    let said = refused(&good.replace(&format!("\nregion = \"{REGION}\""), "\nregion = \"eu-other-2\"")).await;
    assert!(said.contains("is not in region eu-other-2") && said.contains(REGION), "{said}");

    assert!(store.server.sandboxes().await.is_empty());
}

#[tokio::test]
async fn what_a_sandbox_lacks_is_told() {
    let Some(store) = Store::s3().await else { return };
    let good = store.config("", "");

    let said = refused(&good.replace("template = \"fuse\"", "template = \"base\"")).await;
    assert!(said.contains("the sandbox has no /dev/fuse, so nothing can be mounted in it: take a template"), "{said}");

    let program = format!("rclone = \"{}\"", store.program);
    let said = refused(&good.replace(&program, "rclone = \"rclone-of-nowhere\"")).await;
    assert!(said.contains("the sandbox has no program") && said.contains("rclone-of-nowhere"), "{said}");
    store.server.has(0).await;
}

/// The sandbox's own credentials, not only what the mount shows.
#[tokio::test]
async fn a_mount_opens_its_prefix_and_nothing_else() {
    let Some(store) = Store::s3().await else { return };
    let s3 = store.service.s3();
    s3.upload(&store.container, "people/ada/hers", "of ada").await;
    s3.upload(&store.container, "people/bob/his", "of bob").await;
    let broker = Broker::start(&store.config("", "prefix = \"people/ada\"")).await;
    let mut shell = Shell::open(&broker).await;
    assert_eq!(shell.ok(&format!("ls {FILES}; cat {FILES}/hers")).await, "hers\nof ada");
    shell.ok(&format!("printf new > {FILES}/new")).await;
    let key = store.mount().await.key();
    let status = async |method: Method, path: &str, query: &[(&str, &str)]| {
        let path = format!("/{}{path}", store.container);
        let content = (method == Method::PUT).then(|| b"x".to_vec());
        s3.send(&key, method, &path, query, content).await.status().as_u16()
    };
    assert_eq!(status(Method::GET, "/people/ada/hers", &[]).await, 200);
    assert_eq!(status(Method::GET, "/people/bob/his", &[]).await, 403);
    assert_eq!(status(Method::PUT, "/people/bob/mine", &[]).await, 403);
    assert_eq!(status(Method::GET, "", &[("list-type", "2")]).await, 403);
    assert_eq!(status(Method::GET, "", &[("list-type", "2"), ("prefix", "people/bob/")]).await, 403);
    assert_eq!(status(Method::GET, "", &[("list-type", "2"), ("prefix", "people/ada/")]).await, 200);
    shell.exit().await;
    released(&broker, 1).await;
    assert_eq!(store.text("people/ada/new").await.as_deref(), Some("new"));
}

#[tokio::test]
async fn two_sessions_write_one_bucket_at_the_same_time() {
    let Some(store) = Store::s3().await else { return };
    let broker = store.broker().await;
    let mut shells = [Shell::open(&broker).await, Shell::open(&broker).await];
    for (at, shell) in shells.iter_mut().enumerate() {
        shell.start(&format!("for i in $(seq 1 50); do printf {at}-$i > {FILES}/$i-{at}; done")).await;
    }
    for shell in &mut shells {
        assert_eq!(shell.finish().await.0, 0);
    }
    for shell in shells {
        let (closed, client) = shell.exit().await;
        assert_eq!(closed.code, 1000, "{:?}", client.said);
    }
    released(&broker, 2).await;
    for at in 0..2 {
        for i in 1..=50 {
            assert_eq!(store.text(&format!("{i}-{at}")).await, Some(format!("{at}-{i}")));
        }
    }
}

#[tokio::test]
async fn a_session_writes_through_renewals_of_its_credentials() {
    let Some(store) = short_lived().await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    let (first, pid) = (store.mount().await.key(), store.mount().await.pid());
    let script = format!(
        "mkdir {FILES}/n; n=0; failed=0; end=$((SECONDS + 30))\n\
         while [ $SECONDS -lt $end ]; do\n\
         n=$((n + 1)); printf $n > {FILES}/n/$n || failed=$((failed + 1))\n\
         [ $((n % 10)) != 0 ] || echo tick; sleep 0.3\n\
         done; echo \"wrote $n, $failed failed\""
    );
    let printed = shell.ok(&script).await;
    let last = printed.lines().last().unwrap();
    let renewed = broker.log().matches("storage credentials renewed").count();
    println!("{last}, through {renewed} renewals in 30 s");
    assert!(last.ends_with(", 0 failed") && renewed >= 2, "{printed}, {renewed} renewals");
    let mount = store.mount().await;
    assert_eq!(mount.pid(), pid, "it was not mounted again");
    assert_ne!(mount.key().id, first.id);
    let path = format!("/{}", store.container);
    let by =
        async |key| store.service().s3().send(&key, Method::GET, &path, &[("list-type", "2")], None).await.status();
    assert_eq!(by(first).await, 400, "the first credentials have ended");
    assert_eq!(by(mount.key()).await, 200);
    let (closed, client) = shell.exit().await;
    assert_eq!(closed.code, 1000, "{:?}", client.said);
    let wrote: usize = last.split([' ', ',']).nth(1).unwrap().parse().unwrap();
    let files = store.service().list(&store.container).await;
    assert_eq!(files.iter().filter(|file| !file.directory).count(), wrote);
}

#[tokio::test]
async fn credentials_that_ended_are_told_and_replaced() {
    let Some(store) = short_lived().await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    shell.ok(&format!("cd /; printf before > {FILES}/before")).await;
    shell.ticks().await;
    // Nothing can be renamed over what something is mounted on.
    let mount = store.mount().await;
    let file = format!("{}/credentials", mount.inside);
    mount.enter(&["mount", "--bind", &file, &file]);
    shell.told("could not be renewed").await;
    let told = shell.told("stopped working").await;
    assert!(told.contains("the sandbox's credentials ended before they were renewed"), "{told}");
    shell.told(&format!("mounted again at {FILES}")).await;
    let printed = shell.ok(&format!("cat {FILES}/before")).await;
    assert!(printed.ends_with("before"), "{printed}");
    shell.ok(&format!("printf late > {FILES}/late")).await;
    shell.exit().await;
    released(&broker, 1).await;
    assert_eq!(store.text("late").await.as_deref(), Some("late"));
}

/// Closed is on the sandbox's disk at once, and stored when the service is back.
#[tokio::test]
async fn a_service_that_goes_away_loses_nothing_when_it_is_back() {
    let Some(mut store) = Store::alone(Kind::S3).await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    shell.ok(&format!("printf before > {FILES}/before")).await;
    eventually("the first file", async || store.text("before").await).await;
    // A new name needs the service; what is written to an open file does not.
    shell.ok(&format!("exec 3> {FILES}/during")).await;
    store.service.stop().await;
    let began = Instant::now();
    shell.ok("printf during >&3; exec 3>&-").await;
    let (status, said) = shell.run(&format!("ls {FILES}/elsewhere")).await;
    assert!(status != 0, "a program is told: {said}");
    assert!(began.elapsed() < NO_HANG, "{:?}", began.elapsed());
    store.service.resume().await;
    shell.ok(&format!("until printf after > {FILES}/after; do sleep 0.5; done")).await;
    let (closed, client) = shell.exit().await;
    assert_eq!(closed.code, 1000, "{:?}", client.said);
    for (name, text) in [("before", "before"), ("during", "during"), ("after", "after")] {
        assert_eq!(store.text(name).await.as_deref(), Some(text));
    }
    released(&broker, 1).await;
}

#[tokio::test]
async fn what_is_not_saved_when_the_service_is_away_at_the_end_is_told() {
    let Some(mut store) = Store::alone(Kind::S3).await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    shell.ok(&format!("cd /; exec 3> {FILES}/lost")).await;
    store.service.stop().await;
    shell.ok("printf lost >&3; exec 3>&-").await;
    let (closed, client) = shell.exit().await;
    assert_eq!(closed.code, 1000, "{:?}", client.said);
    let unsaved = |frame: &Frame| matches!(frame, Frame::Status(told) if told.contains("Not all files are saved") && told.contains("lost"));
    assert!(client.said.iter().any(unsaved), "{:?}", client.said);
}

/// What it had not stored yet is mostly stored by the next one, from its disk. That is not promised, and not shown here.
#[tokio::test]
async fn a_program_that_is_killed_is_mounted_again_and_loses_nothing_that_was_stored() {
    let Some(store) = Store::s3().await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    shell.ok(&format!("cd /; printf stored > {FILES}/stored")).await;
    eventually("the first file", async || store.text("stored").await).await;
    let mount = store.mount().await;
    assert!(Command::new("kill").args(["-KILL", &mount.pid().to_string()]).status().unwrap().success());
    let told = shell.told("stopped working").await;
    println!("{told}");
    shell.told(&format!("mounted again at {FILES}")).await;
    assert_eq!(shell.ok(&format!("cat {FILES}/stored")).await, "stored");
    shell.ok(&format!("printf later > {FILES}/later")).await;
    shell.exit().await;
    released(&broker, 1).await;
    assert_eq!(store.text("later").await.as_deref(), Some("later"));
}

/// The key is nowhere in the sandbox, and its credentials are in no log and not
/// in the state of the broker.
#[tokio::test]
async fn the_key_stays_in_the_broker() {
    let Some(store) = Store::s3().await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    shell.ok(&format!("printf x > {FILES}/x")).await;
    let mount = store.mount().await;
    let secret = mount.key().secret;
    let found = |text: &str, place: &std::path::Path| {
        let ran = Command::new("grep").args(["-rlF", "--exclude-dir=proc", text]).arg(place).output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    assert!(!found(&secret, &mount.workspace).is_empty(), "what is surely there is found");
    assert_eq!(found(SECRET_KEY, &mount.sandbox), "");
    assert_eq!(found(SECRET_KEY, &broker.file("state")), "");
    assert_eq!(found(&secret, &broker.file("state")), "");
    let log = broker.log();
    assert!(!log.contains(SECRET_KEY) && !log.contains(&secret) && log.contains("storage mounted"));
    shell.exit().await;
}

/// The section of the storage names another provider; nothing else changes.
#[tokio::test]
async fn one_line_moves_the_storage_from_azure_to_s3() {
    let (Some(azure), Some(s3)) = (Store::azure().await, Store::s3().await) else { return };
    // Sandboxes of one server reach one port, so those of the embedded one are used.
    let (of_azure, of_s3) = (azure.service.endpoint(), s3.service.endpoint());
    let before = azure.config("", "").replace("provider = \"box\"", "provider = \"local\"")
        + &s3.section()
        + &format!(
            "[providers.local]\nplugin = \"e2b\"\nembedded = \"sandboxd\"\nhost_services = [\"{of_azure}\", \"{of_s3}\"]\n"
        );
    let broker = Broker::start(&before).await;
    let mut first = Shell::open(&broker).await;
    first.ok(&format!("printf one | dd of={FILES}/one conv=fsync status=none")).await;
    let after = before.replacen("provider = \"azure\"", "provider = \"s3\"", 1);
    assert_eq!(before.lines().zip(after.lines()).filter(|(one, other)| one != other).count(), 1);
    broker.edit(&after);
    broker.logs(r#""configuration is live","generation":2"#).await;
    let mut second = Shell::open(&broker).await;
    second.ok(&format!("[ ! -e {FILES}/one ] && printf two > {FILES}/two")).await;
    // The session before goes on as it was.
    first.ok(&format!("printf more | dd of={FILES}/more conv=fsync status=none; [ ! -e {FILES}/two ]")).await;
    for shell in [first, second] {
        let (closed, client) = shell.exit().await;
        assert_eq!(closed.code, 1000, "{:?}", client.said);
    }
    released(&broker, 2).await;
    assert_eq!(azure.text("more").await.as_deref(), Some("more"));
    assert_eq!(s3.text("two").await.as_deref(), Some("two"));
    assert_eq!(azure.text("two").await, None);
}

/// A service without temporary credentials: the operator gives the key away, and
/// says so.
#[tokio::test]
async fn a_revealed_key_mounts_where_there_are_no_tokens() {
    let Some(store) = Store::s3().await else { return };
    let settings = format!("credential = \"key\"\naccess_key_id = \"{KEY_ID}\"");
    let config = store.config("", &settings);
    let at = config.find("secrets.secret_key").unwrap();
    let end = at + config[at..].find('\n').unwrap();
    let config = format!(
        "{}secrets.secret_key = {{ value = \"{SECRET_KEY}\" }}\nreveal = [\"secret_key\"]{}",
        &config[..at],
        &config[end..]
    );
    let broker = Broker::start(&config).await;
    let mut shell = Shell::open(&broker).await;
    shell.ok(&format!("printf x > {FILES}/x")).await;
    shell.exit().await;
    released(&broker, 1).await;
    assert_eq!(store.text("x").await.as_deref(), Some("x"));
}
