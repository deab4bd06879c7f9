//! The program in a sandbox: where it is, and how it is run.
//!
//! Deliberately knows not what its commands do.

/// Where the program may be, best place first, as words of a shell. The first is of root and is not among temporary files,
/// because those are cleaned away. The others are for a user who can write nowhere else, and for systems that cannot be
/// written to. The last is memory.
macro_rules! places {
    () => {
        r#"/var/lib/sandbox-recorder /tmp/.sandbox-recorder "${HOME:-/root}/.sandbox-recorder" /var/tmp/.sandbox-recorder /dev/shm/.sandbox-recorder"#
    };
}
pub(crate) use places;

/// The shell that runs the scripts.
pub const SH: &str = "/bin/sh";

/// Where a recording is kept if root owns the program. A sandbox has one shell, so one directory is enough.
pub const DIRECTORY: &str = "/var/lib/sandbox-recorder/tapes/tape";

/// Replaces the shell by the program, wherever that is. A recording is next to the program: in a directory that all users may
/// write to, if root owns the program.
const RUN: &str = concat!(
    "command=$1\nshift\nfor place in ",
    places!(),
    r#"; do
    program=$place/program
    [ -f "$program" ] || continue
    # An upload is not executable everywhere.
    [ -x "$program" ] || chmod 700 "$program"
    if [ -d "$place/tapes" ]; then tape=$place/tapes/tape; else tape=$place/tape; fi
    exec "$program" "$command" --dir "$tape" "$@"
done
echo 'its program is gone: something in the sandbox has removed it' >&2
exit 66
"#
);

/// The command line of one of the recorder's commands. The command gets the recording's directory, and `words`.
pub fn argv(command: &str, words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut argv = [SH, "-c", RUN, "recorder", command].map(str::to_owned).to_vec();
    argv.extend(words);
    argv
}
