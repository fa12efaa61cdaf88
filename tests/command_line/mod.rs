//! `ascribe` as it is typed in a folder, `words` parted by spaces.

use assert_cmd::cargo::cargo_bin;
use std::path::Path;
use std::process::{Command, Output};

/// A command that has not begun.
pub fn command(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(cargo_bin("ascribe"));
    command.current_dir(folder).args(words.split_whitespace());
    command
}

pub fn ascribe(folder: &Path, words: &str) -> Output {
    command(folder, words).output().unwrap()
}

/// What a command that succeeds says on standard output and on standard error.
pub fn both(folder: &Path, words: &str) -> (String, String) {
    let output = ascribe(folder, words);
    let [said, noted] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    assert!(output.status.success(), "ascribe {words}: {noted}");
    (said, noted)
}

/// What it says on standard output.
pub fn run(folder: &Path, words: &str) -> String {
    both(folder, words).0
}

/// The one line of a command that is refused.
pub fn refused(folder: &Path, words: &str) -> String {
    let output = ascribe(folder, words);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}
