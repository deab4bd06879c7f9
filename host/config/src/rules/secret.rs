//! `[providers.NAME.secrets.SECRET]`: a secret, where it goes and how. Owns the rules about one binding and about several
//! of a provider; deliberately knows no plugin.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::findings::Rules;
use crate::binding::{self, Algorithm, Binding, BoundSecret, Carry, Jwt, SasBounds, Sigv4};
use crate::document::Mark;
use crate::egress::{EgressGrant, HostPattern};
use crate::interpolate::Source;
use crate::raw;
use crate::value;
use sandbox_broker_core::secret::Secret;

/// From the shortest token that can be renewed in time to what a leaked one may do at most.
const SAS_LIFE: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(24 * 3600);

/// From a clock that differs a little to what most services take at most.
const TOKEN_LIFE: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(3600);

/// The warning about a secret that no reference keeps out of the file.
pub(crate) const TEXT_IN_FILE: &str =
    "the secret stands in this file as text; a reference, ${NAME} or ${file:/path}, keeps it out";

/// Where a text came from, for a message; empty when it stands in the file.
fn sources(mark: Option<&Mark>) -> String {
    let sources = mark.map_or(&[][..], |mark| &mark.sources);
    let names: Vec<String> = sources.iter().map(Source::to_string).collect();
    if names.is_empty() { String::new() } else { format!(" (from {})", names.join(", ")) }
}

/// Editors and shells end a text with these. No secret does.
const LINE_END: [char; 2] = ['\r', '\n'];

impl Rules<'_> {
    /// A secret at `at` of a provider with these grants.
    pub(super) fn secret(
        &mut self,
        at: &str,
        secret: raw::Secret,
        allow: &[EgressGrant],
        revealed: bool,
    ) -> BoundSecret {
        let raw::Secret { value: text, to, carry, sas } = secret;
        // Nobody writes a private key into a header.
        let is_key = matches!(carry, Some(raw::Carry::Jwt(_)));
        self.secret_text(&format!("{at}/value"), &text, revealed || is_key);
        let bound = |written: &str, there: bool| there || self.is_wrong(&format!("{at}/{written}"));
        let (placed, carried) = (bound("to", !to.is_empty()), bound("carry", carry.is_some()));
        // A secret that is only revealed needs neither.
        if !placed && (carried || !revealed) {
            let expected = "a list of origins such as [\"https://api.example.com\"]: the secret goes nowhere else";
            self.mistake(&format!("{at}/to"), format!("found nothing, expected {expected}"));
        }
        if !carried && (placed || !revealed) {
            self.mistake(&format!("{at}/carry"), format!("found nothing, expected {}", value::CARRY.expected));
        }
        let to = to.iter().enumerate().filter_map(|(i, text)| self.destination(at, i, text, allow)).collect();
        let carry = carry.map(|carry| match carry {
            raw::Carry::Bearer => Carry::Bearer,
            raw::Carry::Header(name) => Carry::Header(name.to_ascii_lowercase()),
            raw::Carry::Basic(user) => Carry::Basic(user),
            raw::Carry::SharedKey(account) => Carry::SharedKey(account),
            raw::Carry::Sigv4(raw::Sigv4 { key_id, region, service }) => {
                Carry::Sigv4(Sigv4 { key_id, region, service })
            }
            raw::Carry::Jwt(raw::Jwt { algorithm, issuer, audience, subject, key_id, life }) => {
                let pointer = format!("{at}/carry/jwt/life");
                let life = self.within(&pointer, &life, value::duration, &TOKEN_LIFE, "a duration of 1m to 1h");
                // The schema knows both names.
                let algorithm = Algorithm::named(&algorithm).unwrap_or(Algorithm::Rs256);
                Carry::Jwt(Jwt { algorithm, issuer, audience, subject, key_id, life })
            }
        });
        let signs = |carry: &Carry| matches!(carry, Carry::SharedKey(_));
        if sas.is_some() && carry.as_ref().is_some_and(|carry| !signs(carry)) {
            self.mistake(
                &format!("{at}/sas"),
                "found this key, expected it only beside carry = { shared_key = ACCOUNT }",
            );
        }
        let sas = sas.map(|sas| SasBounds {
            max_life: self.within(
                &format!("{at}/sas/max_life"),
                &sas.max_life,
                value::duration,
                &SAS_LIFE,
                "a duration of 1m to 24h",
            ),
            containers: sas.containers,
        });
        let value = Secret::new(text.trim_end_matches(LINE_END));
        BoundSecret { value, binding: Binding { to, carry, sas } }
    }

    fn secret_text(&mut self, pointer: &str, text: &str, may_have_lines: bool) {
        let mark = self.context.map.mark(pointer);
        let (written, from) = (mark.is_some_and(|mark| mark.sources.is_empty()), sources(mark));
        if text.trim_end_matches(LINE_END).contains(char::is_control) && !may_have_lines {
            self.warning(
                pointer,
                format!("found a line end or another control character in the secret{from}; no request can carry it"),
            );
        }
        if written && !text.is_empty() {
            self.warning(pointer, TEXT_IN_FILE);
        }
    }

    /// One place where a secret goes.
    fn destination(&mut self, at: &str, i: usize, text: &str, allow: &[EgressGrant]) -> Option<EgressGrant> {
        let pointer = format!("{at}/to/{i}");
        let to = binding::exact(text)?;
        let (host, local) = match &to.host {
            HostPattern::Address(address) => (address.to_string(), address.is_loopback()),
            HostPattern::Name(name) | HostPattern::Under(name) => (name.clone(), false),
            HostPattern::Socket(_) => ("localhost".to_owned(), true),
        };
        let path = to.path.as_deref().unwrap_or("/");
        let granted = allow.iter().any(|grant| grant == &to || grant.covers(to.scheme.as_str(), &host, to.port, path));
        let section = at.rsplitn(3, '/').nth(2).unwrap_or_default();
        if !granted && !self.is_wrong(&format!("{section}/allow")) {
            let found = self.text(&pointer, text);
            self.mistake(&pointer, format!("found {found}, expected a place that this provider's allow covers"));
        }
        if !to.scheme.is_encrypted() && !local {
            let scheme = to.scheme.as_str();
            self.warning(&pointer, format!("the secret may go there over {scheme}, where others can read it"));
        }
        Some(to)
    }

    /// Two secrets cannot be carried in one header of one request.
    pub(super) fn secrets_in_one_header(&mut self, at: &str, secrets: &BTreeMap<String, BoundSecret>) {
        let mut carried: Vec<(&str, &Binding)> = Vec::new();
        for (name, secret) in secrets {
            let Some(carry) = &secret.binding.carry else { continue };
            let meets = |(_, other): &&(&str, &Binding)| {
                let header = other.carry.as_ref().is_some_and(|other| other.header() == carry.header());
                header && secret.binding.to.iter().any(|to| other.to.iter().any(|other| to.overlaps(other)))
            };
            if let Some((other, _)) = carried.iter().find(meets) {
                let message = format!(
                    "found the header {}, in which the secret {other} goes to the same place, expected one secret there",
                    carry.header()
                );
                self.mistake(&format!("{at}/secrets/{name}/carry"), message);
            }
            carried.push((name, &secret.binding));
        }
    }
}
