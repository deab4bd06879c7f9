//! `[providers.NAME]`: one provider, and which providers are in use. Owns the rules about grants and limits;
//! deliberately knows no plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::findings::Rules;
use crate::binding::BoundSecret;
use crate::document::{Mark, SourceMap, join};
use crate::egress::{EgressGrant, HostPattern};
use crate::interpolate::Source;
use crate::mistake::{Mistake, meant};
use crate::raw;
use crate::types::{Embedded, PluginLimits, PluginSource, Provider, Settings};
use crate::value;

/// From what a component needs to start to all that 32-bit memory can have.
const MEMORY: RangeInclusive<u64> = 1 << 20..=4 << 30;

/// From what one component needs to start to more than most machines have.
const TOTAL_MEMORY: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// From one tick of the clock that interrupts plugins to longer than anybody waits.
const CPU: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// From what a request to another continent needs to longer than anybody waits.
const CALL_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// The secrets of a provider that have no text, as mistakes with their pointers.
pub(crate) fn empty_secrets(provider: &Provider, map: &SourceMap) -> Vec<(String, Mistake)> {
    let empty = provider.secrets.iter().filter(|(_, secret)| secret.value.is_empty());
    let mistake = |(name, _): (&String, &BoundSecret)| {
        let pointer = format!("/providers/{}/secrets/{name}/value", provider.name);
        let mark = map.mark(&pointer);
        let message = mark.and_then(Mark::missing).unwrap_or_else(|| match mark.map(|mark| mark.sources.as_slice()) {
            Some([Source::File(path)]) => format!("found an empty file {path:?}, expected the secret in it"),
            _ => "found empty text, expected the secret: this provider is in use".to_owned(),
        });
        let mistake = map.at(&pointer, message);
        (pointer, mistake)
    };
    empty.map(mistake).collect()
}

impl Rules<'_> {
    /// A key at `pointer` names a provider and so puts it in use.
    pub(super) fn use_provider(&mut self, pointer: &str, name: &str, providers: &BTreeMap<String, Provider>) {
        match providers.get(name) {
            Some(provider) if self.used.insert(name.to_owned()) => self.in_use(provider),
            Some(_) => {}
            None if self.is_wrong(pointer) || self.context.providers.iter().any(|known| known == name) => {}
            None => self.unknown_provider(pointer, name),
        }
    }

    fn unknown_provider(&mut self, pointer: &str, name: &str) {
        let known: Vec<&str> = self.context.providers.iter().map(String::as_str).collect();
        let found = self.text(pointer, name);
        let mut message = match known.as_slice() {
            [] => format!("found {found}, expected the name of a [providers.NAME] section, of which there is none"),
            known => format!("found {found}, expected the name of a [providers.NAME] section: {}", known.join(", ")),
        };
        if let Some(meant) = meant(name, known) {
            message.push_str(&format!("; did you mean {meant}?"));
        }
        self.mistake(pointer, message);
    }

    /// The rules for a provider in use.
    fn in_use(&mut self, provider: &Provider) {
        for (pointer, mistake) in empty_secrets(provider, self.context.map) {
            if !self.is_wrong(&pointer) {
                self.missing.push((provider.name.clone(), mistake));
            }
        }
    }

    pub(super) fn provider(&mut self, name: &str, provider: raw::Provider) -> Provider {
        let at = join("/providers", name);
        let allow: Vec<EgressGrant> = provider.allow.iter().filter_map(|text| EgressGrant::parse(text)).collect();
        self.one_local_server(&at, &provider.allow);
        let (known, reveal) = (provider.secrets, provider.reveal);
        let secrets: BTreeMap<String, BoundSecret> = known
            .into_iter()
            .map(|(name, secret)| {
                let secret = self.secret(&format!("{at}/secrets/{name}"), secret, &allow, reveal.contains(&name));
                (name, secret)
            })
            .collect();
        self.secrets_in_one_header(&at, &secrets);
        for (i, secret) in reveal.iter().enumerate() {
            let pointer = format!("{at}/reveal/{i}");
            if !secrets.contains_key(secret) && !self.is_wrong(&format!("{at}/secrets")) {
                let found = self.text(&pointer, secret);
                let known: Vec<&str> = secrets.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "of which there is none".into() } else { known.join(", ") };
                self.mistake(&pointer, format!("found {found}, expected a name in this provider's secrets: {known}"));
            }
        }
        let plugin = provider.plugin.unwrap_or_default();
        let plugin = if value::is_builtin(&plugin) {
            PluginSource::Builtin(plugin)
        } else {
            PluginSource::Path(self.context.base.join(plugin))
        };
        let tls = self.tls(&format!("{at}/tls"), &provider.tls);
        let limits = self.limits(&at, &provider.limits);
        let host_services: BTreeSet<u16> =
            provider.host_services.iter().filter_map(|text| value::service(text).flatten()).collect();
        let host_services: Vec<u16> = host_services.into_iter().collect();
        if provider.embedded.is_none() && !host_services.is_empty() {
            self.warning(
                &format!("{at}/host_services"),
                "has no effect: only sandboxes of an `embedded` service are on this machine",
            );
        }
        Provider {
            name: name.to_owned(),
            plugin,
            embedded: provider.embedded.map(|raw::Embedded::Sandboxd| Embedded::Sandboxd),
            host_services,
            allow,
            allow_private: provider.allow_private,
            secrets,
            reveal,
            tls,
            limits,
            config: Settings(provider.config),
        }
    }

    /// `http://localhost` means one place.
    fn one_local_server(&mut self, at: &str, allow: &[String]) {
        let meant = |text: &String| {
            let grant = EgressGrant::parse(text)?;
            let socket = matches!(grant.host, HostPattern::Socket(_));
            (socket || grant.covers("http", "localhost", 80, "/")).then_some(socket)
        };
        let meant: Vec<(usize, bool)> =
            allow.iter().enumerate().filter_map(|(i, text)| Some((i, meant(text)?))).collect();
        if let [_, (second, _), ..] = meant.as_slice()
            && meant.iter().any(|(_, socket)| *socket)
        {
            let pointer = format!("{at}/allow/{second}");
            let found = self.text(&pointer, &allow[*second]);
            self.mistake(
                &pointer,
                format!("found {found}, expected one unix:// socket and no http://localhost beside it: requests to http://localhost go there"),
            );
        }
    }

    pub(super) fn limits(&mut self, at: &str, limits: &raw::Limits) -> PluginLimits {
        let key = |key: &str| format!("{at}/limits/{key}");
        PluginLimits {
            memory: self.within(&key("memory"), &limits.memory, value::size, &MEMORY, "a size of 1MiB to 4GiB"),
            total_memory: self.within(
                &key("total_memory"),
                &limits.total_memory,
                value::size,
                &TOTAL_MEMORY,
                "a size of 1MiB to 1024GiB",
            ),
            cpu: self.within(&key("cpu"), &limits.cpu, value::duration, &CPU, "a duration of 10ms to 60s"),
            call_timeout: self.within(
                &key("call_timeout"),
                &limits.call_timeout,
                value::duration,
                &CALL_TIMEOUT,
                "a duration of 1s to 10m",
            ),
        }
    }
}
