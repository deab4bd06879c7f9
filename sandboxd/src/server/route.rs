//! Decides by its host name and headers which part of the server a request is for. Looks at nothing else.
//!
//! The rules are those of E2B's proxy. On `localhost`, a bare IP address or `sandbox.…`, two headers name the sandbox.
//! On any other host, the first label `{port}-{id}` does. A request that names no sandbox is for the control plane.

use http::request::Parts;

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Control,
    Sandbox {
        id: String,
        port: u16,
    },
    /// To be answered with 400 and this text.
    Invalid(&'static str),
}

const ID_HEADER: &str = "e2b-sandbox-id";
const PORT_HEADER: &str = "e2b-sandbox-port";

/// Decides for one request.
pub(crate) fn destination(request: &Parts) -> Destination {
    let host = request.uri.host().map(str::to_owned).or_else(|| {
        let value = request.headers.get(http::header::HOST)?.to_str().ok()?;
        Some(value.parse::<http::uri::Authority>().ok()?.host().to_owned())
    });
    let host = host.unwrap_or_default();
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    if is_shared(&host) {
        return match (header(ID_HEADER), header(PORT_HEADER)) {
            (None, None) => Destination::Control,
            (Some(id), Some(port)) => sandbox(id, port),
            _ => Destination::Invalid("missing header: E2b-Sandbox-Id and E2b-Sandbox-Port go together"),
        };
    }
    let mut label = host.split('.').next().unwrap_or_default().split('-');
    match (label.next(), label.next()) {
        (Some(port), Some(id)) if port.parse::<u16>().is_ok() => sandbox(id, port),
        _ => Destination::Control,
    }
}

fn sandbox(id: &str, port: &str) -> Destination {
    let id = id.split('-').next().unwrap_or_default();
    let valid = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    match (valid, port.parse()) {
        (false, _) => Destination::Invalid("Invalid sandbox ID"),
        (true, Err(_)) => Destination::Invalid("Invalid sandbox port"),
        (true, Ok(port)) => Destination::Sandbox { id: id.to_owned(), port },
    }
}

fn is_shared(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.starts_with("sandbox.") || bare.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(host: &str, headers: &[(&str, &str)]) -> Destination {
        let mut request = http::Request::builder().uri("/x").header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        destination(&request.body(()).unwrap().into_parts().0)
    }

    /// Promise: headers count only on shared hosts, names only elsewhere, and one header without the other is an error.
    #[test]
    fn routes_like_the_proxy() {
        let both = [("e2b-sandbox-id", "iabc-client"), ("e2b-sandbox-port", "49983")];
        let found = Destination::Sandbox { id: "iabc".to_owned(), port: 49983 };
        for host in ["localhost:1", "127.0.0.1:8", "[::1]:9", "sandbox.example.org"] {
            assert_eq!(ask(host, &both), found, "{host}");
            assert_eq!(ask(host, &[]), Destination::Control, "{host}");
            assert!(matches!(ask(host, &both[..1]), Destination::Invalid(text) if text.starts_with("missing header")));
        }
        assert_eq!(ask("49983-iabc.example.org:81", &[("e2b-sandbox-id", "iother")]), found);
        assert_eq!(ask("49983-iabc-client.example.org", &[]), found);
        assert_eq!(ask("api.example.org", &both), Destination::Control);
        assert_eq!(ask("49983-IABC.example.org", &[]), Destination::Invalid("Invalid sandbox ID"));
        assert_eq!(
            ask("localhost", &[both[0], ("e2b-sandbox-port", "99999")]),
            Destination::Invalid("Invalid sandbox port")
        );
    }
}
