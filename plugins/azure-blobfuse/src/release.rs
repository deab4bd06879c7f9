//! `release`: takes this mount's policy out of the container's access list,
//! and with it whatever its token could do.

use jiff::Timestamp;
use sandbox_broker_sdk::mounter::{Answer, MountTarget};
use sandbox_broker_sdk::{Code, Error, quote};

use crate::config::{Config, Credential, Revoke};
use crate::conversation::{Change, Conversation, Stop, Turn};
use crate::grant::{Grant, Owner};
use crate::host::Host;

/// The next request, or the end.
pub fn release(
    host: &dyn Host,
    config: &Config,
    target: &MountTarget,
    now: Timestamp,
    grant: &[u8],
    answers: &[Answer],
) -> Result<Turn<()>, Error> {
    let policy = match Grant::parse(grant)? {
        Some(grant) => grant.policy,
        // Cut off in the middle: it may have got that far.
        None => Some(Owner::of(target).policy()),
    };
    let ours = config.credential == Credential::AccountKey && config.revoke == Revoke::AccessPolicy;
    let Some(policy) = policy.filter(|_| ours || !grant.is_empty()) else {
        return Ok(Turn::Done(()));
    };
    Conversation::new(host, config, now, answers)?.run(|talk| {
        let changed = talk.change_acl(|mut policies| {
            let before = policies.len();
            policies.retain(|one| one.id != policy);
            Ok((policies.len() < before).then_some(policies))
        })?;
        match changed {
            Change::Made | Change::Needless => Ok(()),
            // Nothing was prepared, as it was told already.
            Change::Not(_) if grant.is_empty() => Ok(()),
            // With the container its policies are gone.
            Change::Not(why) if why.contains("ContainerNotFound") => Ok(()),
            Change::Not(why) => Err(Stop::Fail(Error::new(
                Code::Aborted,
                format!(
                    "the access policy {policy} of container {} was not taken back, because {}; its token ends by \
                     itself, and the next mount takes the policy out",
                    talk.container.name,
                    quote(&why)
                ),
            ))),
        }
    })
}
