//! A product with a constant: what a rectifier does to a tangent.
//!
//! Candle's own product has a gradient for both factors, constants or not: one more pass over the memory, and an activation
//! kept until the end of the backward pass. Here the second factor has none.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, Result, Shape, Tensor, bail, op};

/// `x · open` elementwise for two tensors of one shape; differentiable in `x` alone.
pub(super) fn gate(x: &Tensor, open: &Tensor) -> Result<Tensor> {
    if x.dims() != open.dims() {
        bail!("gate: shapes {:?} and {:?} differ", x.dims(), open.dims());
    }
    x.apply_op2(open, Gate)
}

struct Gate;

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        open: &CpuStorage,
        open_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let product = x.binary_impl::<op::Mul>(open, x_layout, open_layout)?;
        Ok((product, x_layout.shape().clone()))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        open: &CudaStorage,
        open_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let product = x.binary_impl::<op::Mul>(open, x_layout, open_layout)?;
        Ok((product, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        open: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some((gradient * open)?), None))
    }
}
