//! A method with its settings, as options give them.

use super::at_rounding::AtRounding;
use super::in_range::InRange;
use super::{Arnoldi, Astra, Cg, Direct, Ekfac, Identity, Lissa, Method, Pinv, Solver};
use crate::{Result, number_range};
use candle_core::DType;

/// Everything that decides how systems are solved; what a method does not use is left aside.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The method.
    pub method: Method,
    /// Relative true residual at which `cg`, `lissa` and `astra` are content; 1e-5 in f32 and 1e-10 in f64 where not
    /// given, or, for `cg`, what rounding allows.
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
        let usual = if precision == DType::F32 { 1e-5 } else { 1e-10 };
        self.tolerance.unwrap_or(usual)
    }

    /// The solver for operators in `precision`.
    pub fn solver(&self, precision: DType) -> Box<dyn Solver> {
        let tolerance = self.effective_tolerance(precision);
        let solver: Box<dyn Solver> = match self.method {
            // A plan resolves `auto` before it comes to solving; where none did, a factor is the safe choice.
            Method::Direct | Method::Auto => Box::new(Direct),
            Method::Cg => Box::new(Cg {
                tolerance,
                iterations: self.iterations,
                preconditioned: true,
            }),
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
            Method::Arnoldi => Box::new(Arnoldi {
                rank: self.rank,
                ..Arnoldi::default()
            }),
            Method::Pinv => Box::new(Pinv { rcond: self.rcond }),
        };
        let solver = Box::new(InRange(solver));
        match self.tolerance {
            Some(_) => solver,
            None => Box::new(AtRounding(solver)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_other_methods_are_known() {
        let idle = |method: Method| {
            let settings = Settings {
                method,
                depth: 10,
                steps: 3,
                rcond: 0.1,
                ..Settings::default()
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
