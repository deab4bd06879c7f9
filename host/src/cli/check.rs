//! `broker check`: everything that a start checks, without serving.

use std::process::ExitCode;

use crate::broker::{Loader, Surroundings};

pub(super) async fn run(surroundings: Surroundings) -> anyhow::Result<ExitCode> {
    let _ = super::serve::log("error");
    let loader = Loader::new(surroundings)?;
    match loader.load().await {
        Ok(checked) => {
            for warning in checked.config.warnings() {
                eprintln!("warning: {warning}");
            }
            for (name, (plugin, _)) in &checked.providers {
                let selected = if checked.config.uses().any(|of| of.provider == name) { " (selected)" } else { "" };
                println!("{name}: {} {}{selected}", plugin.description.title, plugin.description.version);
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(mistakes) => {
            eprintln!("{mistakes}");
            Ok(ExitCode::FAILURE)
        }
    }
}
