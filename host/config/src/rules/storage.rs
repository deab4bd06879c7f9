//! `[storage]`: what is mounted in every sandbox. Owns which mounts may stand beside each other and whose files they are;
//! deliberately knows no storage service.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Rules;
use crate::document::join;
use crate::egress::HostPattern;
use crate::raw;
use crate::types::{Mount, Provider, Sandbox};
use crate::value;

impl Rules<'_> {
    /// The storage of every sandbox. There is none while storage is not enabled, and then only the rules for single keys
    /// apply.
    pub(super) fn storage(
        &mut self,
        storage: raw::Storage,
        providers: &BTreeMap<String, Provider>,
        people: usize,
    ) -> Vec<Mount> {
        if !storage.enabled {
            return Vec::new();
        }
        let shared = storage.shared;
        let listed = !storage.mounts.is_empty() || self.is_wrong("/storage/mounts");
        let written = |key: &&str| self.context.map.mark(&format!("/storage/{key}")).is_some();
        let single = ["provider", "path", "read_only"].into_iter().find(written);
        let mounts = match single {
            _ if !listed => vec![("/storage".to_owned(), self.only_mount(storage))],
            None => storage.mounts.into_iter().enumerate().map(|(i, m)| (format!("/storage/mounts/{i}"), m)).collect(),
            Some(key) => {
                let message = "found this key beside a list of mounts, expected it in each [[storage.mounts]]";
                self.mistake(&format!("/storage/{key}"), message);
                Vec::new()
            }
        };
        let mut done: Vec<Mount> = Vec::new();
        for (at, mount) in mounts {
            let (named, placed) = (format!("{at}/provider"), format!("{at}/path"));
            let (Some(provider), Some(path)) = (mount.provider, mount.path) else { continue };
            self.use_provider(&named, &provider, providers);
            if done.iter().any(|other| value::overlap(&other.path, &path)) {
                let found = self.text(&placed, &path);
                self.mistake(
                    &placed,
                    format!("found {found}, which overlaps another mount, expected a path beside it"),
                );
            }
            let own = providers.get(&provider).is_some_and(Provider::is_per_user);
            if people > 1 && !own && !shared && !self.is_wrong("/storage/shared") && providers.contains_key(&provider) {
                let found = self.text(&named, &provider);
                self.mistake(
                    &named,
                    format!(
                        "found {found}, where everybody with a token would read and delete everybody's files, expected \
                         {{user}} in its settings, as in container = \"files-{{user}}\", or storage.shared = true to mean it"
                    ),
                );
            }
            if people == 0 && own && !self.is_wrong("/auth") {
                let found = self.text(&named, &provider);
                self.mistake(
                    &named,
                    format!(
                        "found {found}, whose settings have {{user}}, expected [auth] with a token for each person"
                    ),
                );
            }
            done.push(Mount { provider, path, read_only: mount.read_only, named });
        }
        done
    }

    /// Warns of storage on this machine's loopback: a sandbox has a loopback of its own.
    pub(super) fn storage_on_loopback(
        &mut self,
        sandbox: &Sandbox,
        storage: &[Mount],
        providers: &BTreeMap<String, Provider>,
    ) {
        let Some(boxes) = providers.get(&sandbox.provider).filter(|boxes| boxes.embedded.is_some()) else { return };
        let used: BTreeSet<&str> = storage.iter().map(|mount| mount.provider.as_str()).collect();
        for files in used.into_iter().filter_map(|name| providers.get(name)) {
            for (i, grant) in files.allow.iter().enumerate() {
                let local = match &grant.host {
                    HostPattern::Address(address) => address.is_loopback(),
                    HostPattern::Name(name) => name == "localhost",
                    HostPattern::Under(_) | HostPattern::Socket(_) => false,
                };
                if local && !boxes.host_services.contains(&grant.port) {
                    let (port, name) = (grant.port, &boxes.name);
                    self.warning(
                        &format!("{}/allow/{i}", join("/providers", &files.name)),
                        format!("sandboxes do not reach port {port} of this machine's loopback: add it to providers.{name}.host_services"),
                    );
                }
            }
        }
    }

    /// The mount of a section that has no list of mounts.
    pub(super) fn only_mount(&mut self, storage: raw::Storage) -> raw::Mount {
        let raw::Storage { provider, path, read_only, .. } = storage;
        for (key, there, expected) in [
            ("provider", provider.is_some(), "the name of a [providers.NAME] section"),
            ("path", path.is_some(), value::MOUNT.expected),
        ] {
            let pointer = format!("/storage/{key}");
            if !there && !self.is_wrong(&pointer) {
                self.mistake(&pointer, format!("found nothing, expected {expected}: storage is enabled"));
            }
        }
        raw::Mount { provider, path, read_only }
    }
}
