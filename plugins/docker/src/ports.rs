//! Ports of a sandbox: the interface `ports`. A published port is reached on the engine's machine, any other by the
//! container's address, which only that machine has a route to.

use std::net::{IpAddr, SocketAddr};

use sandbox_broker_sdk::ports::{Guest, Route};
use sandbox_broker_sdk::{Call, Code, Error, SandboxRef};

use crate::Plugin;
use crate::config::Config;
use crate::container::{Inspected, inspect};
use crate::engine::Engine;
use crate::reference::id;

impl Guest for Plugin {
    async fn find(_call: Call, config: String, sandbox: SandboxRef, port: u16) -> Result<Route, Error> {
        let config = Config::parse(&config)?;
        let inspected = inspect(&Engine::new(&config), id(&sandbox)?).await?;
        let address = route(&config, &inspected, port)?;
        Ok(Route { url: format!("http://{address}"), headers: Vec::new() })
    }
}

fn route(config: &Config, inspected: &Inspected, port: u16) -> Result<SocketAddr, Error> {
    let unable = |why: String| Err(Error::new(Code::FailedPrecondition, why));
    if let Some(published) = inspected.published(port) {
        return match config.publish_address.parse::<IpAddr>() {
            Ok(address) => Ok(SocketAddr::new(address, published)),
            Err(_) => unable("`publish_address` is no IP address".to_owned()),
        };
    }
    if !config.is_local() {
        return unable(format!(
            "port {port} is not published, and the engine is on another machine: add it to `publish` of this provider"
        ));
    }
    match inspected.address() {
        Some(address) => Ok(SocketAddr::new(address, port)),
        None => unable("the sandbox has no network of the engine: check `network` of this provider".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &str, port: u16) -> Result<String, Code> {
        let inspected = serde_json::from_str(
            r#"{"State":{"Status":"running"},"Config":{},"NetworkSettings":{
                "Ports":{"80/tcp":[{"HostPort":"49153"}]},"Networks":{"b":{"IPAddress":"172.17.0.2"}}}}"#,
        )
        .expect("an inspection");
        let config = Config::parse(config).expect("fits");
        route(&config, &inspected, port).map(|address| address.to_string()).map_err(|e| e.code)
    }

    #[test]
    fn a_port_is_published_or_on_the_same_machine() {
        assert_eq!(found("{}", 80), Ok("127.0.0.1:49153".into()));
        assert_eq!(found("{}", 81), Ok("172.17.0.2:81".into()));
        let remote = r#"{"endpoint":"https://10.0.0.1:2376","publish_address":"10.0.0.1"}"#;
        assert_eq!(found(remote, 80), Ok("10.0.0.1:49153".into()));
        assert_eq!(found(remote, 81), Err(Code::FailedPrecondition));
    }
}
