//! With Azure: each thing that can go wrong is told in words that name what to do, holds
//! nobody up, and loses nothing that was closed.

use std::time::Instant;

use super::{FILES, NO_HANG, Shell, Store, released};
use crate::support::azurite::{ACCOUNT, KEY};
use crate::support::service::Kind;
use crate::support::{Broker, Frame, eventually};

/// A session that must not begin; what it says.
pub(super) async fn refused(config: &str) -> String {
    let broker = Broker::start(config).await;
    let began = Instant::now();
    let mut client = broker.connect().await;
    let said = client.error().await;
    assert_eq!(client.closed().await.code, 4500, "{said}");
    assert!(began.elapsed() < NO_HANG, "{said}: {:?}", began.elapsed());
    assert!(!client.said.iter().any(|frame| matches!(frame, Frame::Ready(_))), "{:?}", client.said);
    println!("{said}");
    // Whatever was made for it is let go of before the broker is.
    eventually("no session", async || {
        let status: serde_json::Value = broker.get("/api/status").await.json().await.unwrap();
        status["sessions"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
    assert!(!said.contains("sig=") && !broker.log().contains("sig="), "a token shows: {said}");
    said
}

/// A port of the loopback on which nothing listens.
pub(super) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn what_the_service_refuses_is_told_before_a_sandbox_is_made() {
    let Some(store) = Store::azure().await else { return };
    let good = store.config("", "");

    let wrong = "d3JvbmcgY2FuYXJ5IGtleQ==";
    let said = refused(&good.replace(KEY, wrong)).await;
    assert!(said.contains("does not accept the account key: set the secret account_key"), "{said}");
    assert!(!said.contains(wrong), "{said}");

    let container = format!("\"{}\"", store.container);
    let said = refused(&good.replace(&container, "\"absent\"")).await;
    assert!(said.contains(&format!("account {ACCOUNT} has no container absent: create it")), "{said}");

    let (endpoint, nobody) = (store.service.endpoint(), format!("http://127.0.0.1:{}", free_port()));
    let origin = endpoint.strip_suffix(&format!("/{ACCOUNT}")).unwrap();
    let said = refused(&good.replace(origin, &nobody)).await;
    assert!(said.contains(&format!("nobody serves {nobody}")), "{said}");

    assert!(store.server.sandboxes().await.is_empty());
}

#[tokio::test]
async fn what_a_sandbox_lacks_is_told() {
    let Some(store) = Store::azure().await else { return };
    let good = store.config("", "");

    let said = refused(&good.replace("template = \"fuse\"", "template = \"base\"")).await;
    assert!(said.contains("the sandbox has no /dev/fuse, so nothing can be mounted in it: take a template"), "{said}");

    let program = format!("blobfuse2 = \"{}\"", store.program);
    let said = refused(&good.replace(&program, "blobfuse2 = \"blobfuse2-of-nowhere\"")).await;
    assert!(said.contains("the sandbox has no program") && said.contains("blobfuse2-of-nowhere"), "{said}");
    store.server.has(0).await;
}

#[tokio::test]
async fn a_program_that_is_killed_is_told_and_mounted_again() {
    let Some(store) = Store::azure().await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    shell.ok(&format!("cd /; printf closed | dd of={FILES}/closed conv=fsync status=none")).await;
    let mount = store.mount().await;
    let killed = std::process::Command::new("kill").args(["-KILL", &mount.pid().to_string()]).status().unwrap();
    assert!(killed.success());
    let began = Instant::now();
    let told = shell.told("stopped working").await;
    assert!(told.contains(&format!("at {FILES} stopped working: blobfuse2 ended, and the mount with it")), "{told}");
    shell.told(&format!("mounted again at {FILES}")).await;
    println!("{told}; mounted again after {:.1} s", began.elapsed().as_secs_f32());
    assert!(began.elapsed() < NO_HANG, "{:?}", began.elapsed());
    assert_eq!(shell.ok(&format!("cat {FILES}/closed")).await, "closed");
    shell.ok(&format!("printf later | dd of={FILES}/later conv=fsync status=none")).await;
    shell.exit().await;
    released(&broker, 1).await;
    assert_eq!(store.text("later").await.as_deref(), Some("later"));
}

#[tokio::test]
async fn a_service_that_goes_away_fails_programs_and_loses_nothing_when_it_is_back() {
    let Some(mut store) = Store::alone(Kind::Azure).await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    shell.ok(&format!("printf before | dd of={FILES}/before conv=fsync status=none")).await;
    store.service.stop().await;
    let began = Instant::now();
    let (status, said) = shell.run(&format!("printf during > /tmp/during; cp /tmp/during {FILES}/during")).await;
    assert!(status != 0 && said.contains("error"), "the program is told: {said}");
    println!("without the service a program waits for {:.1} s: {said}", began.elapsed().as_secs_f32());
    assert!(began.elapsed() < NO_HANG, "{:?}", began.elapsed());
    let began = Instant::now();
    let (status, said) = shell.run(&format!("ls {FILES}")).await;
    assert!(status != 0, "a program is told: {said}");
    assert!(began.elapsed() < NO_HANG, "{:?}", began.elapsed());
    store.service.resume().await;
    let retry = format!("until printf after | dd of={FILES}/after conv=fsync status=none; do sleep 0.5; done");
    shell.ok(&retry).await;
    let (closed, client) = shell.exit().await;
    assert_eq!(closed.code, 1000, "{:?}", client.said);
    assert_eq!(store.text("before").await.as_deref(), Some("before"));
    assert_eq!(store.text("after").await.as_deref(), Some("after"));
    released(&broker, 1).await;
}

#[tokio::test]
async fn a_container_that_is_deleted_is_told_and_what_is_not_saved_too() {
    let Some(store) = Store::azure().await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    shell.ok(&format!("cd /; printf before | dd of={FILES}/before conv=fsync status=none")).await;
    shell.ticks().await;
    store.service.azurite().delete_container(&store.container).await;
    let began = Instant::now();
    let (status, said) = shell.run(&format!("printf lost > /tmp/lost; cp /tmp/lost {FILES}/lost")).await;
    assert!(status != 0, "the program is told: {said}");
    assert!(began.elapsed() < NO_HANG, "{:?}", began.elapsed());
    let told = shell.told("stopped working").await;
    println!("{told} (after {:.0} s)", began.elapsed().as_secs_f32());
    // Whose policy went with the container, and an emulator says no more.
    assert!(told.contains("its access policy or the container was removed"), "{told}");
    let began = Instant::now();
    let (closed, client) = shell.exit().await;
    assert_eq!(closed.code, 1000);
    assert!(began.elapsed() < NO_HANG, "{:?}", began.elapsed());
    let unsaved = |frame: &Frame| matches!(frame, Frame::Status(told) if told.contains("Not all files are saved"));
    assert!(client.said.iter().any(unsaved), "{:?}", client.said);
}

#[tokio::test]
async fn a_full_disk_is_told_to_the_program_and_loses_nothing_that_was_closed() {
    let Some(store) = Store::azure().await else { return };
    let broker = store.broker().await;
    let mut shell = Shell::open(&broker).await;
    shell.ok(&format!("printf before | dd of={FILES}/before conv=fsync status=none")).await;
    // A disk of 2 MiB comes over that of the cache.
    let mount = store.mount().await;
    let cache = format!("{}/cache", mount.inside);
    mount.enter(&["mount", "-t", "tmpfs", "-o", "size=2m", "none", &cache]);
    let began = Instant::now();
    let (status, said) =
        shell.run(&format!("head -c 8388608 /dev/zero | dd of={FILES}/large bs=64k conv=fsync status=none")).await;
    assert!(status != 0 && said.contains("Input/output error"), "{said}");
    assert!(began.elapsed() < NO_HANG, "{:?}", began.elapsed());
    shell.ok(&format!("rm {FILES}/large; [ \"$(cat {FILES}/before)\" = before ]")).await;
    shell.ok(&format!("printf after | dd of={FILES}/after conv=fsync status=none")).await;
    let (closed, client) = shell.exit().await;
    assert_eq!(closed.code, 1000, "{:?}", client.said);
    assert_eq!(store.text("before").await.as_deref(), Some("before"));
    assert_eq!(store.text("after").await.as_deref(), Some("after"));
    released(&broker, 1).await;
}
