//! Images through everything but the head: the feature vectors that influence of the head needs.

use super::{Pass, ResNet};
use crate::Result;
use crate::data::{Dataset, Pixels, batches};
use candle_core::Tensor;

/// Images decoded and computed at once; fewer of large ones, so that memory does not grow with their size.
fn batch_size(side: usize) -> usize {
    const MOST: usize = 250;
    (MOST * 64 * 64 / (side * side)).clamp(8, MOST)
}

/// Features `[n, d]` of the examples `ids`, in evaluation mode, without augmentation, in the model's precision on its device; row `i` belongs to `ids[i]`.
/// `progress` is told how many are done.
///
/// # Errors
/// An image that does not decode; see [`ResNet::forward`].
pub fn features(
    model: &ResNet,
    dataset: &Dataset,
    ids: &[usize],
    progress: &mut dyn FnMut(usize),
) -> Result<Tensor> {
    let model = model.detached();
    let mut parts = Vec::new();
    let mut done = 0;
    for batch in batches(ids, batch_size(model.side())) {
        let images = Pixels::decode(dataset, batch, model.framing())?;
        let positions: Vec<usize> = (0..images.len()).collect();
        let images = images.batch(&positions, model.device()?)?;
        let images = images.to_dtype(model.dtype()?)?;
        parts.push(model.features_from(0, &images, &mut Pass::evaluation())?);
        done += batch.len();
        progress(done);
    }
    Ok(Tensor::cat(&parts, 0)?)
}
