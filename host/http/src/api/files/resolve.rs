//! Where a path leads in the sandbox, and what the session's user may do there.
//!
//! Owns the one question that the sandbox is asked before each operation. Its own
//! file system resolves links, and its own user tests permissions. Deliberately
//! does nothing to a file.

use std::time::Duration;

use super::path::{CleanPath, is_within};
use super::process::{MAX_OUTPUT, run};
use crate::api::refusal::Refusal;
use sandbox_broker_core::sandbox::{self, Code, Exit, Fault, Location};
use sandbox_broker_session::Workspace;

/// Time for the sandbox's answer. It looks at a few names, which takes longer only
/// if a mount does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Takes pairs of `follow` or `keep` and an absolute path. For each pair it prints
/// where the path leads and which of these letters hold there, each ended by a
/// NUL: `e` something is there, `d` a directory, `f` a regular file, `r`, `w`, `x`
/// as in test(1), `a` the nearest directory above takes new entries.
///
/// It needs no more than `readlink -f`, which every system has: `realpath -m` is
/// GNU's alone. What is missing at the end of a path is put behind what is there,
/// and `..` in the target of a link that leads nowhere takes a name away. A link that
/// leads to itself is such a missing name, in the place where the link is.
///
/// The output of `readlink` ends with a line feed that is not part of the path,
/// and a path may itself end with one. Hence the `x`.
const SCRIPT: &str = r#"
links=0
leads() {
  way=$1 tail= up=0 again=
  while [ ! -e "$way" ]; do
    if [ -L "$way" ]; then
      links=$((links + 1))
      if [ $links -gt 40 ]; then
        name=${way##*/} way=$(readlink -f -- "${way%/*}/" && echo x) || return
        way=${way%?x}
        printf '%s/%s%sx' "${way%/}" "$name" "$tail"
        return
      fi
      to=$(readlink -- "$way" && echo x) || return
      to=${to%?x}
      case $to in
        /*) way=$to ;;
        *) way=${way%/*}/$to ;;
      esac
      continue
    fi
    last=${way##*/} way=${way%/*}
    way=${way:-/}
    case $last in
      '' | .) ;;
      ..) up=$((up + 1)) again=yes ;;
      *) if [ $up -gt 0 ]; then up=$((up - 1)); else tail=/$last$tail; fi ;;
    esac
  done
  while [ $up -gt 0 ]; do
    way=$way/.. up=$((up - 1))
  done
  way=$(readlink -f -- "$way" && echo x) || return
  way=${way%?x}
  # The names behind a `..` may be there after all.
  if [ "$again" ]; then leads "${way%/}$tail"; return; fi
  printf '%s%sx' "${way%/}" "$tail"
}
while [ $# -gt 0 ]; do
  case $1 in
    follow) real=$(leads "$2") || exit ;;
    *) real=$(leads "${2%/*}/") || exit ;;
  esac
  real=${real%x}
  case $1 in
    follow) real=${real:-/} ;;
    *) real=$real/${2##*/} ;;
  esac
  shift 2
  is=
  if [ -e "$real" ] || [ -L "$real" ]; then is=e; fi
  for test in d f r w x; do
    if [ -$test "$real" ]; then is=$is$test; fi
  done
  above=$real
  while above=${above%/*}; [ -n "$above" ] && [ ! -e "$above" ]; do :; done
  above=${above:-/}
  if [ -d "$above" ] && [ -w "$above" ] && [ -x "$above" ]; then is=${is}a; fi
  printf '%s\0%s\0' "$real" "$is"
done
"#;

/// What is meant by a path that ends at a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastPart {
    /// What the link leads to.
    Follow,
    /// The link itself.
    Keep,
}

/// Where a path leads: within the session's directories, with every link on the way
/// resolved.
#[derive(Clone, Debug)]
pub(super) struct ResolvedPath {
    path: String,
    is: String,
    /// Whether it is one of the session's directories or contains one. Taking it away
    /// would take them away.
    pub(super) holds_root: bool,
}

impl ResolvedPath {
    pub(super) fn exists(&self) -> bool {
        self.is.contains('e')
    }

    pub(super) fn is_directory(&self) -> bool {
        self.is.contains('d')
    }

    /// Whether it is a regular file.
    pub(super) fn is_file(&self) -> bool {
        self.is.contains('f')
    }

    pub(super) fn may_read(&self) -> bool {
        self.is.contains('r') && (!self.is_directory() || self.is.contains('x'))
    }

    pub(super) fn may_write(&self) -> bool {
        self.is.contains('w')
    }

    /// Whether the directory that it is in, or would be in, may be changed.
    pub(super) fn may_change_directory(&self) -> bool {
        self.is.contains('a')
    }

    pub(super) fn location(&self, workspace: &Workspace) -> Location {
        Location { path: self.path.clone(), user: workspace.user.clone() }
    }
}

/// Finds where these paths lead. Refuses if one leads outside of the session's
/// directories.
///
/// The session's own user can change links between this and the operation. The
/// operation acts on the resolved path then.
pub(super) async fn find<const N: usize>(
    workspace: &Workspace,
    paths: [(&CleanPath, LastPart); N],
) -> Result<[ResolvedPath; N], Refusal> {
    // First without the sandbox, so that nothing is told about what is there.
    for (path, _) in paths {
        within_roots(&workspace.roots, path.as_str(), path.as_str())?;
    }
    let mut argv = ["/bin/sh", "-c", SCRIPT, "sh"].map(str::to_owned).to_vec();
    // A root may be a link or lie behind one, like any path.
    for root in &workspace.roots {
        argv.extend(["follow".to_owned(), root.clone()]);
    }
    for (path, last) in paths {
        argv.push(if last == LastPart::Follow { "follow" } else { "keep" }.to_owned());
        argv.push(path.as_str().to_owned());
    }
    let answer = ask(workspace, argv).await?;
    let answer = String::from_utf8(answer).map_err(|_| Refusal::NotUtf8)?;
    let mut parts = answer.split('\0');
    let mut next = || Some((parts.next()?.to_owned(), parts.next()?.to_owned()));
    let roots: Option<Vec<_>> = workspace.roots.iter().map(|_| Some(next()?.0)).collect();
    let roots = roots.ok_or_else(nonsense)?;
    let mut resolved = Vec::with_capacity(N);
    for (path, _) in paths {
        let (real, is) = next().ok_or_else(nonsense)?;
        within_roots(&roots, path.as_str(), &real)?;
        let holds = |root: &String| is_within(root.trim_end_matches('/'), path.as_str()) || is_within(root, &real);
        let holds_root = workspace.roots.iter().chain(&roots).any(holds);
        resolved.push(ResolvedPath { path: real, is, holds_root });
    }
    resolved.try_into().map_err(|_| nonsense().into())
}

/// Refuses a path that leads outside of the roots.
fn within_roots(roots: &[String], path: &str, real: &str) -> Result<(), Refusal> {
    if roots.iter().any(|root| is_within(real, root)) {
        return Ok(());
    }
    Err(Refusal::Outside { path: path.to_owned(), real: real.to_owned(), roots: roots.to_vec() })
}

/// The error for an answer that cannot be read.
fn nonsense() -> sandbox::Error {
    sandbox::Error::new(Fault::Provider, Code::Internal, "the sandbox's answer about the path makes no sense")
}

/// Runs a process in the sandbox and returns what it prints.
async fn ask(workspace: &Workspace, argv: Vec<String>) -> Result<Vec<u8>, Refusal> {
    let Some((printed, said, exit)) = run(workspace, argv, ANSWER_WITHIN).await? else {
        let seconds = ANSWER_WITHIN.as_secs();
        let message = format!("the sandbox did not find the path within {seconds} s; a mount may not answer");
        return Err(sandbox::Error::new(Fault::Provider, Code::DeadlineExceeded, message).into());
    };
    match exit? {
        Exit::Code(0) if printed.len() < MAX_OUTPUT => Ok(printed),
        exit => {
            tracing::warn!(%exit, said = %String::from_utf8_lossy(&said), "a sandbox could not resolve a path");
            let message = "the sandbox cannot resolve paths; its image needs `sh` and `readlink`";
            Err(sandbox::Error::new(Fault::Operator, Code::Unimplemented, message).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_outside_is_refused_with_where_it_leads() {
        let roots = ["/workspace/data/files".to_owned(), "/workspace/".to_owned()];
        for path in ["/workspace/data/files", "/workspace/data", "/workspace", "/workspace/data/files2"] {
            assert!(within_roots(&roots, path, path).is_ok(), "{path}");
        }
        let outside = within_roots(&roots, "/workspace/link", "/etc/passwd").unwrap_err();
        let words = "/workspace/link leads to /etc/passwd, which is outside of this session's directories";
        assert!(outside.to_string().starts_with(words), "{outside}");
        assert!(within_roots(&[], "/workspace", "/workspace").is_err(), "no roots, no files");
    }
}
