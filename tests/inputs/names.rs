//! Names that are no text: whatever the command, they are refused before it begins, by one line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a command says that is refused.
#[track_caller]
fn refused(folder: &Path, words: &str, last: Option<&OsStr>) -> String {
    let mut command = assert_cmd::Command::cargo_bin("ascribe").unwrap();
    command.current_dir(folder);
    command.args(words.split_whitespace()).args(last);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}: {said}");
    said
}

const DIGITS: &str = "--train builtin:digits-train --test builtin:digits-test";

#[test]
fn every_command_refuses_a_name_that_is_no_text() {
    let place = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"run\xff");
    for words in [
        "demo --out",
        &format!("train {DIGITS} --epochs 1 --out"),
        &format!("transfer --source builtin:natural {DIGITS} --epochs 1 --out"),
        &format!("adopt --source builtin:natural {DIGITS} --l2 0 --out"),
        "study spec.toml --out",
        "rank --model run --out",
        "evaluate run --out",
        "figure 1 run --out",
        "audit run --out",
        "inspect",
        "fetch mnist --out",
        "rerun",
    ] {
        let said = refused(place.path(), words, Some(name));
        let expected =
            "ascribe: run\u{fffd}: expected a name that is UTF-8, found other bytes; rename it\n";
        assert_eq!(said, expected, "{words}");
    }
    assert_eq!(place.path().read_dir().unwrap().count(), 0);
}

/// macOS has no such folders.
#[cfg(not(target_os = "macos"))]
#[test]
fn a_working_folder_whose_name_is_no_text_is_named() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join(OsStr::from_bytes(b"here\xff"));
    std::fs::create_dir(&folder).unwrap();
    let said = refused(&folder, "inspect builtin:natural", None);
    let expected = "/here\u{fffd}: expected a name that is UTF-8, found other bytes; rename it\n";
    assert!(said.ends_with(expected), "{said}");
}
