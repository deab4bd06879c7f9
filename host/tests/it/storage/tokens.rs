//! A session lives longer than its tokens.

use std::time::Instant;

use super::{FILES, Shell, Store, released};
use crate::support::Broker;

/// The shortest life that can be set, and no policy: the service for one machine
/// lets a token with a policy in for as long as the policy is there.
const SHORT: &str = "token_life = \"1m\"\nrevoke = \"expiry\"";

/// Writes files for so many seconds; prints how many, and how many failed.
fn writes(seconds: u32) -> String {
    format!(
        "mkdir {FILES}/n; n=0; failed=0; end=$((SECONDS + {seconds}))\n\
         while [ $SECONDS -lt $end ]; do\n\
         n=$((n + 1)); printf $n | dd of={FILES}/n/$n conv=fsync status=none || failed=$((failed + 1))\n\
         [ $((n % 10)) != 0 ] || echo tick; sleep 0.3\n\
         done; echo \"wrote $n, $failed failed\""
    )
}

async fn outlives(seconds: u32, renewals: usize) {
    let Some(store) = Store::azure().await else { return };
    let broker = Broker::start(&store.config("", SHORT)).await;
    let mut shell = Shell::open(&broker).await;
    let first = store.mount().await.token();
    let printed = shell.ok(&writes(seconds)).await;
    let last = printed.lines().last().unwrap();
    let renewed = broker.log().matches("storage credentials renewed").count();
    println!("{last}, through {renewed} renewals in {seconds} s");
    assert!(last.ends_with(", 0 failed"), "{printed}");
    assert!(renewed >= renewals, "{renewed} renewals");
    assert_ne!(store.mount().await.token(), first);
    assert_eq!(store.status_by(&first).await, 403, "the first token has ended");
    shell.exit().await;
    released(&broker, 1).await;
    let wrote: usize = last.split([' ', ',']).nth(1).unwrap().parse().unwrap();
    let blobs = store.service.list(&store.container).await;
    assert_eq!(blobs.iter().filter(|blob| !blob.directory).count(), wrote);
}

#[tokio::test]
async fn a_session_writes_through_renewals_of_its_token() {
    outlives(70, 2).await;
}

#[tokio::test]
#[ignore = "takes five minutes: cargo xtask test five_minutes -- --ignored"]
async fn a_session_writes_for_five_minutes_with_tokens_of_one() {
    outlives(300, 9).await;
}

#[tokio::test]
async fn a_token_that_could_not_be_renewed_is_told_and_replaced() {
    let Some(store) = Store::azure().await else { return };
    let broker = Broker::start(&store.config("", SHORT)).await;
    let mut shell = Shell::open(&broker).await;
    shell.ok(&format!("cd /; printf before | dd of={FILES}/before conv=fsync status=none")).await;
    shell.ticks().await;
    // Nothing can be renamed over what something is mounted on.
    let mount = store.mount().await;
    let config = format!("{}/config.yaml", mount.inside);
    mount.enter(&["mount", "--bind", &config, &config]);
    let began = Instant::now();
    let told = shell.told("could not be renewed").await;
    println!("{told} (after {:.0} s)", began.elapsed().as_secs_f32());
    assert!(told.contains("until it is, files may not be saved"), "{told}");
    let (status, said) = shell.run(&format!("printf late > /tmp/late; cp /tmp/late {FILES}/late")).await;
    assert!(status != 0, "a program is told: {said}");
    let told = shell.told("stopped working").await;
    assert!(told.contains("it ended before it was renewed"), "{told}");
    shell.told(&format!("mounted again at {FILES}")).await;
    println!("mounted again after {:.0} s", began.elapsed().as_secs_f32());
    let printed = shell.ok(&format!("cat {FILES}/before")).await;
    assert!(printed.ends_with("before"), "{printed}");
    shell.ok(&format!("cp /tmp/late {FILES}/late")).await;
    shell.exit().await;
    released(&broker, 1).await;
    assert_eq!(store.text("late").await.as_deref(), Some("late"));
}
