//! From a file to a [`Config`], or to every mistake in it. Owns the order of the steps and the file itself; deliberately
//! knows no key.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use serde::Deserialize as _;
use serde_json::Value;

use crate::check::{Checker, prune};
use crate::config::Config;
use crate::interpolate::Environment;
use crate::mistake::{Mistake, Mistakes};
use crate::rules::{self, Context, Outcome, Parts, TEXT_IN_FILE};
use crate::types::PluginSource;
use crate::{document, raw, schema};
use sandbox_broker_core::secret::Secret;

/// Bytes of a configuration, at most. The shipped one has about 5 KiB; a thousand providers would still fit.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// Checks files. It is compiled once, because that takes longer than the rest of a load.
static FILE: LazyLock<Checker> =
    LazyLock::new(|| Checker::new(schema::of_file()).expect("our own schema is a valid one"));

/// Reads and checks the file at `path`, which is also its name in messages. Variables come from `env`. It reads files and
/// runs nothing. It blocks for some milliseconds.
pub fn load(path: &Path, env: Environment<'_>) -> Result<Config, Mistakes> {
    let whole_file = |position, message: String| {
        let mistake = Mistake { file: name(path), position, key: String::new(), message };
        Mistakes::new(vec![mistake], vec![path.to_owned()])
    };
    let bytes = read(path).map_err(|reason| whole_file(None, reason))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        whole_file(document::not_utf8(&bytes), "not TOML: found bytes that are not UTF-8, expected text".into())
    })?;
    let mut config = parse(path, text, env)?;
    if config.warnings.iter().any(|warning| warning.message == TEXT_IN_FILE) {
        config.warnings.extend(readable_by_others(path));
    }
    Ok(config)
}

/// As [`load`], for text that was read already. Relative paths in the text start at the directory of `path`.
pub fn parse(path: &Path, text: &str, env: Environment<'_>) -> Result<Config, Mistakes> {
    let base = path.parent().unwrap_or(Path::new(""));
    let mut files = vec![path.to_owned()];
    let document = match document::read(name(path), text, base, env) {
        Ok(document) => document,
        Err(mistakes) => return Err(Mistakes::new(mistakes, files)),
    };
    let referenced: BTreeSet<&PathBuf> = document.files.iter().collect();
    let open: Vec<Mistake> = referenced.into_iter().filter_map(|path| readable_by_others(path)).collect();
    files.extend(document.files);
    let (mut value, map) = (document.value, document.map);
    let providers: Vec<String> =
        value.get("providers").and_then(Value::as_object).map(|p| p.keys().cloned().collect()).unwrap_or_default();

    let mut wrong = document.mistakes;
    let checked = FILE.check(&mut value, &map, "");
    // A value that could not be filled in is null here. That is not a second mistake.
    let known = |pointer: &str| wrong.iter().any(|(p, _)| p == pointer);
    let checked: Vec<_> = checked.into_iter().filter(|(pointer, _)| !known(pointer)).collect();
    wrong.extend(checked);
    prune(&mut value, &wrong);

    // The message of serde is not repeated, because it may show a value.
    let Ok(file) = raw::File::deserialize(value) else {
        wrong.push((String::new(), map.at("", "it fits its schema and still cannot be read: a bug of the broker")));
        return Err(Mistakes::new(wrong.into_iter().map(|(_, mistake)| mistake).collect(), files));
    };
    let pointers: BTreeSet<String> = wrong.iter().map(|(pointer, _)| pointer.clone()).collect();
    let context = Context { map: &map, base, wrong: &pointers, providers: &providers };
    let Outcome { config, mut mistakes, mut warnings, missing } = rules::validate(file, &context);
    mistakes.extend(wrong.into_iter().map(|(_, mistake)| mistake));
    warnings.extend(open);
    files.extend(config.providers.values().filter_map(|provider| match &provider.plugin {
        PluginSource::Path(path) => Some(path.clone()),
        PluginSource::Builtin(_) => None,
    }));
    let tls: Vec<_> = config.providers.values().map(|provider| &provider.tls).collect();
    files.extend(tls.iter().flat_map(|tls| tls.files.iter().cloned()));
    warnings.extend(tls.iter().filter_map(|tls| readable_by_others(tls.key.as_deref()?)));
    if !mistakes.is_empty() {
        mistakes.extend(missing.into_iter().map(|(_, mistake)| mistake));
        return Err(Mistakes::new(mistakes, files));
    }
    let Parts { server, auth, sandbox, storage, providers } = config;
    Ok(Config {
        server,
        auth,
        sandbox,
        storage,
        providers,
        path: path.to_owned(),
        text: Secret::new(text),
        map,
        files,
        warnings,
        missing,
    })
}

/// The same text once more, with what the files that it names hold by now.
pub fn again(config: &Config, env: Environment<'_>) -> Result<Config, Mistakes> {
    parse(&config.path, config.text.expose(), env)
}

fn name(path: &Path) -> Arc<str> {
    path.display().to_string().escape_debug().to_string().into()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let describe = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => format!(
            "cannot be read: there is no file {}; name another one with --config (-c), or put the broker.toml that comes \
             with the broker there",
            std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display()
        ),
        kind => format!("cannot be read: {kind}"),
    };
    // This comes before the file is opened, because opening a FIFO would wait for its writer.
    if !path.metadata().map_err(describe)?.is_file() {
        return Err("cannot be read: not a file".into());
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(describe)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(describe)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("cannot be read: larger than 1 MiB".into());
    }
    Ok(bytes)
}

/// A warning about a file that holds secrets as text.
fn readable_by_others(path: &Path) -> Option<Mistake> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = path.metadata().ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| Mistake {
        file: name(path),
        position: None,
        key: String::new(),
        message: format!("holds secrets and can be read by others (mode {mode:04o}); chmod 600 keeps it private"),
    })
}
