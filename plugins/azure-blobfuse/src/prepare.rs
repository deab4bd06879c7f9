//! `prepare`: looks whether the container is there and opens, and gets this
//! mount a policy of its own in the container's access list, so that its token
//! can be revoked.

use jiff::Timestamp;
use sandbox_broker_sdk::mounter::{Answer, MountTarget};
use sandbox_broker_sdk::{Error, quote};

use crate::acl::{MAX_POLICIES, Policy};
use crate::config::{Config, Credential, Revoke};
use crate::conversation::{Change, Conversation, Stop, Turn};
use crate::errors;
use crate::grant::{Grant, Owner};
use crate::host::Host;
use crate::sas::{self, Given};

/// How often the service is asked whether it follows a new policy already. It
/// may take half a minute; the mount need not wait for it.
const POLICY_TRIES: usize = 2;

/// Life of a given token below which the operator is told, seconds.
const SHORT_SECS: i64 = 60 * 60;

/// The next request, or the grant.
pub fn prepare(
    host: &dyn Host,
    config: &Config,
    target: &MountTarget,
    now: Timestamp,
    answers: &[Answer],
) -> Result<Turn<Grant>, Error> {
    Conversation::new(host, config, now, answers)?.run(|talk| match config.credential {
        Credential::AccountKey => by_key(talk, target),
        Credential::Sas => by_sas(talk, target),
    })
}

fn by_key(talk: &mut Conversation<'_>, target: &MountTarget) -> Result<Grant, Stop> {
    let config = talk.config;
    let permissions = sas::permissions(target.read_only);
    let token = |talk: &Conversation<'_>, policy: Option<&str>| {
        sas::mint(talk.host, &talk.container, permissions, config.token_life(), policy)
    };
    prove(talk, |talk| token(talk, None))?;
    if config.revoke == Revoke::Expiry {
        return Ok(Grant::plain());
    }

    let owner = Owner::of(target);
    let policy = owner.policy();
    let added = talk.change_acl(|mut policies| {
        policies.retain(|one| one.id != policy && !owner.left_behind(&one.id));
        if policies.len() >= MAX_POLICIES {
            return Err(format!("all its {MAX_POLICIES} access policies are in use"));
        }
        policies.push(Policy::allowing(&policy, permissions));
        Ok(Some(policies))
    })?;
    if let Change::Not(why) = added {
        talk.note(format!(
            "the token of this mount cannot be revoked at its end and lives on for its life, because {}",
            quote(&format!("the container cannot be changed: {why}"))
        ));
        return Ok(Grant::plain());
    }
    for _ in 0..POLICY_TRIES {
        if talk.list(|talk| token(talk, Some(&policy)))?.status == 200 {
            return Ok(Grant::under(policy, true));
        }
    }
    Ok(Grant::under(policy, false))
}

fn by_sas(talk: &mut Conversation<'_>, target: &MountTarget) -> Result<Grant, Stop> {
    let given = Given::read(&talk.host.sas()?, &talk.container, target.read_only, talk.now)?;
    prove(talk, |_| Ok(given.text.clone()))?;
    if let Some(expires) = given.expires
        && expires.as_second() - talk.now.as_second() < SHORT_SECS
    {
        talk.note(format!("the secret sas ends soon, at {expires}, and mounts fail from then on: make a new one"));
    }
    Ok(Grant::of_token(given.fingerprint()))
}

/// Lists by a token, and words everything but success.
fn prove(
    talk: &mut Conversation<'_>,
    token: impl FnOnce(&Conversation<'_>) -> Result<String, Error>,
) -> Result<(), Stop> {
    let listed = talk.list(|talk| token(talk))?;
    let is_list = listed.body.windows(LIST.len()).any(|bytes| bytes == LIST);
    if listed.status != 200 || !is_list {
        return Err(errors::of_response(listed, &talk.container, talk.config.credential, talk.now).into());
    }
    if let Some(skew) = errors::skew(listed, talk.now) {
        talk.note(format!("{skew}: tokens end earlier or later than they should; set it right"));
    }
    Ok(())
}

/// What the answer to a list holds.
const LIST: &[u8] = b"<EnumerationResults";
