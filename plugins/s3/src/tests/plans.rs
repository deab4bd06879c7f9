//! `plan` and `renew`: what the sandbox gets to see, and when.

use sandbox_broker_sdk::mounter::{Answer, Command, Grant, MountPlan, Step};

use super::{Fake, ID, assumed, credentials, now, section, target};
use crate::conversation::Turn;
use crate::grant;
use crate::plan::{plan, renew};

fn planned(members: &str, read_only: bool, grant: &Grant, answers: &[Answer]) -> Turn<MountPlan> {
    let mut target = target();
    target.read_only = read_only;
    let host = Fake { key: Some("o'wn".into()), ..Fake::default() };
    plan(&host, &section(members), &target, now(), grant, answers).expect("a turn")
}

fn done<R: std::fmt::Debug>(turn: Turn<R>) -> R {
    match turn {
        Turn::Done(done) => done,
        Turn::Send(request) => panic!("{request:?}"),
    }
}

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

fn files(steps: &[Step]) -> Vec<(&str, &str)> {
    steps
        .iter()
        .filter_map(|step| match step {
            Step::WriteFile(file) => {
                assert_eq!(file.mode, 0o600);
                Some((&*file.path, std::str::from_utf8(&file.content).expect("text")))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_plan_mounts_proves_watches_and_lets_go() {
    let plan = done(planned(r#","prefix":"a b""#, false, &grant::of(&credentials()), &[]));
    assert_eq!(plan.title, "S3 storage");
    assert_eq!(plan.renew_after_ms, Some(30 * 60 * 1000));
    let calls: Vec<String> = commands(&plan)
        .iter()
        .map(|command| {
            assert_eq!(command.argv[..2], ["/bin/sh", "-c"]);
            let arguments: Vec<&String> = command.argv[3..].iter().filter(|word| !word.starts_with("--")).collect();
            let words: Vec<&str> = arguments.iter().map(|word| word.as_str()).collect();
            format!("{} as {}", words.join(" "), command.user.as_deref().unwrap_or("root"))
        })
        .collect();
    let source = "storage:files/a b/";
    assert_eq!(
        calls,
        [
            &*format!("mount rclone /workspace/files /run/w user {source} {ID} as root"),
            "watch /workspace/files /run/w as root",
            &format!("probe /workspace/files {ID} write as user"),
            &format!("proof rclone /run/w {source} {ID} rw as root"),
            &format!("probe /workspace/files {ID} remove as user"),
            "watch /workspace/files /run/w as root",
            "unmount /workspace/files /run/w as root",
            &format!("clear /workspace/files /run/w {ID} as root"),
        ]
    );
    let found = files(&plan.mount);
    let paths: Vec<&str> = found.iter().map(|(path, _)| *path).collect();
    assert_eq!(paths, ["/run/w/rclone.conf", "/run/w/aws", "/run/w/give", "/run/w/credentials"]);
    assert_eq!(found[3].1, "id='ASIAX'\nsecret='se/cret'\ntoken='token+1'\n");
}

#[test]
fn no_secret_is_in_an_argument_or_an_environment() {
    for members in ["", r#","credential":"key","access_key_id":"AKIAX""#] {
        let plan = done(planned(members, false, &grant::of(&credentials()), &[]));
        for command in commands(&plan) {
            let shown = format!("{:?} {:?}", command.argv, command.env);
            assert!(!shown.contains("se/cret") && !shown.contains("o'wn") && !shown.contains("token+1"), "{shown}");
        }
    }
}

#[test]
fn a_read_only_mount_is_looked_at_and_not_written() {
    let plan = done(planned("", true, &grant::of(&credentials()), &[]));
    let names: Vec<String> =
        plan.verify.iter().map(|one| format!("{} {}", one.argv[3], one.argv.last().expect("a word"))).collect();
    assert_eq!(names, ["watch /run/w", "proof ro", "probe look"]);
    assert!(commands(&plan)[0].argv.contains(&"--read-only".to_owned()));
}

#[test]
fn a_plan_without_credentials_that_last_gets_new_ones() {
    let mut grant = grant::of(&credentials());
    grant.sealed.clear();
    let Turn::Send(request) = planned("", false, &grant, &[]) else { panic!("it has none") };
    assert_eq!(request.url, "https://sts.eu-west-1.amazonaws.com/");
    let plan = done(planned("", false, &grant, &[Answer::Response(assumed())]));
    assert!(files(&plan.mount)[3].1.contains("ASIAX"));
}

#[test]
fn a_plan_can_be_shown_without_a_request_or_a_secret() {
    let nothing = Grant { kept: Vec::new(), sealed: Vec::new() };
    let plan = done(planned(r#","credential":"key","access_key_id":"AKIAX""#, false, &nothing, &[]));
    assert_eq!(files(&plan.mount)[3].1, "id='…'\nsecret='…'\ntoken=''\n");
    assert!(renew(&Fake::default(), &section(""), &target(), now(), &nothing, &[]).is_err());
}

#[test]
fn a_renewal_replaces_the_credentials_and_nothing_else() {
    let grant = grant::of(&credentials());
    let renewed =
        |answers: &[Answer]| renew(&Fake::default(), &section(""), &target(), now(), &grant, answers).expect("a turn");
    assert!(matches!(renewed(&[]), Turn::Send(_)));
    let renewal = done(renewed(&[Answer::Response(assumed())]));
    assert_eq!(files(&renewal.steps), [("/run/w/credentials", "id='ASIAX'\nsecret='se/cret'\ntoken='token+1'\n")]);
    assert_eq!(renewal.renew_after_ms, Some(30 * 60 * 1000));
    assert_eq!(grant::credentials(&renewal.grant, now(), 60), Some(credentials()));
}

#[test]
fn a_plan_fits_the_contract() {
    let plan = done(planned("", false, &grant::of(&credentials()), &[]));
    for command in commands(&plan) {
        assert!(command.timeout_ms > 0 && command.timeout_ms <= plan.unmount_timeout_ms);
    }
    assert!(plan.mount_timeout_ms <= 15_000, "nothing may hang longer at the start");
    assert!(plan.unmount_timeout_ms <= 120_000);
}
