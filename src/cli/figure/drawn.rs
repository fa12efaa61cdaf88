//! Where a figure goes, and what is said of how it came about.

use crate::Result;
use crate::artefact::{Input, Invocation, Options, RecordBeside};
use crate::cli::output::{Json, note_boxes, shown};
use crate::figure::{Figure, Format, Style, write};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// How what is drawn differs, in a record and in what is printed.
const DIFFERENCES: &str = "differences";

/// Options of every figure.
#[derive(Debug, Args)]
pub(super) struct Pictures {
    /// Pictures to draw; the data behind them is always written, as CSV, and how they came about, as JSON
    #[arg(
        long,
        value_name = "FORMAT,…",
        value_delimiter = ',',
        default_value = "svg,png"
    )]
    format: Vec<Format>,
    /// Look of the pictures: paper (for print), or screen (larger type, heavier lines: slides, web pages)
    #[arg(long, value_name = "STYLE", default_value_t)]
    style: Style,
    /// Folder for the figure; files of the same name are replaced
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    json: Json,
}

/// A figure that is asked for.
pub(super) struct Asked {
    /// The name of its files, without the ending.
    pub(super) stem: &'static str,
    pub(super) invocation: Invocation,
}

impl Pictures {
    /// Draws what `figure` computes from `runs`, with the effective values of its own options, and says which files it left.
    pub(super) fn draw<F: Figure>(
        &self,
        Asked { stem, invocation }: Asked,
        runs: &[&Path],
        own: impl IntoIterator<Item = (&'static str, Value)>,
        figure: impl FnOnce() -> Result<F>,
    ) -> Result<()> {
        let inputs = Input::of_runs(runs.iter().copied())?;
        let formats = self.formats();
        let names: Vec<String> = formats.iter().map(Format::to_string).collect();
        let shared = [
            ("figure", json!(stem)),
            ("format", json!(names)),
            ("style", json!(self.style.to_string())),
            ("out", json!(self.out)),
        ];
        let options = own.into_iter().chain(shared);
        let options: Options = options
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let mut record = RecordBeside::begin("figure", invocation, options, inputs)?;
        let figure = figure()?;
        let differences = figure.differences();
        if let Some(differences) = &differences {
            record.note(DIFFERENCES, differences.clone());
        }
        let written = write(&figure, &self.out, stem, &formats, self.style)?;
        let record = record.finish(&self.out, stem, &written.files)?;
        note_boxes(&written);
        self.note_others(stem);
        let files = written.files.iter().chain([&record]);
        let files: Vec<String> = files.map(|path| shown(path)).collect();
        self.json.print(
            || {
                let mut said = json!({ "out": shown(&self.out), "figure": stem, "files": files });
                if let Some(differences) = differences {
                    said[DIFFERENCES] = differences;
                }
                said
            },
            || files.iter().for_each(|file| say!("{file}")),
        );
        Ok(())
    }

    /// The formats asked for, each once.
    fn formats(&self) -> Vec<Format> {
        let mut formats = Vec::new();
        for &format in &self.format {
            if !formats.contains(&format) {
                formats.push(format);
            }
        }
        formats
    }

    /// Tells of pictures in formats that were not drawn: the record speaks of them no more.
    fn note_others(&self, stem: &str) {
        let others = [Format::Svg, Format::Png].into_iter();
        for format in others.filter(|format| !self.format.contains(format)) {
            let picture = self.out.join(format!("{stem}.{format}"));
            if picture.exists() {
                let picture = shown(&picture);
                note!("ascribe: {picture} is from before, and was not drawn again");
            }
        }
    }
}
