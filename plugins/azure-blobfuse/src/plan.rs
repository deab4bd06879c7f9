//! `plan` and `renew`: the steps in the sandbox. Owns their order and their
//! times; the scripts know how.

use std::time::Duration;

use jiff::Timestamp;
use sandbox_broker_sdk::mounter::{Command, Explanation, File, MountPlan, MountTarget, Renewal, Step};
use sandbox_broker_sdk::{Code, Error};

use crate::blobfuse;
use crate::config::{Config, Credential};
use crate::container::Container;
use crate::explain;
use crate::grant::Grant;
use crate::host::Host;
use crate::sas::{self, Given};

/// Name for people.
pub const TITLE: &str = "Azure Blob Storage";

/// The scripts by name. Each is run as `/bin/sh -c SCRIPT NAME ARGUMENT…`.
pub const SCRIPTS: [(&str, &str); 5] =
    [("mount", MOUNT), ("watch", WATCH), ("probe", PROBE), ("unmount", UNMOUNT), ("clear", CLEAR)];

const MOUNT: &str = include_str!("mount.sh");
const WATCH: &str =
    concat!(include_str!("../../shell/within.sh"), include_str!("../../shell/look.sh"), include_str!("watch.sh"));
const PROBE: &str = include_str!("probe.sh");
const UNMOUNT: &str =
    concat!(include_str!("../../shell/within.sh"), include_str!("../../shell/holders.sh"), include_str!("unmount.sh"));
const CLEAR: &str = include_str!("clear.sh");

/// Bounds `mount` and `verify`. blobfuse2 is there in half a second; one that
/// cannot reach its service says so within this.
const MOUNT_TIME: Duration = Duration::from_secs(15);

/// Bounds `unmount`: programs have two seconds to end and forty to upload what
/// they had open, a flush ten, failed uploads twenty, the rest ten.
const UNMOUNT_TIME: Duration = Duration::from_secs(90);

/// Bounds a look at a mount; the script's own are five seconds twice.
const WATCH_TIME: Duration = Duration::from_secs(13);

/// Bounds a probe: two requests and their repetitions.
const PROBE_TIME: Duration = Duration::from_secs(13);

/// Bounds clearing up: nothing of it waits for a network.
const CLEAR_TIME: Duration = Duration::from_secs(10);

/// Life of a first token that stands in for one whose policy the service does
/// not follow yet, and when the right one comes. A policy takes half a minute.
const STAND_IN: (Duration, Duration) = (Duration::from_secs(5 * 60), Duration::from_secs(45));

/// How often the operator's own token is looked at again.
const GIVEN_EVERY: Duration = Duration::from_secs(5 * 60);

/// What of the operator's own token is left when the log says so, seconds.
const GIVEN_ENDS_SECS: i64 = 15 * 60;

/// What a sandbox gets.
struct Token {
    text: String,
    renew_after: Duration,
}

/// Plans the mount.
pub fn plan(
    host: &dyn Host,
    config: &Config,
    target: &MountTarget,
    now: Timestamp,
    grant: &[u8],
) -> Result<MountPlan, Error> {
    let container = Container::of(config)?;
    // Only shown when nothing was prepared.
    let grant = Grant::parse(grant)?.unwrap_or_else(Grant::plain);
    let token = match config.credential {
        Credential::AccountKey => mint(host, config, &container, target, &grant, grant.active)?,
        Credential::Sas => given(host, &container, target, now)?.1,
    };
    let explain = explain::table(config, &container);
    let MountTarget { path, workspace, .. } = target;
    let script =
        |name, arguments: &[&str], user: Option<&str>, time| command(name, arguments, user, time, explain.clone());
    let user = target.user.as_deref();
    let mode = if target.read_only { "ro" } else { "rw" };
    // Without `allow_other` the mount is root's alone.
    let prober = user.filter(|_| config.allow_other);
    let watch = || script("watch", &[path, workspace], None, WATCH_TIME);
    Ok(MountPlan {
        title: TITLE.to_owned(),
        mount: vec![
            config_file(config, &container, target, &token.text),
            Step::Supervise(script(
                "mount",
                &[&config.blobfuse2, path, workspace, user.unwrap_or_default()],
                None,
                MOUNT_TIME,
            )),
        ],
        verify: vec![watch(), script("probe", &[path, &target.id, mode], prober, PROBE_TIME)],
        mount_timeout_ms: millis(MOUNT_TIME),
        watch: vec![watch()],
        unmount: vec![Step::Run(script("unmount", &[path, workspace, prober.unwrap_or_default()], None, UNMOUNT_TIME))],
        unmount_timeout_ms: millis(UNMOUNT_TIME),
        clear: vec![Step::Run(script("clear", &[path, workspace], None, CLEAR_TIME))],
        renew_after_ms: Some(millis(token.renew_after)),
    })
}

/// Plans fresh credentials.
pub fn renew(
    host: &dyn Host,
    config: &Config,
    target: &MountTarget,
    now: Timestamp,
    grant: &[u8],
) -> Result<Renewal, Error> {
    let container = Container::of(config)?;
    let grant = Grant::parse(grant)?
        .ok_or_else(|| Error::new(Code::FailedPrecondition, "a mount that was not prepared cannot be renewed"))?;
    let (token, new) = match config.credential {
        Credential::AccountKey => {
            let token = mint(host, config, &container, target, &grant, true)?;
            (token, grant.followed())
        }
        Credential::Sas => {
            let (given, token) = given(host, &container, target, now)?;
            if let Some(expires) = given.expires
                && expires.as_second() - now.as_second() < GIVEN_ENDS_SECS
            {
                host.warn(
                    "the secret sas ends soon, and the live mount with it: write a new one",
                    &[("account", &container.account), ("ends", &expires.to_string())],
                );
            }
            if grant.fingerprint == Some(given.fingerprint()) {
                let renew_after_ms = Some(millis(token.renew_after));
                return Ok(Renewal { steps: Vec::new(), grant: grant.kept(), renew_after_ms });
            }
            // The grant stays: whether the steps succeed is not known yet, so the token is written until the next mount.
            (token, grant)
        }
    };
    Ok(Renewal {
        steps: vec![config_file(config, &container, target, &token.text)],
        grant: new.kept(),
        renew_after_ms: Some(millis(token.renew_after)),
    })
}

/// A token under the mount's policy, if it has one that is `active`.
fn mint(
    host: &dyn Host,
    config: &Config,
    container: &Container,
    target: &MountTarget,
    grant: &Grant,
    active: bool,
) -> Result<Token, Error> {
    let full = config.token_life();
    let (life, renew_after) = match grant.policy {
        Some(_) if !active => (full.min(STAND_IN.0), (full / 2).min(STAND_IN.1)),
        _ => (full, full / 2),
    };
    let policy = grant.policy.as_deref().filter(|_| active);
    let text = sas::mint(host, container, sas::permissions(target.read_only), life, policy)?;
    Ok(Token { text, renew_after })
}

/// The operator's own token.
fn given(
    host: &dyn Host,
    container: &Container,
    target: &MountTarget,
    now: Timestamp,
) -> Result<(Given, Token), Error> {
    let given = Given::read(&host.sas()?, container, target.read_only, now)?;
    let token = Token { text: given.text.clone(), renew_after: GIVEN_EVERY };
    Ok((given, token))
}

/// The program's configuration, which holds the token. For root alone.
fn config_file(config: &Config, container: &Container, target: &MountTarget, token: &str) -> Step {
    Step::WriteFile(File {
        path: blobfuse::config_path(&target.workspace),
        content: blobfuse::config(config, container, &target.workspace, target.read_only, token),
        mode: 0o600,
    })
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
