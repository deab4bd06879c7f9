//! How a whole upload becomes the file.
//!
//! Owns the step from the bytes that lie beside it to the file's name: one
//! process of the session's user, so that it can do no more than he. Knows
//! nothing of how the bytes came.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::place;
use crate::sandbox::{self, Code, Entry, Exit, Fault, Location};
use crate::session::Workspace;

/// Time for it. Where the file stands in storage the content travels again.
const WITHIN: Duration = Duration::from_secs(15 * 60);

/// Time for taking away what did not become the file.
const CLEAN_WITHIN: Duration = Duration::from_secs(5);

/// Makes `$1` the file `$2`. What an old file of that name has beside its
/// content stays: mode, owner, attributes, and its other names.
///
/// Where the old one has one name and belongs to this user, the new one takes
/// its mode and attributes and then its place, at once: whatever is killed
/// meanwhile, the file is the old one or the new one. Else only the content can
/// change, in place; what is left if that fails is told.
const SCRIPT: &str = r#"
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

/// [`SCRIPT`] could not finish, and what was uploaded is worth keeping.
const CUT: Exit = Exit::Code(75);

/// Where an upload's bytes lie until all of them are there: in the directory of
/// the file, under a name that no other upload has.
pub(super) fn beside(at: &Location, session: &str) -> Location {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let directory = at.path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Location { path: format!("{directory}/.upload-{session}-{number}.part"), user: at.user.clone() }
}

/// Makes `part` the file at `at`, and describes it. Of what failed nothing is
/// left, unless the error says so.
pub(super) async fn replace(workspace: &Workspace, part: &Location, at: &Location) -> sandbox::Result<Entry> {
    let Workspace { provider, sandbox, call, .. } = workspace;
    let error = match become_file(workspace, part, at).await {
        Ok(()) => return provider.stat(call, sandbox, at).await,
        Err((error, Some(CUT))) => return Err(error),
        Err((error, _)) => error,
    };
    let _ = tokio::time::timeout(CLEAN_WITHIN, provider.remove(call, sandbox, part)).await;
    Err(error)
}

async fn become_file(
    workspace: &Workspace,
    part: &Location,
    at: &Location,
) -> Result<(), (sandbox::Error, Option<Exit>)> {
    let argv = ["/bin/sh", "-c", SCRIPT, "sh", &part.path, &at.path].map(str::to_owned).to_vec();
    let failed = |code, message| sandbox::Error::new(Fault::Provider, code, message);
    let Some((_, said, exit)) = place::run(workspace, argv, WITHIN).await.map_err(|error| (error, None))? else {
        let message = format!("the upload did not become the file within {} s", WITHIN.as_secs());
        return Err((failed(Code::DeadlineExceeded, message), None));
    };
    match exit.map_err(|error| (error, None))? {
        Exit::Code(0) => Ok(()),
        exit => {
            let said = String::from_utf8_lossy(&said).trim().replace(char::is_control, " ");
            let code = match &said {
                said if said.contains("No space left") || said.contains("quota exceeded") => Code::ResourceExhausted,
                said if said.contains("ermission denied") || said.contains("not permitted") => Code::PermissionDenied,
                _ => Code::Internal,
            };
            Err((failed(code, format!("the upload could not become the file ({exit}): {said}")), Some(exit)))
        }
    }
}
