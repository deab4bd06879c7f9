//! The command lines of the recorder in a sandbox.
//!
//! Owns where the recorder keeps its files and how it is found. Deliberately
//! knows not what the commands do.

/// Where the recorder keeps its files: next to the program, in a directory that
/// all users may write to. It is not among temporary files, because those are
/// cleaned away. A sandbox has one shell, so one directory is enough.
pub(crate) const DIRECTORY: &str = "/var/lib/sandbox-recorder/tapes/tape";

/// Replaces the shell by the recorder, wherever that is. The arguments are the
/// command and what follows `--dir`.
const RUN: &str = r#"
command=$1
shift
for tape in /var/lib/sandbox-recorder/tapes/tape /tmp/.sandbox-recorder/tape; do
    program=${tape%%/tape*}/program
    [ -f "$program" ] || continue
    # An upload is not executable everywhere.
    [ -x "$program" ] || chmod 700 "$program"
    exec "$program" "$command" --dir "$tape" "$@"
done
echo 'its program is gone: something in the sandbox has removed it' >&2
exit 66
"#;

/// The shell that runs the scripts.
pub(crate) const SH: &str = "/bin/sh";

/// The command line of one of the recorder's commands.
pub(crate) fn argv(command: &str, words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut argv = [SH, "-c", RUN, "recorder", command].map(str::to_owned).to_vec();
    argv.extend(words);
    argv
}
