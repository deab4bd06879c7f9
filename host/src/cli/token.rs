//! `broker token`: a new token, and what the configuration keeps of it. The lines for the file go to standard output and the
//! token to standard error, so that `>> broker.toml` keeps the token out of the file.

use std::io::Write as _;
use std::process::ExitCode;

use sha2::{Digest, Sha256};

use sandbox_stdx::hex::hex;

/// Random bits of a token, as the documents promise.
const TOKEN_BITS: usize = 256;

pub(super) fn run(name: &str) -> anyhow::Result<ExitCode> {
    let mut random = [0; TOKEN_BITS / 8];
    getrandom::fill(&mut random)?;
    let token = hex(&random);
    let hash = hex(&Sha256::digest(token.as_bytes()));
    // The lines first: a token whose hash was not written is good for nothing.
    writeln!(std::io::stdout(), "[[auth.tokens]]\nname = {name:?}\nsha256 = \"{hash}\"")?;
    writeln!(std::io::stderr(), "\nGive this token to its owner; it cannot be shown again:\n{token}")?;
    Ok(ExitCode::SUCCESS)
}
