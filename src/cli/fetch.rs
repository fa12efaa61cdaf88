//! `ascribe fetch`: a named data set or source model from its hub, checked by the SHA-256 of the registry, the hub or
//! the first fetch.

use super::output::{Json, shown};
use crate::fetch::{Entry, Fetched, endpoint, entries, fetch, find};
use crate::{Error, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `ascribe fetch`.
#[derive(Debug, Args)]
#[command(after_help = "Example: a robust ImageNet model, then what it is\n  \
    ascribe fetch resnet50-l2-eps3\n  ascribe inspect resnet50-l2-eps3\n\n\
    The hub is https://huggingface.co, or what HF_ENDPOINT says. Files are checked by the SHA-256 of the\n\
    registry or the hub; where neither has one, a later fetch by that of the first, in fetch.json.")]
pub struct Fetch {
    /// A data set or model, as in cifar10 or resnet50-l2-eps3
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// Folder for the files (default: one of that name)
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// List all names, with licences
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    json: Json,
}

impl Fetch {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode> {
        let Some(name) = self.name.filter(|_| !self.list) else {
            let entries = entries()?;
            self.json.print(
                || json!({ "entries": entries.iter().map(described).collect::<Vec<_>>() }),
                || {
                    for entry in &entries {
                        say!("{:28} {} [{}]", entry.name, entry.about, entry.licence);
                    }
                },
            );
            return Ok(ExitCode::SUCCESS);
        };
        let entry = find(&name)?;
        let folder = self.out.unwrap_or_else(|| PathBuf::from(&entry.name));
        let mut progress = Shown::new();
        let lock = fetch(&entry, &endpoint(), &folder, &mut |file, done, total| {
            progress.show(file, done, total);
        });
        progress.finish();
        let lock = lock?;
        let files = entry.files.iter().map(|file| {
            let fetched = lock
                .files
                .get(&file.to)
                .ok_or_else(|| Error::mismatch("fetch.json", &file.to, "none", "fetch again"))?;
            Ok((shown(&folder.join(&file.to)), fetched))
        });
        let files = files.collect::<Result<Vec<_>>>()?;
        let result = || {
            let mut result = described(&entry);
            let file = |(path, fetched): &(String, &Fetched)| {
                json!({
                    "path": path,
                    "bytes": fetched.bytes,
                    "sha256": fetched.sha256,
                    "checked_against": fetched.checked_against,
                })
            };
            result["out"] = shown(&folder).into();
            result["files"] = files.iter().map(file).collect();
            result
        };
        self.json.print(result, || {
            say!("{}; licence: {}", entry.about, entry.licence);
            for (path, fetched) in &files {
                let Fetched { bytes, sha256, .. } = fetched;
                say!("{path}: {bytes} bytes, sha256 {sha256}, {}", word(fetched));
            }
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// What `--list` says of a name.
fn described(entry: &Entry) -> Value {
    json!({ "name": entry.name, "about": entry.about, "licence": entry.licence })
}

/// By whose word the digest is right.
fn word(fetched: &Fetched) -> String {
    if fetched.checked_against.is_empty() {
        return "recorded in fetch.json (nobody has published one) and checked from now on".into();
    }
    format!("as {} has it", fetched.checked_against.join(", "))
}

/// A bar on a terminal, one line a file elsewhere.
struct Shown {
    bar: Option<ProgressBar>,
    file: String,
}

impl Shown {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let template = "{msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
            let style = ProgressStyle::with_template(template);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            bar,
            file: String::new(),
        }
    }

    fn show(&mut self, file: &str, done: u64, total: Option<u64>) {
        if self.file != file {
            file.clone_into(&mut self.file);
            match &self.bar {
                Some(bar) => bar.set_message(file.to_owned()),
                None => {
                    let size = total.map_or_else(String::new, |total| format!(", {total} bytes"));
                    note!("fetching {file}{size}");
                }
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total.unwrap_or(done));
            bar.set_position(done);
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
