//! Ports of a sandbox: the interface `ports`. E2B gives each port a host name.

use sandbox_broker_sdk::ports::{Guest, Route};
use sandbox_broker_sdk::{Call, Code, Error, SandboxRef};

use crate::Plugin;
use crate::config::Config;
use crate::state::State;
use crate::urls;

impl Guest for Plugin {
    async fn find(_call: Call, config: String, sandbox: SandboxRef, port: u16) -> Result<Route, Error> {
        route(&Config::parse(&config)?, &sandbox, port)
    }
}

fn route(config: &Config, sandbox: &SandboxRef, port: u16) -> Result<Route, Error> {
    let unable = |code, why: &str| Err(Error::new(code, why));
    if config.sandbox_url.is_some() {
        return unable(
            Code::Unimplemented,
            "all sandboxes have the one address `sandbox_url`, and no host name for a port",
        );
    }
    // Such a port wants a token, which is told only at the creation.
    if config.network.as_ref().and_then(|network| network.allow_public_traffic) == Some(false) {
        return unable(
            Code::FailedPrecondition,
            "`network.allow_public_traffic` is false, so nobody reaches a port of the sandbox by its host name",
        );
    }
    if !urls::is_id(&sandbox.id) {
        return unable(Code::InvalidArgument, "the sandbox's id is not one of E2B");
    }
    let state = State::of(sandbox)?;
    Ok(Route { url: urls::port(config, state.domain.as_deref(), &sandbox.id, port), headers: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &str, state: &str) -> Result<String, Code> {
        let config = Config::parse(config).expect("fits");
        let sandbox = SandboxRef { id: "iabc".into(), state: state.into() };
        route(&config, &sandbox, 8080).map(|route| route.url).map_err(|e| e.code)
    }

    #[test]
    fn a_port_has_a_host_name_of_its_own() {
        assert_eq!(found("{}", r#"{"v":1}"#), Ok("https://8080-iabc.e2b.app".into()));
        assert_eq!(found("{}", r#"{"v":1,"d":"corp.test"}"#), Ok("https://8080-iabc.corp.test".into()));
    }

    #[test]
    fn a_port_that_nobody_reaches_has_no_route() {
        assert_eq!(found(r#"{"sandbox_url":"http://127.0.0.1:1"}"#, r#"{"v":1}"#), Err(Code::Unimplemented));
        let private = r#"{"network":{"allow_public_traffic":false}}"#;
        assert_eq!(found(private, r#"{"v":1}"#), Err(Code::FailedPrecondition));
        assert_eq!(found("{}", ""), Err(Code::FailedPrecondition));
    }
}
