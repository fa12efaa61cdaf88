//! A command that is killed at its work.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(300);

/// Starts a command and kills it as soon as a file is there.
#[track_caller]
pub fn killed_at(mut command: Command, file: &Path) {
    let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = silent.spawn().unwrap();
    let began = Instant::now();
    while !file.exists() && child.try_wait().unwrap().is_none() && began.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap(); // SIGKILL
    assert!(!child.wait().unwrap().success(), "it ended before the kill");
    let name = file.display();
    assert!(file.exists(), "failed, or took {LIMIT:?}, without {name}");
}
