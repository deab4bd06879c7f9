//! `plan` and `renew`: the steps in the sandbox. Owns their order and their
//! times; the scripts know how.

use std::time::Duration;

use jiff::Timestamp;
use sandbox_broker_sdk::mounter::{Answer, Command, Explanation, Grant, MountPlan, MountTarget, Renewal, Step};
use sandbox_broker_sdk::{Code, Error};

use crate::bucket::Bucket;
use crate::config::Config;
use crate::conversation::{Conversation, Turn};
use crate::explain;
use crate::grant::{self, Credentials};
use crate::host::Host;
use crate::rclone;

/// Name for people.
pub const TITLE: &str = "S3 storage";

/// The scripts by name. Each is run as `/bin/sh -c SCRIPT NAME ARGUMENT…`.
pub const SCRIPTS: [(&str, &str); 6] =
    [("mount", MOUNT), ("watch", WATCH), ("probe", PROBE), ("proof", PROOF), ("unmount", UNMOUNT), ("clear", CLEAR)];

const MOUNT: &str = include_str!("mount.sh");
const WATCH: &str =
    concat!(include_str!("../../shell/within.sh"), include_str!("../../shell/look.sh"), include_str!("watch.sh"));
const PROBE: &str = include_str!("probe.sh");
const PROOF: &str = include_str!("proof.sh");
const UNMOUNT: &str =
    concat!(include_str!("../../shell/within.sh"), include_str!("../../shell/holders.sh"), include_str!("unmount.sh"));
const CLEAR: &str = include_str!("clear.sh");

/// Bounds `mount` and `verify`.
const MOUNT_TIME: Duration = Duration::from_secs(15);

/// Bounds `unmount`: programs have two seconds to end and forty to close, files
/// thirty to be stored, those that failed thirty for the second try.
const UNMOUNT_TIME: Duration = Duration::from_secs(110);

/// Bounds a look at a mount; the script's own are five seconds twice.
const WATCH_TIME: Duration = Duration::from_secs(13);

/// Bounds a probe: what a program waits for the service.
const PROBE_TIME: Duration = Duration::from_secs(13);

/// Bounds clearing up: nothing of it waits for a network.
const CLEAR_TIME: Duration = Duration::from_secs(10);

/// Credentials that end within this are not given to a sandbox, seconds.
const REST_SECS: i64 = 10;

/// How often the operator's own key is looked at again.
const GIVEN_EVERY: Duration = Duration::from_secs(5 * 60);

/// Plans the mount.
pub fn plan(
    host: &dyn Host,
    config: &Config,
    target: &MountTarget,
    now: Timestamp,
    grant: &Grant,
    answers: &[Answer],
) -> Result<Turn<MountPlan>, Error> {
    let bucket = Bucket::of(config)?;
    if !grant::is_prepared(grant)? {
        // Only shown.
        let shown = Credentials { id: "…".into(), secret: "…".into(), token: None, expires: None };
        return Ok(Turn::Done(steps(config, &bucket, target, now, &shown)));
    }
    Conversation::new(host, config, target, now, answers)?.run(|talk| {
        let credentials = match grant::credentials(grant, now, REST_SECS) {
            Some(sealed) => sealed,
            None => talk.credentials()?,
        };
        Ok(steps(config, &bucket, target, now, &credentials))
    })
}

/// Plans fresh credentials.
pub fn renew(
    host: &dyn Host,
    config: &Config,
    target: &MountTarget,
    now: Timestamp,
    grant: &Grant,
    answers: &[Answer],
) -> Result<Turn<Renewal>, Error> {
    if !grant::is_prepared(grant)? {
        return Err(Error::new(Code::FailedPrecondition, "a mount that was not prepared cannot be renewed"));
    }
    Conversation::new(host, config, target, now, answers)?.run(|talk| {
        let credentials = talk.credentials()?;
        Ok(Renewal {
            steps: vec![Step::WriteFile(rclone::credentials_file(&target.workspace, &credentials))],
            grant: grant::of(&credentials),
            renew_after_ms: Some(millis(renew_after(&credentials, now))),
        })
    })
}

fn steps(
    config: &Config,
    bucket: &Bucket,
    target: &MountTarget,
    now: Timestamp,
    credentials: &Credentials,
) -> MountPlan {
    let explain = explain::table(config, bucket);
    let MountTarget { id, path, workspace, read_only, .. } = target;
    let script =
        |name, arguments: &[&str], user: Option<&str>, time| command(name, arguments, user, time, explain.clone());
    let user = target.user.as_deref();
    let source = rclone::source(bucket);
    let watch = || script("watch", &[path, workspace], None, WATCH_TIME);
    let probe = |what: &str| script("probe", &[path, id, what], user, PROBE_TIME);
    let proof = |mode: &str| script("proof", &[&config.rclone, workspace, &source, id, mode], None, PROBE_TIME);

    let files = rclone::files(config, bucket, workspace, life(credentials, now));
    let mut mount: Vec<Step> = files.into_iter().map(Step::WriteFile).collect();
    mount.push(Step::WriteFile(rclone::credentials_file(workspace, credentials)));
    let flags = rclone::flags(config, *read_only);
    let mut arguments = vec![&*config.rclone, path, workspace, user.unwrap_or_default(), &source, id];
    arguments.extend(flags.iter().map(String::as_str));
    mount.push(Step::Supervise(script("mount", &arguments, None, MOUNT_TIME)));
    let proved =
        if *read_only { vec![proof("ro"), probe("look")] } else { vec![probe("write"), proof("rw"), probe("remove")] };
    MountPlan {
        title: TITLE.to_owned(),
        mount,
        verify: [watch()].into_iter().chain(proved).collect(),
        mount_timeout_ms: millis(MOUNT_TIME),
        watch: vec![watch()],
        unmount: vec![Step::Run(script("unmount", &[path, workspace], None, UNMOUNT_TIME))],
        unmount_timeout_ms: millis(UNMOUNT_TIME),
        clear: vec![Step::Run(script("clear", &[path, workspace, id], None, CLEAR_TIME))],
        renew_after_ms: Some(millis(renew_after(credentials, now))),
    }
}

/// What is left of the life of temporary credentials.
fn life(credentials: &Credentials, now: Timestamp) -> Option<Duration> {
    let left = credentials.expires?.as_second() - now.as_second();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or_default()))
}

/// Half of their life: one renewal may fail.
fn renew_after(credentials: &Credentials, now: Timestamp) -> Duration {
    life(credentials, now).map_or(GIVEN_EVERY, |left| left / 2)
}

/// A script of this name with these arguments.
fn command(name: &str, arguments: &[&str], user: Option<&str>, time: Duration, explain: Vec<Explanation>) -> Command {
    let script = SCRIPTS.iter().find(|(found, _)| *found == name).map_or("", |(_, script)| script);
    let argv = ["/bin/sh", "-c", script, name].iter().chain(arguments).map(|part| (*part).to_owned()).collect();
    Command { argv, env: Vec::new(), user: user.map(str::to_owned), timeout_ms: millis(time), explain }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
