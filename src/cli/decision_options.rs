//! What was decided on training images: which are left out, and which have another label than the file's.

use crate::Result;
use crate::artefact::{Input, digest_file};
use crate::data::{Dataset, Decisions};
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
    /// Reads the files, which must be of this set; says how many decisions are of a kind whose option is not given.
    pub(super) fn read(&self, train: &Dataset) -> Result<Decisions> {
        let read = |file: &Option<PathBuf>| match file {
            Some(file) => Decisions::read(file, train),
            None => Ok(Decisions::default()),
        };
        let (exclude, relabel) = (read(&self.exclude)?, read(&self.relabel)?);
        self.note_of_other_kind(&exclude, &relabel);
        Ok(Decisions {
            excluded: exclude.excluded,
            relabelled: relabel.relabelled,
        })
    }

    fn note_of_other_kind(&self, exclude: &Decisions, relabel: &Decisions) {
        let unused = [
            (
                exclude.relabelled.len(),
                "exclude",
                "relabel",
                &self.relabel,
            ),
            (relabel.excluded.len(), "relabel", "exclude", &self.exclude),
        ];
        for (rows, given, other, file) in unused {
            if rows > 0 && file.is_none() {
                note!(
                    "ascribe: {rows} decisions of the file of --{given} are for --{other}, which is not given"
                );
            }
        }
    }

    /// What `run.json` says of the files.
    pub(super) fn inputs(&self) -> Result<Vec<Input>> {
        let files = [("exclude", &self.exclude), ("relabel", &self.relabel)];
        let input = |(role, file): (&str, &PathBuf)| {
            Ok(Input {
                role: role.into(),
                digest: digest_file(file)?,
                path: file.clone(),
                rows: None,
            })
        };
        let given = files
            .into_iter()
            .filter_map(|(role, file)| Some((role, file.as_ref()?)));
        given.map(input).collect()
    }
}
