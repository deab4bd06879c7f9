//! What a provider can do and cannot, what it says meanwhile, and the newest of
//! what it returned.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use tokio::time::Instant;

use super::fake::{Reply, grant};
use super::*;
use crate::Phase;
use sandbox_broker_core::abilities::Lease;
use sandbox_broker_core::sandbox::Exit;
use sandbox_broker_core::storage::Grant;

impl Bed {
    /// A bed whose provider has another lease.
    fn with_lease(lease: Lease) -> Self {
        let bed = Bed::new();
        bed.fake.abilities.lock().unwrap().lease = lease;
        bed
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_uses_the_reference_that_the_last_renewal_brought() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let shell = bed.fake.shell().await;
    until(|| bed.fake.asked("extend").len() == 3).await;
    assert_eq!(bed.fake.tokens("extend"), ["token", "token-1", "token-2"]);
    shell.exit(Ok(Exit::Code(0)));
    Told::read_to_end(client.reader()).await;
    bed.all_gone().await;
    assert_eq!(bed.fake.tokens("kill"), ["token-3"]);
}

#[tokio::test(start_paused = true)]
async fn the_files_of_a_session_are_reached_by_the_newest_reference() {
    let bed = Bed::new();
    let client = bed.open(None).unwrap();
    let _shell = bed.fake.shell().await;
    until(|| bed.sessions.list()[0].phase == Phase::Running).await;
    let state = || client.workspace().unwrap().sandbox.state;
    assert_eq!(state(), "token");
    until(|| bed.fake.asked("extend").len() == 1).await;
    until(|| state() == "token-1").await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_moved_is_not_renewed() {
    for lease in [Lease::Fixed, Lease::None] {
        let bed = Bed::with_lease(lease);
        let client = bed.sessions.open(driver("one"), true).unwrap();
        let _shell = bed.fake.shell().await;
        let began = Instant::now();
        until(|| began.elapsed() >= LEASE * 4).await;
        drop(client);
        soon(bed.sessions.shutdown()).await;
        assert_eq!(bed.fake.asked("extend"), [], "{lease:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_whose_lease_is_fixed_lives_as_long_as_its_session_may() {
    const AGE: Duration = Duration::from_secs(7200);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    for (lease, age, life) in [
        (Lease::Fixed, Some(AGE), AGE),
        (Lease::Fixed, None, DAY),
        (Lease::Grows, Some(AGE), LEASE),
        (Lease::None, None, LEASE),
    ] {
        let bed = Bed::with_lease(lease);
        bed.change(|blueprint| blueprint.max_age = age);
        let _client = bed.open(None).unwrap();
        let _shell = bed.fake.shell().await;
        assert_eq!(bed.fake.specs()[0].ttl, life, "{lease:?}");
    }
}

/// The messages of a step's stages until the shell is ready, and when each came.
async fn reported(reader: &mut Reader, step: Step) -> Vec<(u128, String)> {
    let began = Instant::now();
    let mut said = Vec::new();
    loop {
        match soon(reader.next()).await {
            Some(Event::Stage(stage)) if stage.name == step && stage.state == StageState::Started => {
                said.push((began.elapsed().as_millis(), stage.message));
            }
            Some(Event::Stage(_)) => {}
            Some(Event::Ready { .. }) => return said,
            other => panic!("{other:?} instead of ready"),
        }
    }
}

/// Time between two reports. No multiple of it is a time at which clients are told.
const TICK: Duration = Duration::from_millis(120);

#[tokio::test(start_paused = true)]
async fn a_client_hears_the_newest_report_of_a_creation_four_times_a_second() {
    let bed = Bed::new();
    let pull = (1..=8).map(|n| (TICK, "pulling the image", Some(n * 10)));
    bed.fake.reports(pull.chain([(TICK, "starting", None)]));
    bed.fake.script("create", Duration::from_secs(1), Reply::Do);
    let client = bed.open(None).unwrap();
    let said = reported(&mut client.reader(), Step::Create).await;
    assert_eq!(said[0].1, "Initializing sandbox...");
    let said: Vec<_> = said[1..].iter().map(|(at, words)| (*at, words.as_str())).collect();
    assert_eq!(
        said,
        [
            (120, "pulling the image (10 %)"),
            (370, "pulling the image (30 %)"),
            (620, "pulling the image (50 %)"),
            (870, "pulling the image (70 %)"),
            (1120, "starting"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_hears_what_the_check_of_storage_reports() {
    let (bed, _) = Bed::with_storage();
    bed.fake.reports([(TICK, "asking for a token", None), (TICK, "waiting for the policy", None)]);
    bed.fake.script("prepare", Duration::from_secs(1), Reply::Do);
    let client = bed.open(None).unwrap();
    let said = reported(&mut client.reader(), Step::Storage).await;
    let said: Vec<_> = said.iter().map(|(_, words)| words.as_str()).collect();
    assert_eq!(
        said,
        [
            "Checking Azure Blob Storage...",
            "Azure Blob Storage: asking for a token",
            "Azure Blob Storage: waiting for the policy",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_next_broker_gets_the_grant_of_the_last_renewal_without_its_secret_part() {
    let (bed, mounter) = Bed::with_storage();
    mounter.set(|plan| plan.renew_after = Some(KEEP));
    mounter.renewed.lock().unwrap().push_back(grant("grant-canary-2"));
    mounter.renewed.lock().unwrap().push_back(grant("grant-canary-3"));
    let client = bed.sessions.open(driver("one"), true).unwrap();
    let _shell = bed.fake.shell().await;
    until(|| bed.fake.asked("renew").len() == 1).await;
    until(|| bed.fake.ran("put").len() == 2).await;
    let id = client.id().to_owned();
    soon(bed.sessions.shutdown()).await;
    drop(client);

    let journalled = bed.journal.list().await.unwrap().remove(0).entry.storage.remove(0).grant.unwrap();
    assert_eq!(BASE64.decode(&journalled).unwrap(), b"grant-canary-2");

    let next = Bed::on(Arc::clone(&bed.fake), Arc::clone(&bed.journal));
    next.change(|blueprint| blueprint.mounts = vec![mount(&mounter, FILES)]);
    claim_all(&next, "2").await;
    let client = next.sessions.join(&id, driver("one")).unwrap();
    until(|| next.fake.asked("renew").len() == 2).await;
    let planned = mounter.planned().pop().unwrap();
    assert_eq!(planned, Grant { kept: Bytes::from_static(b"grant-canary-2"), sealed: Bytes::new() });
    until(|| next.fake.ran("put").len() == 3).await;
    client.kill();
    drop(client);
    next.all_gone().await;
    assert_eq!(mounter.released(), [grant("grant-canary-3")], "and what that one got is released");
}
