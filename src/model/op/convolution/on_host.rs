//! The three roles on the processor, each convolution in the way that suits its sizes.

use super::geometry::Geometry;
use super::{by_group, by_image};
use crate::model::op::channels_last::Scalar;

/// Planes of fewer positions make matrix products too narrow for one image.
const NARROW: usize = 128;

impl Geometry {
    /// The same with the channels last, where images are better taken so: through Winograd's algorithm, or several at once.
    fn channels_last(&self) -> Option<by_group::Geometry> {
        let whole = self.is_pointwise() && self.positions() >= NARROW;
        by_group::Geometry::of(self).filter(|_| !whole)
    }
}

pub(super) fn forward<T: Scalar>(g: &Geometry, x: &[T], weight: &[T]) -> Vec<T> {
    match g.channels_last() {
        Some(g) => by_group::forward(&g, x, weight),
        None => by_image::forward(g, x, weight),
    }
}

pub(super) fn input_gradient<T: Scalar>(g: &Geometry, y_gradient: &[T], weight: &[T]) -> Vec<T> {
    match g.channels_last() {
        Some(g) => by_group::input_gradient(&g, y_gradient, weight),
        None => by_image::input_gradient(g, y_gradient, weight),
    }
}

pub(super) fn weight_gradient<T: Scalar>(g: &Geometry, x: &[T], y_gradient: &[T]) -> Vec<T> {
    match g.channels_last() {
        Some(g) => by_group::weight_gradient(&g, x, y_gradient),
        None => by_image::weight_gradient(g, x, y_gradient),
    }
}
