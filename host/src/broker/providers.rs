//! Providers and mounts as configured, and the embedded server that one of them needs. Owns how a section of the
//! configuration becomes a port; deliberately knows no session.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use sandboxd_gatekeeper::Gatekeeper;

use super::loader::Checked;
use super::surroundings::Surroundings;
use crate::embedded::{self, Embedded, FUSE_TEMPLATE};
use sandbox_broker_config::{
    self as config, Binding, BoundSecret, Carry, Config, EgressGrant, Embedded as EmbeddedKind, Kind,
};
use sandbox_broker_core::sandbox::Provider;
use sandbox_broker_core::storage::Mounter;
use sandbox_broker_fallback::files::FilesByExec;
use sandbox_broker_plugin::{ComponentMounter, ComponentProvider, LiveMounts, Plugin, Section};
use sandbox_broker_session::Mount;

/// What people are told about sandboxes of the embedded server.
const EMBEDDED_ISOLATION: &str = "shares this machine's kernel: not for code of strangers";

/// The embedded server, if the provider needs one: `running`, or a new one.
pub(super) async fn embedded_for(
    config: &Config,
    provider: &str,
    surroundings: &Surroundings,
    running: Option<Arc<Embedded>>,
    gatekeeper: &Gatekeeper,
) -> anyhow::Result<Option<Arc<Embedded>>> {
    match config.providers[provider].embedded {
        None => Ok(None),
        Some(EmbeddedKind::Sandboxd) => {
            let ports = &config.providers[provider].host_services;
            match running {
                Some(running) => {
                    running.forward(ports);
                    Ok(Some(running))
                }
                None => {
                    let sandboxes = config.sandbox.max_sessions;
                    let server = Embedded::ensure(&surroundings.state, sandboxes, ports, gatekeeper).await?;
                    Ok(Some(Arc::new(server)))
                }
            }
        }
    }
}

/// A provider of sandboxes, as configured. If its plugin has no files, they are reached by way of the recorder.
pub(super) fn provider(
    checked: &Checked,
    name: &str,
    embedded: Option<&Embedded>,
    recorder: Option<&Bytes>,
) -> anyhow::Result<Arc<dyn Provider>> {
    let (plugin, mut new) = section(checked, name);
    if let Some(Embedded { socket, key, .. }) = embedded {
        // These are the settings that an operator would write for a server of their own.
        for key in ["api_url", "sandbox_url"] {
            new.config[key] = embedded::ORIGIN.into();
        }
        new.allow.push(EgressGrant::parse(embedded::ORIGIN).context("the embedded server has no origin")?);
        new.socket = Some(socket.clone());
        let to: Option<Vec<EgressGrant>> = embedded::CONTROL_PLANE.iter().map(|url| EgressGrant::parse(url)).collect();
        let to = to.context("the embedded server has no control plane")?;
        let carry = Some(Carry::Header("x-api-key".to_owned()));
        let binding = Binding { to, carry, sas: None };
        new.secrets.insert("api_key", BoundSecret { value: key.clone(), binding });
        new.isolation = Some(EMBEDDED_ISOLATION.to_owned());
        if !checked.config.storage.is_empty() {
            new.config["template"] = FUSE_TEMPLATE.into();
        }
    }
    Ok(FilesByExec::over(Arc::new(ComponentProvider::new(plugin, new)?), recorder.cloned()))
}

/// The storage of new sessions.
pub(super) fn mounts(checked: &Checked, live: &LiveMounts) -> anyhow::Result<Vec<Mount>> {
    let mut mounters = Mounters::new(checked, live);
    let mut mounts = Vec::new();
    for config::Mount { provider, path, read_only, .. } in &checked.config.storage {
        let mounter = mounters.find(provider)?.expect("the configuration was checked to have it");
        mounts.push(Mount { mounter, path: path.clone(), read_only: *read_only });
    }
    Ok(mounts)
}

/// Storage providers, as configured. Mounts of one section share a mounter.
pub(super) struct Mounters<'a> {
    checked: &'a Checked,
    live: &'a LiveMounts,
    made: BTreeMap<String, Arc<dyn Mounter>>,
}

impl<'a> Mounters<'a> {
    pub(super) fn new(checked: &'a Checked, live: &'a LiveMounts) -> Self {
        Mounters { checked, live, made: BTreeMap::new() }
    }

    /// The mounter of a section, if the section exists and its plugin is for storage.
    pub(super) fn find(&mut self, name: &str) -> anyhow::Result<Option<Arc<dyn Mounter>>> {
        if let Some(mounter) = self.made.get(name) {
            return Ok(Some(Arc::clone(mounter)));
        }
        let plugin = self.checked.providers.get(name).map(|(plugin, _)| plugin);
        if plugin.is_none_or(|plugin| plugin.description.kind != Kind::Storage) {
            return Ok(None);
        }
        let (plugin, section) = section(self.checked, name);
        let mounter: Arc<dyn Mounter> = Arc::new(ComponentMounter::new(plugin, section, self.live.clone())?);
        self.made.insert(name.to_owned(), Arc::clone(&mounter));
        Ok(Some(mounter))
    }
}

/// A provider's plugin, and what the configuration says of it.
fn section(checked: &Checked, name: &str) -> (Arc<Plugin>, Section) {
    let section = &checked.config.providers[name];
    let (plugin, settings) = &checked.providers[name];
    let section = Section {
        name: name.to_owned(),
        config: settings.clone(),
        allow: section.allow.clone(),
        allow_private: section.allow_private,
        tls: section.tls.clone(),
        secrets: checked.secrets[name].clone(),
        reveal: section.reveal.clone(),
        limits: section.limits.clone(),
        isolation: None,
        per_user: section.is_per_user(),
        socket: None,
    };
    (plugin.clone(), section)
}
