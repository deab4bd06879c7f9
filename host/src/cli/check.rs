//! `broker check`: everything that a start checks, without serving.

use std::process::ExitCode;

use crate::broker::{Loader, Surroundings};

pub(super) async fn run(surroundings: Surroundings) -> anyhow::Result<ExitCode> {
    let _ = super::serve::log("error");
    let loader = Loader::new(surroundings)?;
    let Some(checked) = super::load(&loader).await else { return Ok(ExitCode::FAILURE) };
    for warning in checked.config.warnings() {
        eprintln!("warning: {warning}");
    }
    for (name, (plugin, _)) in &checked.providers {
        let selected = if checked.config.uses().any(|of| of.provider == name) { " (selected)" } else { "" };
        println!("{name}: {} {}{selected}", plugin.description.title, plugin.description.version);
    }
    Ok(ExitCode::SUCCESS)
}
