//! Ports of a sandbox: the interface `ports`, where the broker reaches Pods by their addresses.

use std::net::IpAddr;

use sandbox_broker_sdk::ports::{Guest, Route};
use sandbox_broker_sdk::{Call, Code, Error, SandboxRef};

use crate::Plugin;
use crate::api::Api;
use crate::config::Config;

impl Guest for Plugin {
    async fn find(_call: Call, config: String, sandbox: SandboxRef, port: u16) -> Result<Route, Error> {
        let config = Config::parse(&config)?;
        if !config.pod_network {
            return Err(Error::new(
                Code::Unimplemented,
                "the broker does not reach Pods by their addresses: `pod_network` says that it does",
            ));
        }
        let pod = Api::new(&config).get(&sandbox.id).await?;
        let address = pod.status.pod_ip.as_deref().and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| Error::new(Code::FailedPrecondition, "the Pod has no address yet"))?;
        Ok(Route { url: url(address, port), headers: Vec::new() })
    }
}

fn url(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(address) => format!("http://{address}:{port}"),
        IpAddr::V6(address) => format!("http://[{address}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_a_url() {
        assert_eq!(url("10.0.0.1".parse().expect("v4"), 80), "http://10.0.0.1:80");
        assert_eq!(url("fd00::1".parse().expect("v6"), 8080), "http://[fd00::1]:8080");
    }
}
