//! Decisions from up to two files, which may be one: the images that `exclude` leaves out, and the labels that `relabel` gives.

use super::{Dataset, Decisions};
use crate::Result;
use crate::artefact::{Input, digest_file};
use std::path::Path;

/// What files decide on the training images of a set.
#[derive(Debug, Clone, Default)]
pub struct DecisionFiles {
    /// Both files' together.
    pub decisions: Decisions,
    /// What `run.json` says of the files: `exclude`, `relabel`.
    pub inputs: Vec<Input>,
    /// Which rows change nothing, since the file is not given for what they say; in words.
    pub idle: Vec<String>,
}

impl DecisionFiles {
    /// Reads the files that are given, which must be of this set.
    ///
    /// # Errors
    /// As [`Decisions::read`].
    pub fn read(exclude: Option<&Path>, relabel: Option<&Path>, set: &Dataset) -> Result<Self> {
        let mut files = Self::default();
        if let Some(path) = exclude {
            let read = files.add("exclude", path, set)?;
            if relabel.is_none() {
                files.note_idle(read.relabelled.len(), path, "relabel");
            }
            files.decisions.excluded = read.excluded;
        }
        if let Some(path) = relabel {
            let read = files.add("relabel", path, set)?;
            if exclude.is_none() {
                files.note_idle(read.excluded.len(), path, "exclude");
            }
            files.decisions.relabelled = read.relabelled;
        }
        Ok(files)
    }

    fn add(&mut self, role: &str, path: &Path, set: &Dataset) -> Result<Decisions> {
        let read = Decisions::read(path, set)?;
        self.inputs.push(Input {
            role: role.into(),
            digest: digest_file(path)?,
            path: path.to_path_buf(),
            rows: None,
        });
        Ok(read)
    }

    fn note_idle(&mut self, rows: usize, path: &Path, other: &str) {
        if rows > 0 {
            let path = path.display();
            self.idle.push(format!(
                "{rows} decisions of {path} are to {other}, and no file to {other} by is given"
            ));
        }
    }
}
