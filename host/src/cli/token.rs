//! `broker token`: a new token and what the configuration keeps of it.

use std::io::Write as _;
use std::process::ExitCode;

use sha2::{Digest, Sha256};

/// Random bits of a token, as the documents promise.
const TOKEN_BITS: usize = 256;

pub(super) fn run(name: &str) -> anyhow::Result<ExitCode> {
    let mut random = [0; TOKEN_BITS / 8];
    getrandom::fill(&mut random)?;
    let token = hex(&random);
    let hash = hex(&Sha256::digest(token.as_bytes()));
    writeln!(
        std::io::stdout(),
        "# Give this token to its owner; it cannot be shown again:\n# {token}\n[[auth.tokens]]\nname = {name:?}\nsha256 = \"{hash}\""
    )?;
    Ok(ExitCode::SUCCESS)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
