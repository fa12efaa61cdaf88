//! Images through everything but the head: the feature vectors that influence of the head needs.

use super::{Pass, ResNet};
use crate::Result;
use crate::data::{Dataset, Pixels, batches};
use candle_core::Tensor;

/// Most images that are computed at once where no gradient is kept.
const MOST: usize = 250;
/// The side up to which that many are.
const SIDE: usize = 64;

/// Images of this side that are computed at once in evaluation mode: fewer of large ones, so that memory does not grow with their size.
pub(crate) fn images_at_once(side: usize) -> usize {
    fewer_if_large(MOST, side)
}

/// So many images, or as many of this side as have their pixels.
pub(crate) fn fewer_if_large(images: usize, side: usize) -> usize {
    (images * SIDE * SIDE / (side * side).max(1)).clamp(1, images)
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
    for batch in batches(ids, images_at_once(model.side())) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_no_more_pixels_of_large_images() {
        let sides = [8, 64, 65, 224, 512, 4096];
        assert_eq!(sides.map(images_at_once), [250, 250, 242, 20, 3, 1]);
        let of_64 = |side| fewer_if_large(64, side);
        assert_eq!(sides.map(of_64), [64, 64, 62, 5, 1, 1]);
    }
}
