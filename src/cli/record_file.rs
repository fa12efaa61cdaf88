//! Where the record of a run is that is named on the command line.

use super::output::shown;
use crate::artefact::RecordBeside;
use crate::data::{listed, names_in};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Figures that a refusal names.
const LISTED: usize = 10;

/// The JSON file that is named, as that beside a figure, or else the `run.json` of the folder.
pub(super) fn record_file(path: &Path) -> PathBuf {
    let is_record = path.extension().is_some_and(|ending| ending == "json") && !path.is_dir();
    match is_record {
        true => path.to_path_buf(),
        false => path.join("run.json"),
    }
}

/// Refuses a folder that holds figures and no run: each of them has a record of its own.
///
/// # Errors
/// It is such a folder, or cannot be read.
pub(super) fn refuse_figures(folder: &Path) -> Result<()> {
    if !folder.is_dir() || folder.join("run.json").exists() {
        return Ok(());
    }
    let files = names_in(folder)?.into_iter().map(|name| folder.join(name));
    let figures: Vec<String> = files
        .filter(|file| is_of_figure(file))
        .map(|file| shown(&file))
        .collect();
    if figures.is_empty() {
        return Ok(());
    }
    let remedy = format!("give one of its figures: {}", listed(&figures, LISTED));
    Err(Error::conflict(folder, "holds no run.json", remedy))
}

/// Whether a file is the record of a figure, which leaves a table beside it; other JSON may be large.
fn is_of_figure(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending == "json")
        && file.with_extension("csv").exists()
        && RecordBeside::read(file).is_ok_and(|record| record.command == "figure")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefact::Options;

    #[test]
    fn a_folder_of_figures_and_no_run_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        let write = |name: &str| std::fs::write(folder.join(name), "[]").unwrap();
        // As they may lie beside a data set.
        ["images.json", "images.csv"].into_iter().for_each(write);
        refuse_figures(folder).unwrap();
        for stem in ["b", "a"] {
            write(&format!("{stem}.csv"));
            let words = Vec::<String>::new();
            let record = RecordBeside::begin("figure", words.into(), Options::new(), Vec::new());
            record.unwrap().finish(folder, stem, &[]).unwrap();
        }
        let message = refuse_figures(folder).unwrap_err().to_string();
        let [a, b] = ["a.json", "b.json"].map(|name| shown(&folder.join(name)));
        let remedy = format!("; give one of its figures: {a}, {b}");
        assert!(message.ends_with(&remedy), "{message}");
        write("run.json");
        refuse_figures(folder).unwrap();
    }
}
