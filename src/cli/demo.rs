//! `ascribe demo`: the main job on data and models that are part of the program.
//!
//! It runs the commands a user would type, and prints them: two transfers to handwritten digits, two rankings,
//! Figures 5 and 6, an audit of both; then a table read from what they left.

use super::Cli;
use super::output::{Json, shown};
use crate::artefact::{RunFolder, RunRecord, read_json, shell_line};
use crate::figure::{Curve, ModelRankings, QuerySet, Style};
use crate::influence::read_rankings;
use crate::{Error, Result};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Options of `ascribe demo`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ascribe demo --out ascribe-demo")]
pub struct Demo {
    /// Folder for the results; what an earlier demo left there is replaced
    #[arg(long, value_name = "FOLDER", default_value = "ascribe-demo")]
    out: PathBuf,
    /// Look of the figures: paper (for print), or screen (larger type, heavier lines: slides, web pages)
    #[arg(long, value_name = "STYLE", default_value_t)]
    style: Style,
    #[command(flatten)]
    json: Json,
}

/// What came of a source model.
#[derive(Serialize)]
struct Row {
    source: &'static str,
    /// From 0 to 1.
    test_accuracy: f64,
    /// How often the most helpful training image is of the query's class, in percent.
    class_match_percent: f64,
    /// Of transfer and ranking.
    seconds: f64,
}

const MODELS: [&str; 2] = ["natural", "robust"];
/// Besides runs, what a demo leaves in its folder.
const FIGURES: [&str; 8] = [
    "figure5.svg",
    "figure5.png",
    "figure5.csv",
    "figure5.json",
    "figure6.svg",
    "figure6.png",
    "figure6.csv",
    "figure6.json",
];

impl Demo {
    /// Runs the command.
    ///
    /// # Errors
    /// An output folder that holds something else, or cannot be written.
    pub fn run(self) -> Result<ExitCode> {
        let started = Instant::now();
        clear(&self.out)?;
        let rows = self.json.beside(|| self.work())?;
        let seconds = started.elapsed().as_secs_f64();
        let result = || {
            json!({
                "out": shown(&self.out),
                "page": self.path("audit/index.html"),
                "figures": FIGURES.map(|name| self.path(name)),
                "models": rows,
                "seconds": seconds,
            })
        };
        self.json.print(result, || {
            self.print(&rows);
            say!("everything took {seconds:.1} s");
        });
        Ok(ExitCode::SUCCESS)
    }

    fn work(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for name in MODELS {
            self.transfer(name)?;
            self.rank(name)?;
            rows.push(self.row(name)?);
        }
        for number in ["5", "6"] {
            self.draw(number)?;
        }
        self.audit()?;
        Ok(rows)
    }

    fn transfer(&self, name: &str) -> Result<()> {
        let source = format!("builtin:{name}");
        type_and_run(&[
            "transfer",
            "--source",
            &source,
            "--train",
            "builtin:digits-train",
            "--test",
            "builtin:digits-test",
            "--images",
            "500",
            "--blocks",
            "3",
            "--epochs",
            "6",
            "--batch-size",
            "50",
            "--augmentation",
            "none",
            "--evaluate-every",
            "3",
            "--frozen-statistics",
            "frozen",
            "--out",
            &self.model(name),
        ])
    }

    fn rank(&self, name: &str) -> Result<()> {
        let (model, out) = (self.model(name), self.path(name));
        type_and_run(&["rank", "--model", &model, "--bottom", "20", "--out", &out])
    }

    fn draw(&self, number: &str) -> Result<()> {
        let [natural, robust] = MODELS.map(|name| self.path(name));
        let out = self.out.display().to_string();
        let mut words = vec!["figure", number, &natural, &robust, "--out", &out];
        if self.style == Style::Screen {
            words.extend(["--style", "screen"]);
        }
        type_and_run(&words)
    }

    fn audit(&self) -> Result<()> {
        let [natural, robust] = MODELS.map(|name| self.path(name));
        type_and_run(&[
            "audit",
            &natural,
            &robust,
            "--title",
            "Handwritten digits: a natural and a robust source",
            "--out",
            &self.path("audit"),
        ])
    }

    /// The table, and where everything is.
    fn print(&self, rows: &[Row]) {
        say!();
        say!(
            "{:<10}{:>15}{:>22}{:>11}",
            "source",
            "test accuracy",
            "class match, top 1",
            "seconds"
        );
        for row in rows {
            say!(
                "{:<10}{:>13.1} %{:>20.1} %{:>11.1}",
                row.source,
                100.0 * row.test_accuracy,
                row.class_match_percent,
                row.seconds
            );
        }
        say!();
        say!(
            "Figure 6 and Figure 5: {}, {} (also .png, .csv)",
            self.path("figure6.svg"),
            self.path("figure5.svg")
        );
        say!(
            "rankings (score in nats, positive = helpful): {}/rankings.parquet",
            self.path("natural")
        );
        let audit = self.path("audit");
        say!("the audit, to be opened in a browser: {audit}/index.html");
    }

    fn model(&self, name: &str) -> String {
        self.path(&format!("models/{name}"))
    }

    fn path(&self, name: &str) -> String {
        self.out.join(name).display().to_string()
    }

    /// One line of the table, from the run folders.
    fn row(&self, name: &'static str) -> Result<Row> {
        let folder = self.out.join(name);
        let rank = RunFolder::read(&folder)?;
        let transfer = RunFolder::read(self.out.join("models").join(name))?;
        let test = read_rankings(&folder.join("rankings.parquet"))?;
        let rankings = ModelRankings {
            predicted: false,
            model: name,
            test: &test,
            // For the other panels, and for chance, which is not asked for.
            train: &[],
            labels: &[],
            images: None,
        };
        let top = Curve::of(&rankings, QuerySet::Test)?.top_one_percent();
        Ok(Row {
            source: name,
            test_accuracy: rank.result("test_accuracy")?,
            class_match_percent: top.unwrap_or(f64::NAN),
            seconds: transfer.seconds + rank.seconds,
        })
    }
}

/// Prints a command and runs it in this process.
fn type_and_run(words: &[&str]) -> Result<()> {
    let typed: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    say!("\n$ {}", shell_line(&typed));
    let command = Cli::typed(&typed).map_err(|error| {
        Error::mismatch("demo", "a command of this version", error, "this is a bug")
    })?;
    command.run_as(typed.into()).map(|_| ())
}

/// Removes what an earlier demo left; refuses a folder that holds anything else.
fn clear(out: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(out) else {
        return Ok(());
    };
    let entries = entries
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(Error::io(out, "read"))?;
    if let Some(other) = entries.iter().find(|entry| !is_of_a_demo(&entry.path())) {
        let reason = format!(
            "holds {}, which no demo left there",
            other.file_name().display()
        );
        return Err(Error::Conflict {
            path: out.to_path_buf(),
            reason,
            remedy: "choose another --out".into(),
        });
    }
    for entry in entries {
        let path = entry.path();
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.map_err(Error::io(&path, "remove"))?;
    }
    Ok(())
}

/// Whether it is what a demo leaves under that name; names alone would take what is a user's own for it.
fn is_of_a_demo(path: &Path) -> bool {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str);
    match name {
        Some("models") => std::fs::read_dir(path).is_ok_and(|mut models| {
            models.all(|model| model.is_ok_and(|model| is_run(&model.path(), "transfer")))
        }),
        Some("audit") => is_run(path, "audit"),
        Some(model) if MODELS.contains(&model) => is_run(path, "rank"),
        Some(figure) => FIGURES.contains(&figure) && path.is_file(),
        None => false,
    }
}

fn is_run(folder: &Path, command: &str) -> bool {
    read_json::<RunRecord>(folder.join("run.json")).is_ok_and(|record| record.command == command)
}
