//! What `Cargo.lock` must have chosen.

/// The release line of wasmtime that this project keeps to.
const WASMTIME_LINE: &str = "48.0.";

/// The first patch of it that has the fixes that the host relies on.
const WASMTIME_PATCH: u64 = 5;

/// Rule: every wasmtime in the lock file is of the right line and has its fixes.
pub(super) fn wasmtime(lock: &str) -> Vec<String> {
    let versions: Vec<&str> = lock
        .split("[[package]]")
        .filter(|package| field(package, "name") == Some("wasmtime"))
        .filter_map(|package| field(package, "version"))
        .collect();
    if versions.is_empty() {
        return vec!["Cargo.lock: has no wasmtime, without which no plugin runs".to_owned()];
    }
    versions
        .into_iter()
        .filter(|version| {
            let patch = version.strip_prefix(WASMTIME_LINE).and_then(|patch| patch.parse::<u64>().ok());
            patch.is_none_or(|patch| patch < WASMTIME_PATCH)
        })
        .map(|version| {
            format!(
                "Cargo.lock: wasmtime is {version} and must be {WASMTIME_LINE}{WASMTIME_PATCH} or a later patch; \
                 plugins are confined by it, and what was measured was measured on this line"
            )
        })
        .collect()
}

/// The text of a field of a package.
fn field<'a>(package: &'a str, name: &str) -> Option<&'a str> {
    package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(version: &str) -> String {
        format!(
            "version = 4\n\n[[package]]\nname = \"wasmtime\"\nversion = \"{version}\"\ndependencies = [\n]\n\n\
             [[package]]\nname = \"wasmtime-wasi\"\nversion = \"1.0.0\"\n"
        )
    }

    #[test]
    fn another_wasmtime_is_caught() {
        for version in ["48.0.4", "47.0.9", "49.0.0", "48.0.5-rc1"] {
            assert_eq!(wasmtime(&lock(version)).len(), 1, "{version}");
        }
        assert_eq!(wasmtime("version = 4\n").len(), 1);
        assert_eq!(wasmtime(&format!("{}{}", lock("48.0.8"), lock("40.0.0"))).len(), 1);
    }

    #[test]
    fn a_wasmtime_with_its_fixes_passes() {
        for version in ["48.0.5", "48.0.12"] {
            assert_eq!(wasmtime(&lock(version)), Vec::<String>::new());
        }
    }
}
