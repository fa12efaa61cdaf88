//! Softmax cross-entropy and its way back, two launches (`cross_entropy.cu`).

use super::{constant, for_cuda_dtype, kernel, launch, over, unwritten, with_views};
use candle_core::{Result, Tensor, bail};

/// What a batch gives.
#[derive(Debug)]
pub(crate) struct CrossEntropy {
    /// `[B, C]`
    pub logits: Tensor,
    /// Of the mean loss with respect to the logits, `[B, C]`.
    pub gradient: Tensor,
    /// The same summed over the batch, `[C]`: the gradient of the bias.
    pub bias_gradient: Tensor,
    /// The mean loss in nats, not a number where a label is no class, and how many are predicted rightly: f64 `[2]`.
    pub loss_and_right: Tensor,
}

/// Of logits `product + bias`, `[B, C]` and `[C]`, with labels `[B]` in u32.
pub(crate) fn cross_entropy(
    product: &Tensor,
    bias: &Tensor,
    labels: &Tensor,
) -> Result<CrossEntropy> {
    let (batch, classes) = product.dims2()?;
    if bias.dims() != [classes] || labels.dims() != [batch] {
        bail!(
            "cross-entropy: logits {:?}, bias {:?}, labels {:?}",
            product.dims(),
            bias.dims(),
            labels.dims()
        );
    }
    for_cuda_dtype!(product.dtype(), T => with_views([product, bias, labels], |[product, bias, labels]| {
        let device = product.device();
        let count = product.count();
        over(count, 1)?;
        let [mut logits, mut gradient] = [unwritten::<T>(device, count)?, unwritten::<T>(device, count)?];
        let mut bias_gradient = unwritten::<T>(device, classes)?;
        let [mut rows, mut totals] = [unwritten::<f64>(device, 2 * batch)?, unwritten::<f64>(device, 2)?];
        let labels = labels.elements::<u32>()?;
        let (rows_of, columns) = (batch as u32, classes as u32);
        launch!(
            kernel::<T>(device, "cross_entropy")?, over(32 * batch, 1)?.0,
            &product.elements::<T>()?, &bias.elements::<T>()?, &labels, &mut logits, &mut gradient, &mut rows, &rows_of, &columns
        );
        launch!(
            kernel::<T>(device, "cross_entropy_totals")?, over(classes, 1)?.0,
            &rows, &gradient, &mut totals, &mut bias_gradient, &rows_of, &columns
        );
        Ok(CrossEntropy {
            logits: constant(logits, device, (batch, classes)),
            gradient: constant(gradient, device, (batch, classes)),
            bias_gradient: constant(bias_gradient, device, classes),
            loss_and_right: constant(totals, device, 2),
        })
    }))
}
