//! `ascribe demo`: the main job on data and models that are part of the program.
//!
//! It runs the commands a user would type, and prints them: two transfers to handwritten digits, two rankings,
//! Figures 5 and 6, an audit of both; then a table read from what they left.

mod earlier;

use super::Cli;
use super::output::{Json, shown};
use crate::artefact::{RunFolder, shell_line};
use crate::figure::{Curve, ModelRankings, QuerySet, Style};
use crate::influence::read_rankings;
use crate::{Error, Result};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
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
    /// An output folder that holds something else, is in use, or cannot be written.
    pub fn run(self) -> Result<ExitCode> {
        let started = Instant::now();
        let _lock = self.take()?;
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
            type_and_run(self.transfer(name))?;
            type_and_run(self.rank(name))?;
            rows.push(self.row(name)?);
        }
        for number in ["5", "6"] {
            type_and_run(self.draw(number, self.style))?;
        }
        type_and_run(self.audit())?;
        Ok(rows)
    }

    fn transfer(&self, name: &str) -> Vec<String> {
        let source = format!("builtin:{name}");
        owned(&[
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

    fn rank(&self, name: &str) -> Vec<String> {
        let (model, out) = (self.model(name), self.path(name));
        owned(&["rank", "--model", &model, "--bottom", "20", "--out", &out])
    }

    fn draw(&self, number: &str, style: Style) -> Vec<String> {
        let [natural, robust] = MODELS.map(|name| self.path(name));
        let out = self.out.display().to_string();
        let mut words = vec!["figure", number, &natural, &robust, "--out", &out];
        if style == Style::Screen {
            words.extend(["--style", "screen"]);
        }
        owned(&words)
    }

    fn audit(&self) -> Vec<String> {
        let [natural, robust] = MODELS.map(|name| self.path(name));
        owned(&[
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

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Prints a command and runs it in this process.
fn type_and_run(typed: Vec<String>) -> Result<()> {
    say!("\n$ {}", shell_line(&typed));
    let command = Cli::typed(&typed).map_err(|error| {
        Error::mismatch("demo", "a command of this version", error, "this is a bug")
    })?;
    command.run_as(typed.into()).map(|_| ())
}
