//! The parameters of the fine-tuned part, in a fixed order with offsets.
//!
//! A parameter vector holds the tensors one after the other, sorted by torchvision name (`fc.bias`, `fc.weight`,
//! `layer4.1.bn1.bias`, …), each in PyTorch's own element order. Inside a computation matrices are transposed and kernels are
//! in their [`Form`]: a linear map takes parameters and directions inward, its adjoint takes gradients outward.

use super::planes::Scalar;
use crate::model::op::channels_last::Buffer;
use crate::model::op::channels_last::{Form, Kernel};
use std::ops::Range;

/// One tensor of the parameter vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterBlock {
    /// torchvision's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its place in the parameter vector.
    pub range: Range<usize>,
    /// Its segment: 0 the stem, 1 … B the residual blocks, B + 1 the head.
    pub segment: usize,
}

/// All trainable tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSpace {
    blocks: Vec<ParameterBlock>,
    inner: Vec<Inner>,
}

/// A tensor inside the computation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    range: Range<usize>,
    kernel: Option<Kernel>,
}

impl ParameterSpace {
    /// From names sorted, shapes, segments, and the form of those that are kernels.
    pub(super) fn new(
        tensors: impl IntoIterator<Item = (String, Vec<usize>, usize, Form)>,
    ) -> Self {
        let (mut start, mut inner_start) = (0, 0);
        let (mut blocks, mut inner) = (Vec::new(), Vec::new());
        for (name, shape, segment, form) in tensors {
            let range = start..start + shape.iter().product::<usize>();
            let kernel = Kernel::new(&shape, form);
            let size = kernel.map_or(range.len(), Kernel::inner_size);
            inner.push(Inner {
                range: inner_start..inner_start + size,
                kernel,
            });
            (start, inner_start) = (range.end, inner_start + size);
            blocks.push(ParameterBlock {
                name,
                shape,
                range,
                segment,
            });
        }
        Self { blocks, inner }
    }

    /// p, the number of parameters.
    pub fn size(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.range.end)
    }

    /// The tensors, in the order of the vector.
    pub fn blocks(&self) -> &[ParameterBlock] {
        &self.blocks
    }

    /// The place of a tensor; `None` where it is not trained.
    pub fn range(&self, name: &str) -> Option<Range<usize>> {
        let found = self.blocks.iter().find(|block| block.name == name)?;
        Some(found.range.clone())
    }

    /// The segments that are trained, the first one first.
    pub fn segments(&self) -> Vec<usize> {
        let mut segments: Vec<usize> = self.blocks.iter().map(|block| block.segment).collect();
        segments.sort_unstable();
        segments.dedup();
        segments
    }

    /// The tensor whose place inside the computation is `inner`.
    pub(super) fn stored_block(&self, inner: &Range<usize>) -> Option<&ParameterBlock> {
        let index = self.inner.iter().position(|place| place.range == *inner)?;
        Some(&self.blocks[index])
    }

    /// Its place in the parameter vector; empty where there is none.
    pub(super) fn stored_range(&self, inner: &Range<usize>) -> Range<usize> {
        let block = self.stored_block(inner);
        block.map_or(0..0, |block| block.range.clone())
    }

    /// That tensor's numbers, which are a kernel's, in a form.
    pub(super) fn kernel<T: Scalar>(
        &self,
        inner: &Range<usize>,
        stored: &[T],
        form: Form,
    ) -> Buffer<T> {
        let place = self.inner.iter().find(|place| place.range == *inner);
        match place.and_then(|place| place.kernel) {
            Some(kernel) => kernel.in_form(form).inward(stored),
            None => stored.to_vec().into(),
        }
    }

    /// Numbers of a vector inside the computation.
    pub(super) fn inner_size(&self) -> usize {
        self.inner.last().map_or(0, |inner| inner.range.end)
    }

    /// The place of a tensor there.
    pub(super) fn inner_range(&self, name: &str) -> Option<Range<usize>> {
        let index = self.blocks.iter().position(|block| block.name == name)?;
        Some(self.inner[index].range.clone())
    }

    /// The place in the parameter vector of the tensor that has this place in the computation.
    pub(super) fn outer_range(&self, inner: &Range<usize>) -> Option<Range<usize>> {
        let index = self.inner.iter().position(|place| place.range == *inner)?;
        Some(self.blocks[index].range.clone())
    }

    /// Parameters or a direction, `[p]`, for the computation.
    pub(super) fn inward<T: Scalar>(&self, outer: &[T]) -> Buffer<T> {
        let mut to = Buffer::stale(self.inner_size());
        for (block, inner) in self.blocks.iter().zip(&self.inner) {
            let (from, to) = (&outer[block.range.clone()], &mut to[inner.range.clone()]);
            match inner.kernel {
                Some(kernel) => to.copy_from_slice(&kernel.inward(from)),
                None => to.copy_from_slice(from),
            }
        }
        to
    }

    /// A gradient with respect to the computation's parameters as one with respect to the stored ones, `[p]`: the adjoint of
    /// [`ParameterSpace::inward`].
    pub(super) fn outward<T: Scalar>(&self, inner: &[T]) -> Buffer<T> {
        let mut to = Buffer::stale(self.size());
        for (block, place) in self.blocks.iter().zip(&self.inner) {
            let (from, to) = (&inner[place.range.clone()], &mut to[block.range.clone()]);
            match place.kernel {
                Some(kernel) => kernel.outward(from, to),
                None => to.copy_from_slice(from),
            }
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::op::channels_last::PLACES;

    #[test]
    fn orders_are_the_definition_and_outward_is_the_adjoint() {
        let (c_out, c_in, side) = (21, 19, 3);
        let kernel = vec![c_out, c_in, side, side];
        let space = ParameterSpace::new([
            ("a".to_owned(), vec![5], 1, Form::Taps),
            ("b".to_owned(), kernel.clone(), 1, Form::Taps),
            ("c".to_owned(), kernel, 1, Form::Winograd),
            ("fc".to_owned(), vec![4, 6], 2, Form::Taps),
        ]);
        let wave = |phase: f64, count: usize| -> Vec<f64> {
            (0..count).map(|i| (phase + 1.3 * i as f64).sin()).collect()
        };
        let outer = wave(0.1, space.size());
        let inner = space.inward(&outer);
        assert_eq!(inner[..5], outer[..5]);
        let start = space.range("b").unwrap().start;
        assert_eq!(space.inner_range("b").unwrap().start, start);
        for (co, ci, tap) in [(0, 0, 0), (20, 3, 4), (7, 18, 8), (11, 5, 2)] {
            let value = outer[start + (co * c_in + ci) * 9 + tap];
            assert_eq!(inner[start + (tap * c_in + ci) * c_out + co], value);
        }
        let (outer_start, inner_start) = ["fc"].map(|name| {
            (
                space.range(name).unwrap().start,
                space.inner_range(name).unwrap().start,
            )
        })[0];
        assert_eq!(
            inner[inner_start + 5 * 4 + 2],
            outer[outer_start + 2 * 6 + 5]
        );
        assert_eq!(inner_start - outer_start, (PLACES - 9) * c_in * c_out);
        assert_eq!(space.range("d"), None);

        let other = wave(0.7, space.inner_size());
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (left, right) = (dot(&inner, &other), dot(&outer, &space.outward(&other)));
        assert!(
            (left - right).abs() < 1e-10 * left.abs().max(1.0),
            "{left}, {right}"
        );
    }
}
