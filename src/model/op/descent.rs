//! A step of stochastic gradient descent on the processor, in place: `v ← momentum·v + (g + l2·θ)`, then `θ ← θ − rate·v`.

use super::planewise::CHUNK;
use super::{Element, elements, for_dtype};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, WithDType, bail};
use rayon::prelude::*;

/// Takes the step `v ← momentum·v + (g + l2·θ)`: `velocity` changes in place, and whoever shares its storage sees it.
///
/// # Errors
/// Where shapes or dtypes differ.
pub(crate) fn accelerate(
    velocity: &Tensor,
    gradient: &Tensor,
    parameter: &Tensor,
    (momentum, l2): (f64, f64),
) -> Result<()> {
    let (gradient, parameter) = (gradient.contiguous()?, parameter.contiguous()?);
    velocity.inplace_op3(&gradient, &parameter, &Accelerate { momentum, l2 })
}

/// Takes the step `θ ← θ − rate·v`: `parameter` changes in place.
///
/// # Errors
/// Where shapes or dtypes differ.
pub(crate) fn advance(parameter: &Tensor, velocity: &Tensor, rate: f64) -> Result<()> {
    parameter.inplace_op2(&velocity.contiguous()?, &Advance { rate })
}

struct Accelerate {
    momentum: f64,
    l2: f64,
}

struct Advance {
    rate: f64,
}

/// The elements of a contiguous storage, to change.
fn elements_mut<'a, T: Element>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!(
            "a step in place needs a contiguous tensor, got strides {:?}",
            layout.stride()
        );
    };
    T::of_storage(storage).map_or_else(
        || bail!("a step in place: dtypes differ"),
        |values| Ok(&mut values[start..end]),
    )
}

impl InplaceOp3 for Accelerate {
    fn name(&self) -> &'static str {
        "velocity"
    }

    fn cpu_fwd(
        &self,
        velocity: &mut CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
        parameter: &CpuStorage,
        parameter_layout: &Layout,
    ) -> Result<()> {
        for_dtype!(velocity.dtype(), InplaceOp3::name(self), T => {
            let velocity = elements_mut::<T>(velocity, layout)?;
            let gradient = elements::<T>(gradient, gradient_layout)?;
            let parameter = elements::<T>(parameter, parameter_layout)?;
            if gradient.len() != velocity.len() || parameter.len() != velocity.len() {
                bail!("{}: lengths differ", InplaceOp3::name(self));
            }
            let [momentum, l2] = [self.momentum, self.l2].map(T::from_f64);
            velocity
                .par_chunks_mut(CHUNK)
                .zip(gradient.par_chunks(CHUNK).zip(parameter.par_chunks(CHUNK)))
                .for_each(|(velocity, (gradient, parameter))| {
                    for ((v, &g), &theta) in velocity.iter_mut().zip(gradient).zip(parameter) {
                        *v = momentum * *v + (g + l2 * theta);
                    }
                });
            Ok(())
        })
    }
}

impl InplaceOp2 for Advance {
    fn name(&self) -> &'static str {
        "descent"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        layout: &Layout,
        velocity: &CpuStorage,
        velocity_layout: &Layout,
    ) -> Result<()> {
        for_dtype!(parameter.dtype(), InplaceOp2::name(self), T => {
            let parameter = elements_mut::<T>(parameter, layout)?;
            let velocity = elements::<T>(velocity, velocity_layout)?;
            if parameter.len() != velocity.len() {
                bail!("{}: lengths differ", InplaceOp2::name(self));
            }
            let rate = T::from_f64(self.rate);
            parameter
                .par_chunks_mut(CHUNK)
                .zip(velocity.par_chunks(CHUNK))
                .for_each(|(parameter, velocity)| {
                    for (theta, &v) in parameter.iter_mut().zip(velocity) {
                        *theta -= rate * v;
                    }
                });
            Ok(())
        })
    }
}
