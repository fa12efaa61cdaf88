//! Newton's method for the head: the exact minimiser of mean(ℓ) + l2/2·‖θ‖², which is strictly convex for l2 > 0.
//!
//! Each step solves H s = ∇ by Cholesky for small heads and by conjugate gradients for large ones, then halves s until
//! the objective falls enough (Armijo; Nocedal & Wright 2006, algorithm 3.1).

use super::{Cg, Direct, Inverse, Solver};
use crate::derivative::head::{HeadInputs, SoftmaxHead};
use crate::operator::{HeadHessian, LinearOperator, Vectors};
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// Heads of more parameters than this are fitted with conjugate gradients.
const DIRECT_UP_TO: usize = 4096;
/// The share of the predicted decrease that a step must reach.
const SUFFICIENT: f64 = 1e-4;

/// How a head is fitted.
#[derive(Debug, Clone, Copy)]
pub struct Newton {
    /// l2 > 0 of the objective.
    pub l2: f64,
    /// Stop where ‖∇‖ is at most this, or this share of the gradient at θ = 0 where that is larger than 1.
    pub gradient_norm: f64,
    /// Most steps.
    pub steps: usize,
}

impl Newton {
    /// Fits to a gradient norm of 1e-10.
    pub fn new(l2: f64) -> Self {
        Self {
            l2,
            gradient_norm: 1e-10,
            steps: 100,
        }
    }
}

/// A fitted head.
#[derive(Debug)]
pub struct Fit {
    /// The minimiser.
    pub head: SoftmaxHead,
    /// ‖∇‖ there.
    pub gradient_norm: f64,
    /// Newton steps taken.
    pub steps: usize,
}

impl Newton {
    /// The head that minimises the objective over `inputs`, which must be f64, starting at `start`.
    ///
    /// # Errors
    /// l2 ≤ 0, inputs that do not fit, or no convergence within the steps allowed.
    pub fn fit(&self, inputs: &HeadInputs, start: SoftmaxHead) -> Result<Fit> {
        self.check(inputs)?;
        let zero = SoftmaxHead::zeros(
            start.class_count(),
            start.feature_count(),
            DType::F64,
            inputs.rows().device(),
        )?;
        let tolerance = self.gradient_norm * norm(&zero.objective(inputs, self.l2)?.1)?.max(1.0);
        let mut head = start;
        for steps in 0..=self.steps {
            let (value, gradient) = head.objective(inputs, self.l2)?;
            let gradient_norm = norm(&gradient)?;
            if gradient_norm <= tolerance {
                return Ok(Fit {
                    head,
                    gradient_norm,
                    steps,
                });
            }
            let step = self.step(&head, inputs, &gradient)?;
            head = self.search(&head, inputs, value, &gradient, &step)?;
        }
        Err(Error::config(
            "l2",
            format!(
                "{} is too small: the head did not converge in {} Newton steps; raise it",
                self.l2, self.steps
            ),
        ))
    }

    /// One step more, taken where it lowers the gradient norm: what is left then is rounding.
    ///
    /// # Errors
    /// As for [`Newton::fit`].
    pub(crate) fn polished(&self, inputs: &HeadInputs, fit: Fit) -> Result<Fit> {
        let (value, gradient) = fit.head.objective(inputs, self.l2)?;
        let step = self.step(&fit.head, inputs, &gradient)?;
        let head = self.search(&fit.head, inputs, value, &gradient, &step)?;
        let gradient_norm = norm(&head.objective(inputs, self.l2)?.1)?;
        let further = Fit {
            head,
            gradient_norm,
            steps: fit.steps + 1,
        };
        Ok(if gradient_norm < fit.gradient_norm {
            further
        } else {
            fit
        })
    }

    fn check(&self, inputs: &HeadInputs) -> Result<()> {
        if !(self.l2.is_finite() && self.l2 > 0.0) {
            return Err(Error::config(
                "l2",
                format!(
                    "{} is not positive, so that no best head exists; give one",
                    self.l2
                ),
            ));
        }
        if inputs.rows().dtype() != DType::F64 {
            return Err(Error::mismatch(
                "inputs of the head fit",
                "f64",
                format!("{:?}", inputs.rows().dtype()),
                "convert them",
            ));
        }
        Ok(())
    }

    /// H⁻¹∇, `[C, d + 1]`.
    fn step(&self, head: &SoftmaxHead, inputs: &HeadInputs, gradient: &Tensor) -> Result<Tensor> {
        let hessian = HeadHessian::new(head, inputs, self.l2)?;
        let right_hand_side = Vectors::new(gradient.reshape((1, hessian.size()))?)?;
        let inverse: Box<dyn Inverse> = if hessian.size() <= DIRECT_UP_TO {
            Direct
                .prepare(&hessian)
                .map_err(|error| self.without_factor(error))?
        } else {
            // A loose solve far from the minimum, a tight one near it (inexact Newton).
            let tolerance = norm(gradient)?.sqrt().clamp(1e-6, 1e-2);
            Cg {
                tolerance,
                iterations: 1000,
                preconditioned: false,
            }
            .prepare(&hessian)?
        };
        Ok(inverse
            .solve(&right_hand_side)?
            .value
            .tensor()
            .reshape(gradient.shape())?)
    }

    /// The fit has no damping: what is missing is L2, or features of a size that it counts beside.
    fn without_factor(&self, error: Error) -> Error {
        match error {
            Error::NoFactor(_) => Error::config(
                "l2",
                format!(
                    "{} is too small beside features of this size: the Hessian of the head's loss has no Cholesky factor; scale the features to about 1, or raise it",
                    self.l2
                ),
            ),
            other => other,
        }
    }

    fn search(
        &self,
        head: &SoftmaxHead,
        inputs: &HeadInputs,
        value: f64,
        gradient: &Tensor,
        step: &Tensor,
    ) -> Result<SoftmaxHead> {
        let slope = (gradient * step)?.sum_all()?.to_scalar::<f64>()?;
        // Near the minimum the decrease is lost in rounding; there the full step is the right one.
        let rounding = 8.0 * f64::EPSILON * value.abs();
        let mut length = 1.0;
        loop {
            let next = SoftmaxHead::from_parameters(&(head.parameters() - (step * length)?)?)?;
            let reached = next.objective(inputs, self.l2)?.0;
            if reached <= value - SUFFICIENT * length * slope + rounding || length < 1e-10 {
                return Ok(next);
            }
            length *= 0.5;
        }
    }
}

fn norm(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt())
}
