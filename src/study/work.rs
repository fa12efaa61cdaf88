//! All runs of a study, side by side: each with its own threads, so that small ones keep every core busy.
//!
//! A run's result does not depend on threads, so neither does the table on how many ran at once.

use super::finished::finished;
use super::material::Images;
use super::run::Bench;
use super::search::Found;
use super::{Job, Material, Outcome, Row, SearchRow, Spec};
use crate::Result;
use crate::train::Crew;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Follows a study from outside.
pub trait Follower: Sync {
    /// So many runs are to be done, so many were found finished; costs in image passes.
    fn begin(&self, to_do: usize, found: usize, cost: f64);
    /// A run came to its end; `cost` is its part of that of all.
    fn finished(&self, job: &Job, outcome: &Outcome, cost: f64);
    /// The table, which `rows` makes, has its first runs, or one more.
    ///
    /// # Errors
    /// What the follower cannot do with it.
    fn grown(&self, rows: &dyn Fn() -> Vec<Row>) -> Result<()>;
}

/// The runs that cells come to, each once.
pub(super) fn once(mut jobs: Vec<Job>) -> Vec<Job> {
    let mut seen = BTreeSet::new();
    jobs.retain(|job| seen.insert(job.digest.clone()));
    jobs
}

/// A spec, its material, and where its runs lie.
#[derive(Debug)]
pub struct Study<'a> {
    /// The grid.
    pub spec: &'a Spec,
    /// What it is about.
    pub material: &'a Material,
    /// Its folder.
    pub out: &'a Path,
}

impl Study<'_> {
    /// The runs that judge candidates; none without a search.
    ///
    /// # Errors
    /// A value of the search that no option takes.
    pub fn judging(&self) -> Result<Vec<Job>> {
        let Some(search) = &self.spec.search else {
            return Ok(Vec::new());
        };
        let cells = self.material.cells(self.spec);
        let jobs = cells.iter().flat_map(|cell| {
            let job =
                move |(at, options)| Job::new((self.spec, self.material), cell, options, Some(at));
            search.candidates.iter().enumerate().map(job)
        });
        jobs.collect()
    }

    /// The runs whose test accuracy goes into the table, with the options found.
    fn measured(&self, found: &Found) -> Result<Vec<Job>> {
        let cells = self.material.cells(self.spec);
        let job = |cell| {
            let options = found.options(self.spec, cell);
            Job::new((self.spec, self.material), cell, &options, None)
        };
        cells.iter().map(job).collect()
    }

    /// The same as far as they are known before the search: with the recipe's own options.
    ///
    /// # Errors
    /// As [`Study::judging`].
    pub fn measured_as_written(&self) -> Result<Vec<Job>> {
        let cells = self.material.cells(self.spec);
        let pair = (self.spec, self.material);
        (cells.iter())
            .map(|cell| Job::new(pair, cell, &BTreeMap::new(), None))
            .collect()
    }

    /// Those of `jobs` that are still to be done, each run once.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn to_do(&self, jobs: Vec<Job>) -> Result<Vec<Job>> {
        let mut left = Vec::new();
        for job in once(jobs) {
            if finished(self.out, &job, self.spec.keep_models)?.is_none() {
                left.push(job);
            }
        }
        Ok(left)
    }

    /// Refuses finished runs that are not as they were left, before anything is done.
    ///
    /// # Errors
    /// As for [`Study::to_do`].
    pub fn check_finished(&self) -> Result<()> {
        let written = [self.judging()?, self.measured_as_written()?];
        self.to_do(written.concat()).map(drop)
    }

    /// Does what is not done, and returns the tables. `arguments` are what was typed.
    ///
    /// # Errors
    /// The first error of a run; those at work beside it come to their end, and what is finished stays so.
    pub fn run(
        &self,
        crew: Crew,
        arguments: &[String],
        follower: &dyn Follower,
    ) -> Result<(Vec<Row>, Vec<SearchRow>)> {
        let judging = self.judging()?;
        let judged = self.run_all(judging, crew, arguments, follower)?;
        let found = Found::of(self.spec, judged);
        let measured = self.run_all(self.measured(&found)?, crew, arguments, follower)?;
        let (jobs, outcomes): (Vec<Job>, Vec<_>) = (measured.into_iter())
            .map(|(job, outcome)| (job, Some(outcome)))
            .unzip();
        Ok((self.rows(&jobs, &outcomes), found.rows))
    }

    /// The table, of those that have come to their end.
    fn rows(&self, jobs: &[Job], outcomes: &[Option<Outcome>]) -> Vec<Row> {
        let rows = |(job, outcome): (&Job, &Option<Outcome>)| {
            let rows = |outcome| Row::of((self.spec, self.material), job, outcome);
            outcome.as_ref().map(rows).unwrap_or_default()
        };
        jobs.iter().zip(outcomes).flat_map(rows).collect()
    }

    fn run_all(
        &self,
        jobs: Vec<Job>,
        crew: Crew,
        arguments: &[String],
        follower: &dyn Follower,
    ) -> Result<Vec<(Job, Outcome)>> {
        let known = jobs
            .iter()
            .map(|job| finished(self.out, job, self.spec.keep_models));
        let outcomes = known.collect::<Result<Vec<Option<Outcome>>>>()?;
        let costs = jobs.iter().map(|job| job.cost(self.test_images(job)));
        let costs: Vec<f64> = costs.collect();
        let seed =
            |at: usize| (self.spec.seeds.iter()).position(|seed| *seed == jobs[at].cell.seed);
        // Cells may come to the same run, as where two names stand for one set; it is done once.
        let mut seen = BTreeSet::new();
        let mut left: Vec<usize> = (0..jobs.len())
            .filter(|&at| outcomes[at].is_none() && seen.insert(&jobs[at].digest))
            .collect();
        // Long ones first, so that none is left alone at the end.
        left.sort_by(|&a, &b| seed(a).cmp(&seed(b)).then(costs[b].total_cmp(&costs[a])));
        let total = left.iter().map(|&at| costs[at]).sum();
        let runs: BTreeSet<&String> = jobs.iter().map(|job| &job.digest).collect();
        follower.begin(left.len(), runs.len() - left.len(), total);
        // Half is for what frozen layers give, of all runs that are under way.
        let images = self.material.decode(
            left.iter().map(|&at| &jobs[at].cell),
            self.spec.options.recipe.memory_bytes() / 2,
        )?;
        let bench = self.bench(&images, crew, arguments);
        self.tell_of_table(&jobs, &outcomes, follower)?;
        let outcomes = Mutex::new(outcomes);
        crew.each(left.len(), &|turn| {
            let at = left[turn];
            let outcome = bench.run(&jobs[at])?;
            follower.finished(&jobs[at], &outcome, costs[at]);
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            for (job, known) in jobs.iter().zip(outcomes.iter_mut()) {
                if job.digest == jobs[at].digest {
                    *known = Some(outcome.clone());
                }
            }
            self.tell_of_table(&jobs, &outcomes, follower)
        })?;
        let outcomes = outcomes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(jobs
            .into_iter()
            .zip(outcomes.into_iter().flatten())
            .collect())
    }

    /// Candidates do not come into the table.
    fn tell_of_table(
        &self,
        jobs: &[Job],
        outcomes: &[Option<Outcome>],
        follower: &dyn Follower,
    ) -> Result<()> {
        match jobs.first() {
            Some(job) if job.candidate.is_none() => follower.grown(&|| self.rows(jobs, outcomes)),
            _ => Ok(()),
        }
    }

    fn bench<'b>(&'b self, images: &'b Images, crew: Crew, arguments: &'b [String]) -> Bench<'b> {
        Bench {
            crew,
            spec: self.spec,
            material: self.material,
            images,
            out: self.out,
            arguments,
        }
    }

    /// How many images a run is measured on.
    pub(super) fn test_images(&self, job: &Job) -> usize {
        match (&self.spec.search, job.candidate) {
            (Some(search), Some(_)) => (job.cell.images as f64 * search.validation) as usize,
            _ => self.material.targets[job.cell.target].test_ids.len(),
        }
    }
}
