//! What was decided on training images: which are left out, and which have another label than the file's.

use crate::Result;
use crate::data::{Dataset, DecisionFiles};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// The options that name files of decisions.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct DecisionOptions {
    /// Leave out the training images that a file of decisions excludes: a CSV with the columns train,decision,label, as the page
    /// of ascribe audit exports it
    #[arg(long, value_name = "FILE")]
    exclude: Option<PathBuf>,
    /// Give training images the labels of a file of decisions (its rows that say relabel)
    #[arg(long, value_name = "FILE")]
    relabel: Option<PathBuf>,
}

impl DecisionOptions {
    /// Reads the files, which must be of this set, and says which of their rows change nothing.
    pub(super) fn read(&self, train: &Dataset) -> Result<DecisionFiles> {
        let files = DecisionFiles::read(self.exclude.as_deref(), self.relabel.as_deref(), train)?;
        files.idle.iter().for_each(|idle| note!("ascribe: {idle}"));
        Ok(files)
    }
}
