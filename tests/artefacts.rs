//! Artefacts on a disk that fills up: one line that says what to do, and nothing half-written.
#![cfg(target_os = "linux")]

use ascribe::artefact::{AtomicFile, Options, RunFolder, write_atomically};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

/// Set in the child process that does the writing.
const SMALL_DISK: &str = "ASCRIBE_TEST_SMALL_DISK";
const REMEDY: &str = "; free some space or choose another --out";

/// Runs `script` with `$TEST` calling this very test with the environment variable set to `folder`.
fn in_child(test: &str, folder: &Path, launcher: &[&str], script: &str) -> Output {
    let binary = std::env::current_exe().unwrap();
    let run = format!(
        "'{}' --exact artefacts::{test} --nocapture",
        binary.display()
    );
    let mut words = launcher.to_vec();
    let script = script.replace("$TEST", &run);
    words.extend(["sh", "-c", &script]);
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .env(SMALL_DISK, folder)
        .current_dir(folder);
    command.output().unwrap()
}

fn assert_passed(output: &Output) {
    let text = [output.stdout.as_slice(), &output.stderr]
        .map(String::from_utf8_lossy)
        .concat();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

/// Overwrites a file with more than fits, and checks the message, the old content and the folder.
fn overfill(folder: &Path) {
    let path = folder.join("scores.npy");
    write_atomically(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    let error = file
        .write_all(&[7; 1 << 20])
        .map_err(ascribe::Error::io(&path, "write"));
    let written = write_atomically(&path, &[7; 1 << 20]);
    drop(file);
    for error in [error, written] {
        let message = error.unwrap_err().to_string();
        let start = format!("{}: cannot write: ", path.display());
        assert!(
            message.starts_with(&start) && message.ends_with(REMEDY),
            "{message}"
        );
        assert!(!message.contains('\n'), "{message}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(
        std::fs::read_dir(folder).unwrap().count(),
        1,
        "something half-written is left"
    );
}

#[test]
fn a_full_disk_is_one_line_and_leaves_the_old_file() {
    if let Some(folder) = std::env::var_os(SMALL_DISK) {
        return overfill(folder.as_ref());
    }
    let place = tempfile::tempdir().unwrap();
    let own_mounts = ["unshare", "--user", "--map-root-user", "--mount"];
    let small_disk = "mount -t tmpfs -o size=64k none .";
    let mut probe = Command::new(own_mounts[0]);
    probe
        .args(&own_mounts[1..])
        .args(["sh", "-c", small_disk])
        .current_dir(place.path());
    if !probe.output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this system does not let a test mount a small disk");
        return;
    }
    let script = format!("{small_disk} && $TEST");
    let name = "a_full_disk_is_one_line_and_leaves_the_old_file";
    assert_passed(&in_child(name, place.path(), &own_mounts, &script));
}

#[test]
fn a_file_size_limit_is_one_line_and_leaves_the_old_file() {
    if let Some(folder) = std::env::var_os(SMALL_DISK) {
        return overfill(folder.as_ref());
    }
    let place = tempfile::tempdir().unwrap();
    let name = "a_file_size_limit_is_one_line_and_leaves_the_old_file";
    // Limited to 64 blocks of 512 or 1024 bytes; the signal would kill the process before it sees the error.
    let script = "trap '' XFSZ && ulimit -f 64 && $TEST";
    assert_passed(&in_child(name, place.path(), &[], script));
}

#[test]
fn a_run_that_meets_a_full_disk_stays_resumable() {
    let name = "a_run_that_meets_a_full_disk_stays_resumable";
    let open = |folder: &Path| {
        RunFolder::open_or_create(
            folder.join("run"),
            "rank",
            Vec::new(),
            Options::new(),
            Vec::new(),
        )
    };
    if let Some(folder) = std::env::var_os(SMALL_DISK) {
        let mut run = open(folder.as_ref()).unwrap();
        write_atomically(run.file("checkpoint"), b"4 epochs").unwrap();
        run.set_result("converged", 12).unwrap();
        let message = run
            .set_result("ids", vec![1; 1 << 20])
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("run.json: cannot write: ") && message.ends_with(REMEDY),
            "{message}"
        );
        return;
    }
    let place = tempfile::tempdir().unwrap();
    assert_passed(&in_child(
        name,
        place.path(),
        &[],
        "trap '' XFSZ && ulimit -f 64 && $TEST",
    ));
    let run = open(place.path()).unwrap();
    assert!(run.is_resuming());
    assert_eq!(run.record().result::<u64>("converged").unwrap(), 12);
    run.finish().unwrap();
}

#[test]
fn a_process_killed_in_the_middle_of_a_write_leaves_the_old_file_and_a_resumable_run() {
    let name = "a_process_killed_in_the_middle_of_a_write_leaves_the_old_file_and_a_resumable_run";
    let open = |folder: &Path| {
        RunFolder::open_or_create(
            folder.join("run"),
            "rank",
            Vec::new(),
            Options::new(),
            Vec::new(),
        )
    };
    if let Some(folder) = std::env::var_os(SMALL_DISK) {
        let mut run = open(folder.as_ref()).unwrap();
        run.set_result("blocks", 3).unwrap();
        write_atomically(run.file("scores.npy"), b"old").unwrap();
        let mut file = AtomicFile::create(run.file("scores.npy")).unwrap();
        file.write_all(b"half of the new").unwrap();
        std::process::abort(); // no destructor runs, as under SIGKILL
    }
    let place = tempfile::tempdir().unwrap();
    let output = in_child(name, place.path(), &[], "ulimit -c 0; $TEST");
    assert!(!output.status.success());
    let folder = place.path().join("run");
    let visible = |folder: &Path| {
        let names = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(
        visible(&folder).len(),
        4,
        "lock, unfinished file, run.json, scores.npy"
    );
    assert_eq!(std::fs::read(folder.join("scores.npy")).unwrap(), b"old");
    let run = open(place.path()).unwrap();
    assert!(run.is_resuming());
    assert_eq!(run.record().result::<u64>("blocks").unwrap(), 3);
    assert_eq!(visible(&folder), [".lock", "run.json", "scores.npy"]);
}
