//! What a study says while it is at work, and the table that it leaves meanwhile.

use super::plan::{counted, duration};
use crate::Result;
use crate::study::{Follower, Job, Outcome, Row, Spec, write_results};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long after the table of an unfinished study was written it is written again.
const TABLE_EVERY: Duration = Duration::from_secs(5);

/// One line for each run, and the table of those that are finished.
pub(super) struct Progress<'a> {
    spec: &'a Spec,
    state: Mutex<State>,
    table: PathBuf,
    /// When the table was last written.
    written: Mutex<Option<Instant>>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(spec: &'a Spec, table: PathBuf) -> Self {
        Self {
            spec,
            state: Mutex::default(),
            table,
            written: Mutex::default(),
        }
    }

    /// Runs that were finished before, and those that were done since.
    pub(super) fn found_and_done(&self) -> (usize, usize) {
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
            note!("{} to do, {found} finished before", counted(to_do));
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
            self.spec.describe(job),
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
