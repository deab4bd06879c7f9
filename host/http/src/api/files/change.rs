//! Changes of files: making, renaming, removing, and turning an upload into the
//! file.
//!
//! Each is one process of the session's user in the sandbox. So it can do no more
//! than that user, whatever links change between a look at the path and the work.
//! The provider's own calls for files may run as root. Deliberately does not know
//! how the bytes of an upload came.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::process;
use sandbox_broker_core::sandbox::{self, Code, Entry, Exit, Fault, Location};
use sandbox_broker_session::Workspace;

/// Time for one change. The content of a file in storage is sent once more.
const WITHIN: Duration = Duration::from_secs(15 * 60);

/// Time for removing an upload that did not become the file.
const CLEAN_WITHIN: Duration = Duration::from_secs(5);

/// Characters of a process's own words in an error, at most.
const WORDS: usize = 300;

/// Turns `$1` into the file `$2`. An old file of that name keeps everything but its
/// content: mode, owner, attributes, and its other names.
///
/// If the old file has one name and belongs to this user, the new file takes its
/// mode and attributes and then replaces it at once. Whatever is killed meanwhile,
/// the file is the old one or the new one. Otherwise only the content can change,
/// in place. If that fails, the script says what is left.
const REPLACE: &str = r#"
part=$1 file=$2
if [ -f "$file" ] && [ ! -L "$file" ]; then
  if [ ! -O "$file" ] || [ "$(stat -c %h -- "$file")" != 1 ] ||
    ! cp --attributes-only --preserve=mode,ownership,xattr -- "$file" "$part" 2>/dev/null
  then
    cat <"$part" >"$file" || { echo "the file is cut off; all of the upload is in $part" >&2; exit 75; }
    exec rm -f -- "$part"
  fi
fi
exec mv -fT -- "$part" "$file"
"#;

/// The exit status of [`REPLACE`] if it could not finish and the upload is worth
/// keeping.
const CUT: Exit = Exit::Code(75);

/// Makes the directory `$1` and those above it.
const MAKE: &str = r#"exec mkdir -p -- "$1""#;

/// Renames `$1` to `$2`, never over something else.
const RENAME: &str = r#"
mkdir -p -- "${2%/*}/" || exit
if [ -e "$2" ] || [ -L "$2" ]; then exit 73; fi
exec mv -nT -- "$1" "$2"
"#;

/// The exit status of [`RENAME`] if something has the new name.
const TAKEN: Exit = Exit::Code(73);

/// Removes `$1` with everything in it.
const REMOVE: &str = r#"exec rm -rf -- "$1""#;

/// Makes a directory and describes it.
pub(super) async fn make_dir(workspace: &Workspace, at: &Location) -> sandbox::Result<Entry> {
    run(workspace, MAKE, &[&at.path]).await.map_err(|(error, _)| error)?;
    describe(workspace, at).await
}

/// Renames and describes what has the new name.
pub(super) async fn rename(workspace: &Workspace, source: &Location, destination: &Location) -> sandbox::Result<Entry> {
    run(workspace, RENAME, &[&source.path, &destination.path]).await.map_err(|(error, _)| error)?;
    describe(workspace, destination).await
}

/// Removes a file, a link itself, or a directory with everything in it.
pub(super) async fn remove(workspace: &Workspace, at: &Location) -> sandbox::Result<()> {
    run(workspace, REMOVE, &[&at.path]).await.map_err(|(error, _)| error)
}

async fn describe(workspace: &Workspace, at: &Location) -> sandbox::Result<Entry> {
    let Workspace { provider, sandbox, call, .. } = workspace;
    provider.stat(call, sandbox, at).await
}

/// Where an upload's bytes lie until all of them have come: in the directory of the
/// file, under a name that no other upload has.
pub(super) fn beside(at: &Location, session: &str) -> Location {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let directory = at.path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Location { path: format!("{directory}/.upload-{session}-{number}.part"), user: at.user.clone() }
}

/// Turns `part` into the file at `at` and describes it. Nothing is left of a failure,
/// unless the error says so.
pub(super) async fn replace(workspace: &Workspace, part: &Location, at: &Location) -> sandbox::Result<Entry> {
    match run(workspace, REPLACE, &[&part.path, &at.path]).await {
        Ok(()) => describe(workspace, at).await,
        Err((error, Some(CUT))) => Err(error),
        Err((error, _)) => {
            let _ = tokio::time::timeout(CLEAN_WITHIN, remove(workspace, part)).await;
            Err(error)
        }
    }
}

/// Runs a script to its end. An error comes with the script's exit status, if there
/// is one.
async fn run(workspace: &Workspace, script: &str, paths: &[&str]) -> Result<(), (sandbox::Error, Option<Exit>)> {
    let mut argv = ["/bin/sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    argv.extend(paths.iter().map(|path| (*path).to_owned()));
    let error = |code, message| sandbox::Error::new(Fault::Provider, code, message);
    let Some((_, said, exit)) = process::run(workspace, argv, WITHIN).await.map_err(|error| (error, None))? else {
        let message = format!("the sandbox did not change the file within {} s", WITHIN.as_secs());
        return Err((error(Code::DeadlineExceeded, message), None));
    };
    let exit = exit.map_err(|error| (error, None))?;
    if exit == Exit::Code(0) {
        return Ok(());
    }
    let said =
        String::from_utf8_lossy(&said).replace(char::is_control, " ").trim().chars().take(WORDS).collect::<String>();
    let code = match &*said {
        _ if exit == TAKEN => Code::AlreadyExists,
        said if said.contains("No space left") || said.contains("quota exceeded") => Code::ResourceExhausted,
        said if ["ermission denied", "not permitted", "Read-only"].iter().any(|words| said.contains(words)) => {
            Code::PermissionDenied
        }
        said if said.contains("No such file") => Code::NotFound,
        _ => Code::Internal,
    };
    let said = if exit == TAKEN { "something of that name is there".to_owned() } else { said };
    Err((error(code, format!("the sandbox could not change the file ({exit}): {said}")), Some(exit)))
}
