//! From options as typed to those of the job, and its plan.

use super::damping::Training;
use super::workplace::Workplace;
use super::{Material, Rank};
use crate::device::free_memory;
use crate::influence::{Groups, PathOptions, Plan, ProblemSize, RankOptions};
use crate::solve::{Method, Pinv, Settings};
use crate::{Error, Result};
use candle_core::DType;
use std::time::Duration;

/// Times what rounding takes for an eigenvalue, where one is known well (measured in f32: scores off by 5e-4 there, by 0.1 at a tenth).
const NEAR_ROUNDING: f64 = 10.0;

impl Rank {
    /// Predicts the run, and settles method and blocks in the options.
    pub(super) fn plan(
        &self,
        material: &Material,
        options: &mut RankOptions,
        memory: Option<f64>,
        workplace: &Workplace,
    ) -> Result<Plan> {
        let size = ProblemSize {
            train: material.train.ids.len(),
            test: material.test.ids.len(),
            features: material.train.features.columns(),
            classes: material.class_count,
            train_queries: options.train_queries,
            normalise: options.normalise,
            correction: options.correction,
            kept: (options.top.max(options.certify.unwrap_or(0))).saturating_add(options.bottom),
            train_groups: options.train_groups.as_ref().map_or(0, Groups::count),
            certified: options.certify.is_some(),
            path_queries: options.damping_path.map(|path| path.queries),
            mapped_train: material.train.features.is_mapped(),
            mapped_test: material.test.features.is_mapped(),
            double: options.precision == DType::F64,
            device_memory: free_memory(&workplace.device)?,
        };
        let rate = (workplace.choice, workplace.rate);
        let (plan, blocks) = size.plan(options.solver.method, memory, rate)?;
        options.solver.method = plan.method;
        options.blocks = Some(blocks);
        if let Some(path) = &mut options.damping_path {
            path.room = size.room(plan.method, memory);
        }
        Ok(plan)
    }

    pub(super) fn rank_options(&self, training: Training) -> Result<RankOptions> {
        let damping = self.effective_damping(training)?;
        if self.top.max(self.certify.unwrap_or(0)) == 0 && self.bottom == 0 && !self.scores {
            let reason = match self.groups_only {
                true => "0 keeps nothing; give a number of images, or --bottom",
                false => "0 keeps nothing; give a number of images, --bottom or --scores",
            };
            return Err(Error::config("top", reason));
        }
        Ok(RankOptions {
            l2: training.l2,
            damping,
            solver: self.solver_settings(),
            certify: self.certify,
            normalise: self.normalise,
            correction: self.correction,
            query_groups: self.query_groups.clone(),
            train_groups: None,
            damping_path: self.damping_path.then(|| PathOptions {
                queries: self.path_queries,
                ..PathOptions::default()
            }),
            precision: self.precision.dtype(),
            top: self.top,
            bottom: self.bottom,
            scores: self.scores,
            train_queries: !self.skip_train,
            blocks: None,
            record_every: Duration::try_from_secs_f64(self.record_every).map_err(|_| {
                let reason = format!(
                    "expected seconds, 0 or more, found {}; leave it out for 5",
                    self.record_every
                );
                Error::config("record-every", reason)
            })?,
        })
    }

    fn solver_settings(&self) -> Settings {
        Settings {
            method: self.solver,
            tolerance: self.tolerance.or(self.usual_tolerance()),
            iterations: self.iterations,
            rank: self.rank,
            rcond: self.rcond,
            scale: self.scale,
            depth: self.depth,
            repeats: self.repeats,
            batch_size: self.batch_size,
            steps: self.steps,
            step_size: self.step_size,
            seed: self.seed,
        }
    }

    /// Says which of the options given have no effect, as those for other solvers, which `ascribe evaluate --compare` takes from the
    /// run.
    pub(super) fn note_idle_options(&self) {
        for (option, takers) in self.solver_settings().idle() {
            let takers: Vec<String> = takers.iter().map(ToString::to_string).collect();
            let takers = takers.join(", ");
            note!(
                "ascribe: --{option} is for --solver {takers}; this ranking does not depend on it"
            );
        }
        for (option, idle) in [
            (
                "damping",
                !self.solver.is_damped() && self.damping.is_some(),
            ),
            (
                "tolerance",
                self.solver.is_approximation() && self.tolerance.is_some(),
            ),
        ] {
            if idle {
                let solver = self.solver;
                note!(
                    "ascribe: --solver {solver} takes no --{option}; this ranking does not depend on it"
                );
            }
        }
        self.note_rcond_below_rounding();
    }

    fn note_rcond_below_rounding(&self) {
        let (rcond, precision) = (self.rcond, self.precision.dtype());
        let least = Pinv { rcond: 0.0 }.effective_rcond(precision);
        if self.solver != Method::Pinv || rcond <= 0.0 || rcond >= NEAR_ROUNDING * least {
            return;
        }
        let what = match rcond < least {
            true => format!(
                "eigenvalues below {least:.1e} of the largest are not told from rounding and are dropped"
            ),
            false => "the smallest eigenvalues that are kept are known to a digit or two, and so are scores"
                .into(),
        };
        let finer = match precision {
            DType::F32 => "; --precision f64 knows smaller ones",
            _ => "",
        };
        note!("ascribe: --rcond {rcond:e}: {what}{finer}");
    }

    /// Where it is not that of the solver: products through blocks are dear, and 1e-3 changes no ranking to speak of.
    fn usual_tolerance(&self) -> Option<f64> {
        (!self.is_of_head()).then_some(1e-3)
    }
}
