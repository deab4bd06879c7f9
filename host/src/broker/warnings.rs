//! What is not wrong with a configuration but unwise on this machine. Owns the checks that need to look at the machine; the
//! crate `config` warns of what the file alone shows.

use std::net::IpAddr;

use hyper_util::client::proxy::matcher::Matcher;

use super::loader::Checked;
use sandbox_broker_config::{EgressGrant, HostPattern};
use sandbox_broker_core::abilities::Lease;

/// What the embedded server makes sandboxes with.
const ISOLATES: &str = "bwrap";

/// The variables by which programs are told of a proxy.
const PROXIES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

impl Checked {
    /// What is not wrong but unwise, or missing on this machine.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.config.warnings().iter().map(ToString::to_string).collect();
        let embedded = self.config.providers[&self.config.sandbox.provider].embedded.is_some();
        let path = std::env::var_os("PATH").unwrap_or_default();
        if embedded && !std::env::split_paths(&path).any(|place| place.join(ISOLATES).is_file()) {
            warnings.push(format!(
                "there is no {ISOLATES} on this machine, without which the embedded server makes no sandbox: install \
                 bubblewrap"
            ));
        }
        warnings.extend(self.unheeded_proxy());
        warnings.extend(self.lease());
        warnings
    }

    /// Warns if sandboxes of the provider of new sessions may outlive the broker.
    fn lease(&self) -> Option<String> {
        let provider = &self.config.sandbox.provider;
        match self.providers[provider].0.abilities()?.lease {
            Lease::Settable | Lease::Grows => None,
            Lease::Fixed => Some(format!(
                "sandboxes of the provider {provider} end at a time that is fixed when they are made, whoever uses them; and \
                 if this broker never comes back, they live until then"
            )),
            Lease::None => Some(format!(
                "sandboxes of the provider {provider} have no lease: if this broker never comes back, they live until \
                 somebody ends them"
            )),
        }
    }

    /// Warns of a proxy that the environment names and the broker does not use for a provider in use. The broker judges the
    /// address behind a name before it connects; a proxy would resolve the name itself.
    fn unheeded_proxy(&self) -> Option<String> {
        let set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let variable = PROXIES.into_iter().find(set)?;
        let matcher = Matcher::from_env();
        let grants =
            self.config.uses().flat_map(|of| self.config.providers[of.provider].allow.iter().map(move |g| (of, g)));
        let proxied = |grant: &EgressGrant| {
            let host = match &grant.host {
                HostPattern::Address(address) if address.is_loopback() => return false,
                HostPattern::Name(name) if name == "localhost" => return false,
                HostPattern::Address(IpAddr::V6(address)) => format!("[{address}]"),
                HostPattern::Address(address) => address.to_string(),
                HostPattern::Name(name) => name.clone(),
                HostPattern::Under(suffix) => format!("x.{suffix}"),
                HostPattern::Socket(_) => return false,
            };
            let scheme = if grant.scheme.is_encrypted() { "https" } else { "http" };
            format!("{scheme}://{host}:{}/", grant.port).parse().is_ok_and(|uri| matcher.intercept(&uri).is_some())
        };
        let (of, grant) = grants.into_iter().find(|(_, grant)| proxied(grant))?;
        let provider = of.provider;
        Some(format!(
            "{variable} is set, and requests of the provider {provider} do not go through that proxy: the broker connects \
             to {grant} itself, for it looks at the address behind a name first. This machine must reach it directly; \
             NO_PROXY for that host says that this is known"
        ))
    }
}
