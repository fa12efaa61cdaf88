//! A step of stochastic gradient descent, one pass over a parameter.

use super::{constant, for_cuda_dtype, kernel, launch, over, unwritten, with_view};
use candle_core::{Result, Tensor};

/// The numbers of a step, as in [`crate::train::Sgd`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descent {
    /// The L2 term.
    pub l2: f64,
    /// Momentum.
    pub momentum: f64,
    /// The learning rate.
    pub rate: f64,
}

/// The parameter and its velocity after a step along `gradient`; a parameter at rest has no velocity yet.
pub(crate) fn descend(
    parameter: &Tensor,
    velocity: Option<&Tensor>,
    gradient: &Tensor,
    Descent { l2, momentum, rate }: Descent,
) -> Result<(Tensor, Tensor)> {
    let moving = u32::from(velocity.is_some());
    let velocity = velocity.unwrap_or(gradient);
    for_cuda_dtype!(parameter.dtype(), T => {
        with_view(parameter, |theta| with_view(velocity, |velocity| with_view(gradient, |gradient| {
            let device = theta.device();
            let (grid, count) = over(theta.count(), 1)?;
            let [mut moved, mut new_velocity] =
                [unwritten::<T>(device, theta.count())?, unwritten::<T>(device, theta.count())?];
            launch!(
                kernel::<T>(device, "descend")?, grid,
                &theta.elements::<T>()?, &velocity.elements::<T>()?, &gradient.elements::<T>()?, &mut moved, &mut new_velocity,
                &l2, &momentum, &rate, &moving, &count
            );
            Ok((constant(moved, device, parameter.shape()), constant(new_velocity, device, parameter.shape())))
        })))
    })
}
