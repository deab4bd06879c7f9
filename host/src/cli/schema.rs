//! `broker schema`: the JSON Schema of the configuration and of the built-in plugins' sections, for editors. Owns that it is
//! printed; the schema is made in the crate `config`.

use std::io::Write as _;
use std::process::ExitCode;

use crate::broker::{Loader, Surroundings};
use sandbox_broker_config as config;

pub(super) async fn run(surroundings: Surroundings) -> anyhow::Result<ExitCode> {
    let _ = super::log::start("error");
    let plugins = Loader::new(surroundings)?.schemas().await;
    writeln!(std::io::stdout(), "{:#}", config::schema(&plugins))?;
    Ok(ExitCode::SUCCESS)
}
