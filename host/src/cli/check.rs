//! `broker check`: everything that a start checks, without serving. Owns how the outcome is shown; deliberately checks
//! nothing itself.

use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

use crate::broker::{Loader, Surroundings};

pub(super) async fn run(surroundings: Surroundings) -> anyhow::Result<ExitCode> {
    let _ = super::log::start("error");
    let loader = Loader::new(surroundings)?;
    let Some(checked) = super::checked::load(&loader).await else { return Ok(ExitCode::FAILURE) };
    for warning in checked.warnings() {
        writeln!(stderr(), "warning: {warning}")?;
    }
    for (name, (plugin, _)) in &checked.providers {
        let selected = if checked.config.uses().any(|of| of.provider == name) { " (selected)" } else { "" };
        writeln!(stdout(), "{name}: {} {}{selected}", plugin.description.title, plugin.description.version)?;
    }
    Ok(ExitCode::SUCCESS)
}
