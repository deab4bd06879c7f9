//! The address of a storage account's blob service. Knows no container and no
//! configuration.

/// Address of an account's blob service, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://mystore.blob.core.windows.net`, or an emulator's, which ends
    /// in the account's name.
    pub url: String,
    /// `mystore.blob.core.windows.net`, perhaps with a port.
    pub authority: String,
    /// Whether tokens go over TLS only.
    pub https: bool,
    /// Whether the account is the path, as an emulator has it.
    pub emulator: bool,
}

impl Endpoint {
    /// Reads an endpoint; the account's usual one when empty. `Err` says what
    /// is expected.
    pub fn of(account: &str, written: &str) -> Result<Self, &'static str> {
        let written = written.trim_end_matches('/');
        if written.is_empty() {
            let authority = format!("{account}.blob.core.windows.net");
            return Ok(Self { url: format!("https://{authority}"), authority, https: true, emulator: false });
        }
        let (https, rest) = match (written.strip_prefix("https://"), written.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err("an address that begins with https:// or http://"),
        };
        if rest.contains(['?', '#', '@', '%', '\\']) || rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("an address without user, query, fragment and escapes");
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() {
            return Err("an address with a host");
        }
        let emulator = path == account;
        if !path.is_empty() && !emulator {
            return Err("an address without a path, or with the account as its path for an emulator");
        }
        if !https && !emulator {
            return Err("https, except for an emulator, whose address ends in the account's name");
        }
        Ok(Self { url: written.to_owned(), authority: authority.to_owned(), https, emulator })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_clouds_are_taken_and_mistakes_are_named() {
        for good in ["https://mystore.blob.core.chinacloudapi.cn", "https://mystore.privatelink.blob.core.windows.net/"]
        {
            assert!(Endpoint::of("mystore", good).is_ok(), "{good}");
        }
        for (bad, expected) in [
            ("mystore.blob.core.windows.net", "begins with https://"),
            ("ftp://x", "begins with https://"),
            ("https:///mystore", "with a host"),
            ("https://a@b", "without user"),
            ("https://a/mystore%2f", "without user"),
            ("https://a/b", "without a path"),
            ("http://mystore.blob.core.windows.net", "https, except for an emulator"),
        ] {
            let e = Endpoint::of("mystore", bad).expect_err(bad);
            assert!(e.contains(expected), "{bad}: {e}");
        }
    }
}
