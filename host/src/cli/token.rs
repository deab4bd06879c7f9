//! `broker token`: a new token, and the lines of the configuration that let it in. Owns how a token is made; deliberately
//! stores nothing.

use std::io::Write as _;
use std::process::ExitCode;

use sha2::{Digest, Sha256};

use sandbox_broker_core::hex::hex;

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
