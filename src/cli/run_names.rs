//! What runs are called where several are shown.

use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The given names, or else the folders'; one for each run, all different.
pub(super) fn run_names(runs: &[PathBuf], names: Option<&[String]>) -> Result<Vec<String>> {
    let names = match names {
        Some(names) => names.to_vec(),
        None => runs.iter().map(|run| folder_name(run)).collect(),
    };
    if names.len() != runs.len() {
        let reason = format!(
            "{} names for {} runs; give one for each",
            names.len(),
            runs.len()
        );
        return Err(Error::config("names", reason));
    }
    if let Some(name) =
        (1..names.len()).find_map(|at| names[..at].contains(&names[at]).then(|| &names[at]))
    {
        return Err(Error::config(
            "names",
            format!("two runs are called {name}; give names that differ"),
        ));
    }
    Ok(names)
}

/// Refuses runs whose classes have other names, where both have names: one picture names them once.
pub(super) fn check_same_class_names(
    [first, second]: [&Option<Vec<String>>; 2],
    [name, other]: [&str; 2],
) -> Result<()> {
    let (Some(first), Some(second)) = (first, second) else {
        return Ok(());
    };
    let at = (0..first.len().max(second.len())).find(|&at| first.get(at) != second.get(at));
    let Some(at) = at else { return Ok(()) };
    let class = |classes: &[String]| classes.get(at).map_or("none".into(), String::clone);
    Err(Error::mismatch(
        format!("class {at} of {other}"),
        format!("{}, as in {name}", class(first)),
        class(second),
        "give runs of the same classes",
    ))
}

/// The last part of a path, also of `.` and of one that ends in `..`.
fn folder_name(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    full.file_name()
        .unwrap_or(full.as_os_str())
        .to_string_lossy()
        .into_owned()
}
