//! `ascribe rank` as a process that can be killed, and what its folders hold.

pub use crate::run_record::record;

use crate::command_line::{both, command};
use crate::killed::killed_at;
use std::path::Path;

/// What a run says on standard error.
pub fn rank(folder: &Path, words: &str) -> String {
    both(folder, &format!("rank {words}")).1
}

pub fn same_files(folder: &Path, files: &[&str], one: &str, other: &str) {
    for file in files {
        let bytes = |run: &str| std::fs::read(folder.join(run).join(file)).unwrap();
        assert!(bytes(one) == bytes(other), "{file} of {one} and {other}");
    }
}

/// Starts a run and kills it as soon as it has recorded a block.
pub fn kill_when_recorded(folder: &Path, words: &str, run: &str) {
    let scored = folder.join(run).join(".scored");
    let rank = command(folder, &format!("rank {words} --record-every 0"));
    killed_at(rank, &scored);
}

/// Kills a run, lets it go on, and compares the files with those of a run that was left alone.
pub fn goes_on_to_the_same_bytes(folder: &Path, common: &str, name: &str, files: &[&str]) {
    let (whole, killed) = (format!("{name}-whole"), format!("{name}-killed"));
    rank(folder, &format!("{common} --out {whole}"));
    let words = format!("{common} --out {killed}");
    kill_when_recorded(folder, &words, &killed);
    let said = rank(folder, &words);
    assert!(said.contains("rows were scored before"), "{said}");
    let resumed = |run: &str| record(folder, run)["results"]["resumed"].as_u64().unwrap();
    assert!(resumed(&killed) > 0 && resumed(&whole) == 0);
    let left = (files.iter().copied()).filter(|file| folder.join(&whole).join(file).exists());
    same_files(folder, &left.collect::<Vec<_>>(), &whole, &killed);
    let hidden = std::fs::read_dir(folder.join(&killed)).unwrap();
    let names = hidden.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| name.starts_with('.')).collect();
    assert!(names.is_empty(), "{names:?}");
}
