//! `[providers.NAME]`: one provider, and which providers are in use. Owns the rules about secrets, grants and limits;
//! deliberately knows no plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::findings::Rules;
use crate::document::{Mark, join};
use crate::egress::{EgressGrant, HostPattern, Scheme};
use crate::interpolate::Source;
use crate::mistake::meant;
use crate::raw;
use crate::types::{Embedded, PluginLimits, PluginSource, Provider, Settings};
use crate::value;
use sandbox_broker_core::secret::Secret;

/// From what a component needs to start to all that 32-bit memory can have.
const MEMORY: RangeInclusive<u64> = 1 << 20..=4 << 30;

/// From one tick of the clock that interrupts plugins to longer than anybody waits.
const CPU: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// From what a request to another continent needs to longer than anybody waits.
const CALL_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// Where a text came from, for a message; empty when it stands in the file.
fn sources(mark: Option<&Mark>) -> String {
    let sources = mark.map_or(&[][..], |mark| &mark.sources);
    let names: Vec<String> = sources.iter().map(Source::to_string).collect();
    if names.is_empty() { String::new() } else { format!(" (from {})", names.join(", ")) }
}

/// Editors and shells end a text with these. No secret does.
const LINE_END: [char; 2] = ['\r', '\n'];

fn secret(text: &str) -> Secret {
    Secret::new(text.trim_end_matches(LINE_END))
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
        for name in provider.secrets.iter().filter(|(_, secret)| secret.is_empty()).map(|(name, _)| name) {
            let pointer = format!("/providers/{}/secrets/{name}", provider.name);
            let mark = self.context.map.mark(&pointer);
            let message =
                mark.and_then(Mark::missing).unwrap_or_else(|| match mark.map(|mark| mark.sources.as_slice()) {
                    Some([Source::File(path)]) => format!("found an empty file {path:?}, expected the secret in it"),
                    _ => "found empty text, expected the secret: this provider is in use".to_owned(),
                });
            if !self.is_wrong(&pointer) {
                self.missing.push((provider.name.clone(), self.context.map.at(&pointer, message)));
            }
        }
    }

    pub(super) fn provider(&mut self, name: &str, provider: raw::Provider) -> Provider {
        let at = join("/providers", name);
        let allow: Vec<EgressGrant> = provider.allow.iter().filter_map(|text| EgressGrant::parse(text)).collect();
        for (i, grant) in allow.iter().enumerate().filter(|_| !provider.secrets.is_empty()) {
            let local = matches!(grant.host, HostPattern::Address(address) if address.is_loopback());
            if grant.scheme == Scheme::Http && !local {
                self.warning(&format!("{at}/allow/{i}"), "secrets may go there over http, where others can read them");
            }
        }
        for (secret, text) in &provider.secrets {
            let pointer = format!("{at}/secrets/{secret}");
            let mark = self.context.map.mark(&pointer);
            let (written, from) = (mark.is_some_and(|mark| mark.sources.is_empty()), sources(mark));
            if text.trim_end_matches(LINE_END).contains(char::is_control) && !provider.reveal.contains(secret) {
                self.warning(
                    &pointer,
                    format!(
                        "found a line end or another control character in the secret{from}; no request can carry it"
                    ),
                );
            }
            if written && !text.is_empty() {
                self.warning(
                    &pointer,
                    "the secret stands in this file as text; a reference, ${NAME} or ${file:/path}, keeps it out",
                );
            }
        }
        for (i, secret) in provider.reveal.iter().enumerate() {
            let pointer = format!("{at}/reveal/{i}");
            if !provider.secrets.contains_key(secret) && !self.is_wrong(&format!("{at}/secrets")) {
                let found = self.text(&pointer, secret);
                let known: Vec<&str> = provider.secrets.keys().map(String::as_str).collect();
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
            secrets: provider.secrets.into_iter().map(|(name, text)| (name, secret(&text))).collect(),
            reveal: provider.reveal,
            limits,
            config: Settings(provider.config),
        }
    }

    pub(super) fn limits(&mut self, at: &str, limits: &raw::Limits) -> PluginLimits {
        let key = |key: &str| format!("{at}/limits/{key}");
        PluginLimits {
            memory: self.within(&key("memory"), &limits.memory, value::size, &MEMORY, "a size of 1MiB to 4GiB"),
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
