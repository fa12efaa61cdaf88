//! A method with its settings, as options give them.

use super::{Cg, Direct, Ekfac, Identity, Method, Solver};
use candle_core::DType;

/// Everything that decides how systems are solved; what a method does not use is left aside.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The method.
    pub method: Method,
    /// Relative true residual at which iterations stop; 1e-5 in f32 and 1e-10 in f64 where not given.
    pub tolerance: Option<f64>,
    /// Most iterations for a right-hand side.
    pub iterations: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            method: Method::Direct,
            tolerance: None,
            iterations: 1000,
        }
    }
}

impl Settings {
    /// The tolerance in effect.
    pub fn effective_tolerance(&self, precision: DType) -> f64 {
        let usual = if precision == DType::F32 { 1e-5 } else { 1e-10 };
        self.tolerance.unwrap_or(usual)
    }

    /// The solver for operators in `precision`.
    pub fn solver(&self, precision: DType) -> Box<dyn Solver> {
        match self.method {
            Method::Direct => Box::new(Direct),
            Method::Cg => Box::new(Cg {
                tolerance: self.effective_tolerance(precision),
                iterations: self.iterations,
                preconditioned: true,
            }),
            Method::Ekfac => Box::new(Ekfac),
            Method::Identity => Box::new(Identity),
        }
    }
}
