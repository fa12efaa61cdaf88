//! Figures of a study: 1 and 2 of the paper, blocks and ε.

use super::drawn::{Asked, Pictures};
use crate::artefact::{RunFolder, RunRecord, Status};
use crate::figure::{Share, TransferAccuracy};
use crate::model::Blocks;
use crate::study::{
    ImageCount, RESULTS, Row, Selection, Summary, Variable, read_results, run_count,
};
use crate::{Error, Result};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Which rows of which study; what lies along the axis is not fixed.
#[derive(Debug, Args)]
pub(super) struct OfStudy {
    /// The folder left by ascribe study
    #[arg(value_name = "STUDY")]
    study: PathBuf,
    /// Runs on so many training images, or all of each set (default: the most there are)
    #[arg(long, value_name = "N")]
    images: Option<ImageCount>,
    /// Runs that fine-tuned so many blocks (default: the most there are)
    #[arg(long, value_name = "K")]
    blocks: Option<Blocks>,
    /// Runs of so many epochs in all (default: the most there are, or those that the spec has for a number of images)
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Sources shown, by name (default: all)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    sources: Vec<String>,
    /// Target sets shown, by name (default: all)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    targets: Vec<String>,
    /// Compare target sets with this one, source by source, instead of sources with the natural one
    #[arg(long, value_name = "NAME")]
    against: Option<String>,
    #[command(flatten)]
    drawn: Pictures,
}

impl OfStudy {
    pub(super) fn draw(&self, variable: Variable, asked: Asked) -> Result<()> {
        let record = RunFolder::read_at_work(&self.study)?;
        let table = self.study.join(RESULTS);
        self.check(&record)?;
        self.note_along(variable);
        let selection = Selection {
            images: self.images,
            blocks: self.blocks,
            epochs: self.epochs,
            sources: self.sources.clone(),
            targets: self.targets.clone(),
            against: self.against.clone(),
            // As if there were nothing to say of them where it was made before they were recorded.
            axes: record.result_if_any("axes")?.unwrap_or_default(),
        };
        let rows = read_results(&table)?;
        let share = match record.status {
            Status::Finished => None,
            Status::Running => Some(Share {
                finished: run_count(&rows),
                runs: record.result("runs")?,
            }),
        };
        let summary = Summary::of(&rows, variable, &selection)?;
        if summary.accuracy.is_empty() {
            let (place, expected) = ("column test_accuracy", "a number in a row selected");
            let remedy = match rows.iter().all(|row| row.diverged) {
                true => {
                    "the loss of all runs stopped being finite: lower learning-rate or head-deviation in the spec"
                }
                false => "run ascribe study again, or select other rows",
            };
            return Err(Error::format(&table, place, expected, "none", remedy));
        }
        let is_natural = |row: &Row| row.epsilon == 0.0;
        if summary.natural.is_none() && summary.against.is_none() && rows.iter().any(is_natural) {
            note!(
                "ascribe: no differences are drawn: the natural source, which they are to, is not among --sources"
            );
        }
        let options = self.effective(&summary);
        let figure = || Ok(TransferAccuracy { summary, share });
        self.drawn.draw(asked, &[&self.study], options, figure)
    }

    /// Refuses what is no study, or has no table.
    fn check(&self, record: &RunRecord) -> Result<()> {
        let of_study = record.command == "study" && record.options.contains_key("spec");
        if of_study && self.study.join(RESULTS).exists() {
            return Ok(());
        }
        if of_study {
            // An unfinished one before its first run.
            RunFolder::read(&self.study)?;
        }
        let (reason, remedy) = match of_study {
            true => (
                format!("{RESULTS} is gone"),
                "run ascribe study again: it is made anew of the finished runs",
            ),
            false => (
                format!("holds a run of ascribe {}, not a study", record.command),
                "give a folder made by ascribe study",
            ),
        };
        Err(Error::conflict(&self.study, reason, remedy))
    }

    /// Says so where an option is to fix what lies along the axis.
    fn note_along(&self, variable: Variable) {
        let (option, is_given) = match variable {
            Variable::Images => ("images", self.images.is_some()),
            Variable::Blocks => ("blocks", self.blocks.is_some()),
            Variable::Epoch | Variable::Epsilon => return,
        };
        if is_given {
            note!("ascribe: --{option} fixes nothing, for it lies along the axis of this figure");
        }
    }

    /// Its options; those that fix a variable with the value that was taken.
    fn effective(&self, summary: &Summary) -> BTreeMap<&'static str, Value> {
        let mut options = BTreeMap::from([
            ("study", json!(self.study)),
            ("sources", json!(self.sources)),
            ("targets", json!(self.targets)),
            ("against", json!(self.against)),
        ]);
        for name in ["images", "blocks", "epochs"] {
            let fixed = summary.fixed.iter().find(|(fixed, _)| fixed == name);
            options.insert(name, json!(fixed.map(|(_, value)| value)));
        }
        options
    }
}
