//! `ascribe study`: a grid of transfers from a spec.

use super::output::{Json, shown};
use crate::artefact::{Invocation, Options, RunFolder, digest_file};
use crate::device::DeviceChoice;
use crate::study::{
    Axes, Follower, Job, Material, Outcome, Plan, RESULTS, Row, SEARCH, Spec, Timing,
    write_results, write_search,
};
use crate::train::Crew;
use crate::{Error, Result};
use clap::Args;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long after the table of an unfinished study was written it is written again.
const TABLE_EVERY: Duration = Duration::from_secs(5);

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
        let natural = spec.sources.iter().filter(|source| source.epsilon == 0.0);
        let natural: Vec<&str> = natural.map(|source| source.name.as_str()).collect();
        if natural.len() > 1 {
            note!(
                "ascribe: sources {} have epsilon 0; figures hold the others against the first",
                natural.join(", ")
            );
        }
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
        let options = Options::from([
            ("spec".to_owned(), self.spec.display().to_string().into()),
            ("spec-digest".into(), digest_file(&self.spec)?.into()),
            ("jobs".into(), crew.at_once.into()),
            ("out".into(), self.out.display().to_string().into()),
        ]);
        let arguments = invocation.arguments.clone();
        let inputs = material.inputs();
        let mut run = RunFolder::open_or_extend(&self.out, "study", invocation, options, inputs)?;
        let runs = material.cells(&spec).len();
        run.set_result("runs", runs)?;
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
        run.set_result("judging_runs", searched.len())?;
        run.set_result("rows", rows.len())?;
        run.set_result("diverged", diverged)?;
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
            })
        };
        (self.json).print(result, || say!("{}: {} rows", table.display(), rows.len()));
        if diverged == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        note!(
            "{diverged} runs stopped because their loss was not finite: lower learning-rate or head-deviation"
        );
        Ok(ExitCode::from(3))
    }
}

impl Study {
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

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(reason) if reason.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::io(path, "remove")),
    }
}

fn plan_object(spec: &Spec, plan: &Plan, crew: Crew) -> Value {
    let timing = |((source, blocks), timing): (&(usize, String), &Timing)| {
        json!({
            "source": spec.sources[*source].name,
            "blocks": blocks,
            "seconds_an_image_trained_on": timing.training,
            "seconds_an_image_measured": timing.testing,
        })
    };
    json!({
        "runs": plan.measured,
        "judging_runs": plan.judging,
        "finished": plan.finished,
        "to_do": plan.left(),
        "timings": plan.timings.iter().map(timing).collect::<Vec<_>>(),
        "at_once": crew.at_once,
        "seconds": plan.seconds,
    })
}

fn print_plan(spec: &Spec, plan: &Plan, crew: Crew) {
    say!(
        "{} runs: {} sources, {} target sets, {} numbers of images, {} of blocks, {} of epochs, up to {} seeds",
        plan.measured,
        spec.sources.len(),
        spec.targets.len(),
        spec.images.len(),
        spec.blocks.len(),
        spec.epochs.len(),
        spec.seeds.len()
    );
    if let Some(search) = &spec.search {
        say!(
            "{} more that judge {} candidates of the search",
            plan.judging,
            search.candidates.len()
        );
    }
    say!("{} finished, {} to do", plan.finished, plan.left());
    for ((source, blocks), timing) in &plan.timings {
        say!(
            "{}, blocks {blocks}: {:.2} ms an image trained on, {:.2} ms an image measured",
            spec.sources[*source].name,
            1e3 * timing.training,
            1e3 * timing.testing
        );
    }
    if plan.left() > 0 {
        say!(
            "about {} with {} runs at a time",
            duration(plan.seconds),
            crew.at_once
        );
    }
}

/// In words, to two figures or so.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// One line for each run, and the table of those that are finished.
struct Progress<'a> {
    spec: &'a Spec,
    state: Mutex<State>,
    table: PathBuf,
    /// When the table was last written.
    written: Mutex<Option<Instant>>,
}

impl<'a> Progress<'a> {
    fn new(spec: &'a Spec, table: PathBuf) -> Self {
        Self {
            spec,
            state: Mutex::default(),
            table,
            written: Mutex::default(),
        }
    }

    /// Runs that were finished before, and those that were done since.
    fn found_and_done(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.found, state.done_before + state.done)
    }
}

struct State {
    began: Instant,
    to_do: usize,
    done: usize,
    /// Those of the search count too.
    found: usize,
    /// In the search, while the runs after it are done.
    done_before: usize,
    cost: f64,
    cost_done: f64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            to_do: 0,
            done: 0,
            found: 0,
            done_before: 0,
            cost: 0.0,
            cost_done: 0.0,
        }
    }
}

impl Follower for Progress<'_> {
    fn begin(&self, to_do: usize, found: usize, cost: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State {
            to_do,
            cost,
            found: state.found + found,
            done_before: state.done_before + state.done,
            ..State::default()
        };
        if to_do + found > 0 {
            note!("{to_do} runs to do, {found} finished before");
        }
    }

    fn finished(&self, job: &Job, outcome: &Outcome, cost: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done += 1;
        state.cost_done += cost;
        let elapsed = state.began.elapsed().as_secs_f64();
        let left = elapsed * (state.cost - state.cost_done) / state.cost_done.max(1.0);
        let found = match (&outcome.diverged, outcome.history.last()) {
            (Some(place), _) => format!("loss not finite at {place}"),
            (None, Some(last)) => {
                let images = if job.candidate.is_some() {
                    "validation"
                } else {
                    "test"
                };
                let accuracy = 100.0 * last.test_accuracy.unwrap_or(f64::NAN);
                format!("{images} accuracy {accuracy:.2} %")
            }
            (None, None) => String::new(),
        };
        note!(
            "{}/{} {}: {found}; {:.1} s; about {} left",
            state.done,
            state.to_do,
            self.spec.describe(&job.cell),
            outcome.seconds,
            duration(left)
        );
    }

    /// Figures of a study that is at work are drawn from what is there.
    fn grown(&self, rows: &dyn Fn() -> Vec<Row>) -> Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.is_some_and(|before| before.elapsed() < TABLE_EVERY) {
            return Ok(());
        }
        let rows = rows();
        if rows.is_empty() {
            return Ok(());
        }
        write_results(&self.table, &rows)?;
        *written = Some(Instant::now());
        Ok(())
    }
}
