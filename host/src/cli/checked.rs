//! The configuration, loaded and checked for a command. Owns that its mistakes are printed.

use std::io::{Write as _, stderr};

use crate::broker::{Checked, Loader};

/// The configuration with everything that it names. `None` when it has mistakes, which are printed.
pub(super) async fn load(loader: &Loader) -> Option<Checked> {
    loader.load().await.map_err(|mistakes| drop(writeln!(stderr(), "{mistakes}"))).ok()
}
