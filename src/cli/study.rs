//! `ascribe study`: a grid of transfers from a spec.

mod plan;
mod progress;

use super::output::{Json, shown};
use crate::artefact::{Invocation, Options, RunFolder, digest_file};
use crate::device::DeviceChoice;
use crate::study::{Axes, Material, Plan, RESULTS, SEARCH, Spec, write_results, write_search};
use crate::train::Crew;
use crate::{Error, Result};
use clap::Args;
use plan::{counted, plan_object, print_plan};
use progress::Progress;
use serde_json::json;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `ascribe study`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    ascribe study study.toml --plan --out study    how many runs, how long\n  \
    ascribe study study.toml --out study           runs what is not finished\n\n\
    docs/study.md has a spec and all its keys.\n\n\
    Exit code 3: finished, but the loss of some runs stopped being finite; the column\n\
    diverged of results.parquet says of which.")]
pub struct Study {
    /// The grid and the recipe
    #[arg(value_name = "SPEC.toml")]
    spec: PathBuf,
    /// Say how many runs there are and how long they will take, from steps timed now, and do none
    #[arg(long)]
    plan: bool,
    /// Runs side by side, which share the threads (default: as many as there are threads; one on a card)
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Folder for results.parquet and the runs; finished runs that lie there are not done again
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    json: Json,
}

impl Study {
    /// Runs the command, which was asked for by `invocation`; the exit code is 3 where a loss stopped being finite.
    ///
    /// # Errors
    /// A spec, model or data set that cannot be used; a folder that holds something else.
    pub fn run(self, invocation: Invocation) -> Result<ExitCode> {
        let spec = Spec::read(&self.spec)?;
        let material = Material::open(&spec)?;
        material.idle().for_each(|idle| note!("ascribe: {idle}"));
        note_natural_sources(&spec);
        let device = spec.options.recipe.device;
        let crew = self.crew(device)?;
        let study = crate::study::Study {
            spec: &spec,
            material: &material,
            out: &self.out,
        };
        if self.plan {
            let plan = Plan::of(&study, crew)?;
            self.json.print(
                || plan_object(&spec, &plan, crew),
                || print_plan(&spec, &plan, crew),
            );
            return Ok(ExitCode::SUCCESS);
        }
        // Before the table of an earlier call gives way.
        device.open()?;
        study.check_finished()?;
        let options = self.effective(crew)?;
        let arguments = invocation.arguments.clone();
        let inputs = material.inputs();
        let mut run = RunFolder::open_or_extend(&self.out, "study", invocation, options, inputs)?;
        let earlier = run.record().seconds;
        let runs = material.cells(&spec).len();
        run.note_result("runs", runs)?;
        run.set_result("axes", Axes::of(&spec, &material.totals()))?;
        // Those of an earlier grid.
        let (table, search) = (run.file(RESULTS), run.file(SEARCH));
        remove(&table)?;
        remove(&search)?;
        run.stage("runs")?;
        let follower = Progress::new(&spec, table.clone());
        let (rows, searched) = study.run(crew, &arguments, &follower)?;
        let diverged = rows.iter().filter(|row| row.diverged).count();
        write_results(&table, &rows)?;
        if spec.search.is_some() {
            write_search(&search, &spec, &searched)?;
        }
        run.note_result("judging_runs", searched.len())?;
        run.note_result("rows", rows.len())?;
        run.note_result("diverged", diverged)?;
        let seconds = run.finish()?.seconds;
        let (found, done) = follower.found_and_done();
        let result = || {
            json!({
                "out": shown(&self.out),
                "table": shown(&table),
                "search": spec.search.is_some().then(|| shown(&search)),
                "results": {
                    "runs": runs,
                    "judging_runs": searched.len(),
                    "rows": rows.len(),
                    "diverged": diverged,
                },
                "done": done,
                "finished_before": found,
                "seconds": seconds,
                "seconds_of_this_call": seconds - earlier,
            })
        };
        (self.json).print(result, || say!("{}: {} rows", table.display(), rows.len()));
        if diverged == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        note!(
            "{} stopped because the loss was not finite: lower learning-rate or head-deviation",
            counted(diverged)
        );
        Ok(ExitCode::from(3))
    }
}

impl Study {
    /// Every option with the value it takes effect with, and what the spec was.
    fn effective(&self, crew: Crew) -> Result<Options> {
        Ok(Options::from([
            ("spec".to_owned(), self.spec.display().to_string().into()),
            ("spec-digest".into(), digest_file(&self.spec)?.into()),
            ("jobs".into(), crew.at_once.into()),
            ("out".into(), self.out.display().to_string().into()),
        ]))
    }

    fn crew(&self, device: DeviceChoice) -> Result<Crew> {
        let threads = rayon::current_num_threads();
        let crew = Crew::of(threads, self.jobs, device);
        match self.jobs {
            Some(0) => Err(Error::config("jobs", "expected at least 1, found 0")),
            Some(jobs) if jobs > crew.at_once => {
                note!("ascribe: --jobs {jobs}: {threads} at once, one for each thread");
                Ok(crew)
            }
            _ => Ok(crew),
        }
    }
}

/// Says so where several sources could be the one that others are held against.
fn note_natural_sources(spec: &Spec) {
    let natural = spec.sources.iter().filter(|source| source.epsilon == 0.0);
    let natural: Vec<&str> = natural.map(|source| source.name.as_str()).collect();
    if natural.len() > 1 {
        note!(
            "ascribe: sources {} have epsilon 0; figures hold the others against the first",
            natural.join(", ")
        );
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(reason) if reason.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::io(path, "remove")),
    }
}
