//! A method with its settings, as options give them.

use super::cg::UpToRounding;
use super::direct::DirectSettings;
use super::in_range::InRange;
use super::{Arnoldi, Astra, Cg, Ekfac, Identity, Lissa, Method, Pinv, Solver};
use crate::{Result, number_range};
use candle_core::DType;

/// Steps of `arnoldi` for each pair that it is to find, where that is more than its usual steps.
const STEPS_PER_PAIR: usize = 4;

/// Everything that decides how systems are solved; what a method does not use is left aside.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The method.
    pub method: Method,
    /// Relative true residual at which `cg`, `lissa` and `astra` are content, and which `direct` refines to where it is given. Where it
    /// is not, 1e-5 in f32 and 1e-10 in f64, or, for `cg`, what rounding allows; for `astra` 1e-3.
    pub tolerance: Option<f64>,
    /// Most iterations of `cg` for a right-hand side.
    pub iterations: usize,
    /// Eigenpairs that `arnoldi` keeps.
    pub rank: usize,
    /// Share of the largest eigenvalue below which `pinv` drops an eigenpair.
    pub rcond: f64,
    /// What `lissa` divides the curvature by; found where not given.
    pub scale: Option<f64>,
    /// Iterations of `lissa`.
    pub depth: usize,
    /// Runs of `lissa` that are averaged.
    pub repeats: usize,
    /// Images in a batch of `lissa`, all where not given, and of `astra`, 256 where not given.
    pub batch_size: Option<usize>,
    /// Steps of `astra`.
    pub steps: usize,
    /// Step size of `astra`; found where not given.
    pub step_size: Option<f64>,
    /// Draws the batches.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            method: Method::Direct,
            tolerance: None,
            iterations: 1000,
            rank: 50,
            rcond: 5e-2,
            scale: None,
            depth: 5000,
            repeats: 1,
            batch_size: None,
            steps: 200,
            step_size: None,
            seed: 0,
        }
    }
}

impl Settings {
    /// Options that are not as they are by default and that other methods alone take, with these. Tolerance, iterations and seed are
    /// no method's own: the damping path and low ranks take them too.
    pub fn idle(&self) -> Vec<(&'static str, &'static [Method])> {
        use Method::{Arnoldi, Astra, Lissa, Pinv};
        let usual = Self::default();
        let options: [(_, bool, &'static [Method]); 8] = [
            ("rank", self.rank != usual.rank, &[Arnoldi]),
            ("rcond", self.rcond != usual.rcond, &[Pinv]),
            ("scale", self.scale != usual.scale, &[Lissa]),
            ("depth", self.depth != usual.depth, &[Lissa]),
            ("repeats", self.repeats != usual.repeats, &[Lissa]),
            (
                "batch-size",
                self.batch_size != usual.batch_size,
                &[Lissa, Astra],
            ),
            ("steps", self.steps != usual.steps, &[Astra]),
            ("step-size", self.step_size != usual.step_size, &[Astra]),
        ];
        let idle = options
            .into_iter()
            .filter(|(_, given, takers)| *given && !takers.contains(&self.method));
        idle.map(|(option, _, takers)| (option, takers)).collect()
    }

    /// Refuses a tolerance that is none, and a value out of the range of its option where the method takes it.
    ///
    /// # Errors
    /// Names the option.
    pub fn check(&self) -> Result<()> {
        if let Some(tolerance) = self.tolerance {
            number_range::between_zero_and_one("tolerance", tolerance)?;
        }
        let idle = self.idle();
        let is_taken = |option: &str| idle.iter().all(|(idle, _)| *idle != option);
        if is_taken("rcond") {
            number_range::between_zero_and_one("rcond", self.rcond)?;
        }
        let sizes = [("scale", self.scale), ("step-size", self.step_size)];
        for (option, size) in sizes.into_iter().filter(|(option, _)| is_taken(option)) {
            size.map_or(Ok(1.0), |size| number_range::above_zero(option, size))?;
        }
        let counts = [
            ("rank", self.rank),
            ("depth", self.depth),
            ("repeats", self.repeats),
            ("batch-size", self.batch_size.unwrap_or(1)),
            ("steps", self.steps),
        ];
        let mut taken = counts.into_iter().filter(|(option, _)| is_taken(option));
        taken.try_for_each(|(option, count)| number_range::at_least_one(option, count).map(|_| ()))
    }

    /// The tolerance in effect.
    pub fn effective_tolerance(&self, precision: DType) -> f64 {
        let usual = match (self.method, precision) {
            (Method::Astra, _) => Astra::default().tolerance,
            (_, DType::F32) => 1e-5,
            _ => 1e-10,
        };
        self.tolerance.unwrap_or(usual)
    }

    /// The solver for operators in `precision`.
    pub fn solver(&self, precision: DType) -> Box<dyn Solver> {
        let tolerance = self.effective_tolerance(precision);
        let solver: Box<dyn Solver> = match self.method {
            // A plan resolves `auto` before it comes to solving; where none did, a factor is the safe choice.
            Method::Direct | Method::Auto => Box::new(DirectSettings {
                tolerance: self.tolerance,
                many: true,
            }),
            Method::Cg => {
                let cg = Cg {
                    tolerance,
                    iterations: self.iterations,
                    preconditioned: true,
                };
                match self.tolerance {
                    Some(_) => Box::new(cg),
                    None => Box::new(UpToRounding(cg)),
                }
            }
            Method::Ekfac => Box::new(Ekfac),
            Method::Identity => Box::new(Identity),
            Method::Lissa => Box::new(Lissa {
                scale: self.scale,
                depth: self.depth,
                repeats: self.repeats,
                batch: self.batch_size,
                tolerance,
                seed: self.seed,
            }),
            Method::Astra => Box::new(Astra {
                steps: self.steps,
                batch: self.batch_size.unwrap_or(Astra::default().batch),
                step_size: self.step_size,
                tolerance,
                seed: self.seed,
            }),
            Method::Arnoldi => Box::new(self.arnoldi()),
            Method::Pinv => Box::new(Pinv { rcond: self.rcond }),
        };
        Box::new(InRange(solver))
    }

    fn arnoldi(&self) -> Arnoldi {
        let usual = Arnoldi::default();
        Arnoldi {
            rank: self.rank,
            steps: usual.steps.max(STEPS_PER_PAIR.saturating_mul(self.rank)),
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{head_hessian, waves};
    use super::*;
    use crate::operator::Damped;
    use crate::solve::Outcome;

    fn settings(method: Method) -> Settings {
        Settings {
            method,
            ..Settings::default()
        }
    }

    /// Also where it asks for more pairs than the usual ones can give.
    #[test]
    fn arnoldi_takes_the_steps_that_its_rank_needs() {
        for (rank, least) in [(50, 500), (501, 1002), (usize::MAX, usize::MAX)] {
            let settings = Settings {
                rank,
                ..settings(Method::Arnoldi)
            };
            assert!(settings.arnoldi().steps >= least, "{rank}");
        }
    }

    #[test]
    fn astra_meets_its_usual_tolerance_in_its_usual_steps() {
        for dtype in [DType::F32, DType::F64] {
            let hessian = head_hessian(dtype);
            let damped = Damped::new(&hessian, 0.3).unwrap();
            let block = waves(3, 12).to_dtype(dtype).unwrap();
            let inverse = settings(Method::Astra).solver(dtype);
            let solution = inverse.prepare(&damped).unwrap().solve(&block).unwrap();
            for report in solution.reports {
                assert_eq!(report.outcome, Outcome::Converged, "{report:?}");
            }
        }
    }

    /// As far as f32 goes, which is not so far.
    #[test]
    fn a_tolerance_is_one_for_direct_too() {
        let hessian = head_hessian(DType::F32);
        let damped = Damped::new(&hessian, 1e-3).unwrap();
        let block = waves(3, 12).to_dtype(DType::F32).unwrap();
        for (tolerance, expected) in [(None, Outcome::Direct), (Some(1e-12), Outcome::Stalled)] {
            let solver = Settings {
                tolerance,
                ..settings(Method::Direct)
            };
            let inverse = solver.solver(DType::F32);
            let solution = inverse.prepare(&damped).unwrap().solve(&block).unwrap();
            for report in solution.reports {
                assert_eq!(report.outcome, expected, "{report:?}");
            }
        }
    }

    #[test]
    fn options_of_other_methods_are_known() {
        let idle = |method: Method| {
            let settings = Settings {
                depth: 10,
                steps: 3,
                rcond: 0.1,
                ..settings(method)
            };
            settings
                .idle()
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(idle(Method::Lissa), ["rcond", "steps"]);
        assert_eq!(idle(Method::Pinv), ["depth", "steps"]);
        assert_eq!(idle(Method::Cg), ["rcond", "depth", "steps"]);
        assert!(Settings::default().idle().is_empty());
    }
}
