//! `plan` and `renew`: what the sandbox gets to see, and when.

use sandbox_broker_sdk::Code;
use sandbox_broker_sdk::mounter::{Command, MountPlan, Step};
use serde_json::Value;

use super::{Fake, ID_A, now, section, target};
use crate::grant::Grant;
use crate::plan::{plan, renew};

const SAS: &str = "sv=2022-11-02&sr=c&sp=rcwdl&se=2026-12-25T00%3A00%3A00Z&sig=top%2Bsecret";

fn command(step: &Step) -> Option<&Command> {
    match step {
        Step::Run(command) | Step::Supervise(command) => Some(command),
        Step::WriteFile(_) => None,
    }
}

fn commands(plan: &MountPlan) -> Vec<&Command> {
    let checks = plan.verify.iter().chain(&plan.watch);
    let last = plan.unmount.iter().chain(&plan.clear).filter_map(command);
    plan.mount.iter().filter_map(command).chain(checks).chain(last).collect()
}

/// The token in the first file of these steps.
fn token(steps: &[Step]) -> String {
    let Some(Step::WriteFile(file)) = steps.first() else { panic!("a file comes first") };
    assert_eq!((&*file.path, file.mode), ("/run/w/config.yaml", 0o600));
    let value: Value = serde_json::from_slice(&file.content).expect("json");
    value["azstorage"]["sas"].as_str().expect("a token").to_owned()
}

#[test]
fn a_plan_mounts_proves_watches_and_lets_go() {
    let grant = Grant::under(format!("one.{ID_A}"), true).to_bytes();
    let plan = plan(&Fake::new(), &section(""), &target(), now(), &grant).expect("a plan");
    assert_eq!(plan.title, "Azure Blob Storage");
    assert_eq!(plan.renew_after_ms, Some(15 * 60 * 1000));
    assert!(matches!(plan.mount[..], [Step::WriteFile(_), Step::Supervise(_)]));
    let calls: Vec<String> = commands(&plan)
        .iter()
        .map(|command| {
            assert_eq!(command.argv[..2], ["/bin/sh", "-c"]);
            format!("{} as {}", command.argv[3..].join(" "), command.user.as_deref().unwrap_or("root"))
        })
        .collect();
    assert_eq!(
        calls,
        [
            "mount blobfuse2 /workspace/files /run/w user as root",
            "watch /workspace/files /run/w as root",
            &format!("probe /workspace/files {ID_A} rw as user"),
            "watch /workspace/files /run/w as root",
            "unmount /workspace/files /run/w user as root",
            "clear /workspace/files /run/w as root",
        ]
    );
    let token = token(&plan.mount);
    assert!(token.contains("&si=one.aaaa") && token.contains("se=2026-11-25T00%3A35%3A38Z"), "{token}");
}

#[test]
fn no_secret_is_in_an_argument_or_an_environment() {
    for (members, host) in [("", Fake::new()), (r#","credential":"sas""#, Fake::with_sas(SAS))] {
        let plan = plan(&host, &section(members), &target(), now(), b"").expect("a plan");
        let token = token(&plan.mount);
        let signature = token.split("sig=").nth(1).expect("a signature");
        for command in commands(&plan) {
            let shown = format!("{:?} {:?}", command.argv, command.env);
            assert!(!shown.contains(signature), "{shown}");
        }
    }
}

#[test]
fn a_read_only_mount_gets_a_token_that_only_reads() {
    let mut target = target();
    target.read_only = true;
    let plan = plan(&Fake::new(), &section(""), &target, now(), &Grant::plain().to_bytes()).expect("a plan");
    assert!(token(&plan.mount).contains("&sp=rl&"));
    assert!(commands(&plan).iter().any(|command| command.argv[3..] == ["probe", "/workspace/files", ID_A, "ro"]));
}

#[test]
fn a_policy_that_is_not_followed_yet_is_stood_in_for_briefly() {
    let grant = Grant::under(format!("one.{ID_A}"), false).to_bytes();
    let plan = plan(&Fake::new(), &section(""), &target(), now(), &grant).expect("a plan");
    let first = token(&plan.mount);
    assert!(first.contains("&sp=rcwdl&") && first.contains("se=2026-11-25T00%3A10%3A38Z"), "{first}");
    assert_eq!(plan.renew_after_ms, Some(45_000));
    let renewal = renew(&Fake::new(), &section(""), &target(), now(), &grant).expect("a renewal");
    assert!(token(&renewal.steps).contains("&si=one.aaaa"));
    assert_eq!(renewal.renew_after_ms, Some(15 * 60 * 1000));
}

#[test]
fn the_shortest_token_is_renewed_at_its_half() {
    let config = section(r#","token_life":"60s""#);
    let grant = Grant::plain().to_bytes();
    let plan = plan(&Fake::new(), &config, &target(), now(), &grant).expect("a plan");
    assert!(token(&plan.mount).contains("se=2026-11-25T00%3A06%3A38Z"));
    assert_eq!(plan.renew_after_ms, Some(30_000));
    let pending = Grant::under("one.x".into(), false).to_bytes();
    let renewal = renew(&Fake::new(), &config, &target(), now(), &pending).expect("a renewal");
    assert_eq!(renewal.renew_after_ms, Some(30_000));
}

#[test]
fn a_given_token_is_written_again_once_it_changed_until_it_surely_arrived() {
    let config = section(r#","credential":"sas""#);
    let host = Fake::with_sas(SAS);
    let plan = plan(&host, &config, &target(), now(), b"").expect("a plan");
    assert_eq!(token(&plan.mount), SAS);
    assert_eq!(plan.renew_after_ms, Some(5 * 60 * 1000));

    let same = Grant::of_token(crate::sas::fnv(SAS)).to_bytes();
    let renewal = renew(&host, &config, &target(), now(), &same).expect("a renewal");
    assert!(renewal.steps.is_empty());
    assert_eq!(renewal.grant.kept, same, "nothing new to remember");
    assert_eq!(renewal.renew_after_ms, Some(5 * 60 * 1000));

    let new = SAS.replace("top", "new");
    let renewal = renew(&Fake::with_sas(&new), &config, &target(), now(), &same).expect("a renewal");
    assert_eq!(token(&renewal.steps), new);
    let again = renew(&Fake::with_sas(&new), &config, &target(), now(), &renewal.grant.kept).expect("a renewal");
    assert_eq!(token(&again.steps), new, "the steps of the renewal before may have failed");
}

#[test]
fn a_live_given_token_that_ends_is_told_and_one_that_ended_is_an_error() {
    let config = section(r#","credential":"sas""#);
    let grant = Grant::of_token(1).to_bytes();
    let soon = Fake::with_sas("sr=c&sp=rcwdl&se=2026-11-25T00%3A10%3A00Z&sig=x");
    renew(&soon, &config, &target(), now(), &grant).expect("a renewal");
    assert!(soon.warned()[0].contains("the secret sas ends soon"), "{:?}", soon.warned());
    let ended = Fake::with_sas("sr=c&sp=rcwdl&se=2026-11-25T00%3A05%3A00Z&sig=x");
    let e = renew(&ended, &config, &target(), now(), &grant).expect_err("it ended");
    assert_eq!(e.code, Code::FailedPrecondition);
}

#[test]
fn what_was_not_prepared_can_be_shown_but_not_renewed() {
    assert!(plan(&Fake::new(), &section(""), &target(), now(), b"").is_ok());
    assert!(renew(&Fake::new(), &section(""), &target(), now(), b"").is_err());
}

#[test]
fn a_plan_fits_the_contract() {
    let plan = plan(&Fake::new(), &section(""), &target(), now(), b"").expect("a plan");
    for command in commands(&plan) {
        assert!(command.timeout_ms > 0 && command.timeout_ms <= plan.unmount_timeout_ms);
    }
    assert!(plan.mount_timeout_ms <= 15_000, "nothing may hang longer at the start");
}
