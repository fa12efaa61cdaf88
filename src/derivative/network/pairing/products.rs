//! A convolution with every vector, and its inner product with the output gradient, image by image.

use super::super::layer::Site;
use super::super::planes::{Planes, Scalar};
use super::Pairing;
use crate::model::op::channels_last::Buffer;
use crate::model::op::channels_last::{Geometry, output};

/// The vectors as kernels in the computation's form.
pub(super) struct Products<T: Scalar> {
    geometry: Geometry,
    kernels: Vec<Buffer<T>>,
}

impl<T: Scalar> Products<T> {
    pub(super) fn new(geometry: Geometry, kernels: Vec<Buffer<T>>) -> Self {
        Self { geometry, kernels }
    }
}

impl<T: Scalar> Pairing<T> for Products<T> {
    fn add(&self, site: &Site<T>, gradient: &Planes<T>, sums: &mut [f64]) {
        let (x, images) = (site.inputs[0], gradient.images());
        for (kernel, sums) in self.kernels.iter().zip(sums.chunks_exact_mut(images)) {
            let tangent = Planes {
                shape: self.geometry.output(),
                values: output(&self.geometry, images, &[(&x.values, kernel)], None),
            };
            tangent.add_dots(gradient, sums);
        }
    }
}
