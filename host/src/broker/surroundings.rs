//! Where a broker finds its files: the configuration, plugins, the recorder and its state. Owns the usual places;
//! deliberately does not know what the files hold.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;

use sandbox_broker_config::PluginSource;

/// Where a broker finds what it needs.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub(super) config: PathBuf,
    pub(super) plugins: Vec<PathBuf>,
    recorder: Vec<PathBuf>,
    pub(super) state: PathBuf,
}

impl Surroundings {
    /// The places given, or where they usually are.
    ///
    /// # Errors
    /// When there is no home directory for the state, or no working directory.
    pub fn find(
        config: PathBuf,
        plugins: Option<PathBuf>,
        recorder: Option<PathBuf>,
        state: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let beside = |places: [&str; 3]| {
            let program = std::env::current_exe().unwrap_or_default();
            let directory = program.parent().unwrap_or(Path::new("")).to_owned();
            places.map(|place| directory.join(place)).to_vec()
        };
        let state = match state {
            Some(state) => state,
            None => std::env::var_os("XDG_STATE_HOME")
                .map(PathBuf::from)
                .filter(|p| p.is_absolute())
                .or_else(|| Some(std::env::home_dir()?.join(".local/state")))
                .context("there is no home directory: give --state-dir")?
                .join("sandbox-broker"),
        };
        let state = std::path::absolute(state)?;
        let usual_plugins = ["plugins", "../plugins", "../lib/sandbox-broker/plugins"];
        let usual_recorder =
            ["sandbox-recorder", "../recorder/sandbox-recorder", "../lib/sandbox-broker/sandbox-recorder"];
        let plugins = plugins.map_or_else(|| beside(usual_plugins), |place| vec![place]);
        let recorder = recorder.map_or_else(|| beside(usual_recorder), |place| vec![place]);
        Ok(Surroundings { config, plugins, recorder, state })
    }

    /// Where the state is, or will be.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The recorder, which keeps output in a sandbox. `None` when it is not installed; the log then says so.
    pub(super) fn recorder(&self) -> Option<Bytes> {
        let read = self.recorder.iter().find_map(|place| fs::read(place).ok());
        if read.is_none() {
            let places: Vec<String> = self.recorder.iter().map(|p| p.display().to_string()).collect();
            tracing::warn!(
                places = places.join(", "),
                "there is no sandbox-recorder: output that no client reads will be lost"
            );
        }
        read.map(Bytes::from)
    }

    /// The file of a plugin, or why there is none.
    pub(super) fn plugin(&self, source: &PluginSource) -> Result<PathBuf, String> {
        match source {
            PluginSource::Path(path) => Ok(path.clone()),
            PluginSource::Builtin(name) => {
                let file = format!("{name}.wasm");
                self.plugins.iter().map(|d| d.join(&file)).find(|p| p.is_file()).ok_or_else(|| {
                    let places: Vec<String> = self.plugins.iter().map(|p| p.display().to_string()).collect();
                    format!("there is no built-in plugin `{name}`: no {file} in {}", places.join(", "))
                })
            }
        }
    }
}
