//! Programs that ask the terminal something: the recorder answers, whoever is there.

use std::fs;

use crate::client::{Recording, until};

#[test]
fn a_program_is_answered_once_with_nobody_attached() {
    let recording = Recording::new();
    let got = recording.path("got");
    recording.run_alone(&format!(
        "stty raw -echo; printf '\\033[c'; head -c 7 >'{got}'; printf '\\033[5n'; head -c 4 >>'{got}'",
        got = got.display()
    ));
    // A second answer to the first question would be in the place of the other.
    until("both answers", || fs::read(&got).is_ok_and(|text| text == b"\x1b[?1;2c\x1b[0n"));
}
