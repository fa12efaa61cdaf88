//! The parameters of the fine-tuned part, in a fixed order with offsets.
//!
//! A parameter vector holds the tensors one after the other, sorted by torchvision name (`fc.bias`, `fc.weight`,
//! `layer4.1.bn1.bias`, …), each in PyTorch's own element order. Inside a computation the convolutions' parts are
//! reordered to `[k², C_in, C_out]`, so that a kernel is a matrix `[K, C_out]`; inner products do not see the order.

use super::planes::Scalar;
use rayon::prelude::*;
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
}

impl ParameterSpace {
    /// From names sorted, shapes and segments.
    pub(super) fn new(tensors: impl IntoIterator<Item = (String, Vec<usize>, usize)>) -> Self {
        let mut start = 0;
        let blocks = tensors
            .into_iter()
            .map(|(name, shape, segment)| {
                let range = start..start + shape.iter().product::<usize>();
                start = range.end;
                ParameterBlock {
                    name,
                    shape,
                    range,
                    segment,
                }
            })
            .collect();
        Self { blocks }
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

    /// Reorders a parameter vector for the computation.
    pub(super) fn inward<T: Scalar>(&self, outer: &[T]) -> Vec<T> {
        self.reordered(outer, |block, from, to| {
            let (c_out, c_in, taps) = block;
            to.par_chunks_mut(c_in * c_out)
                .enumerate()
                .for_each(|(tap, to)| {
                    transpose(c_in, c_out, to, |ci, co| {
                        from[(co * c_in + ci) * taps + tap]
                    })
                });
        })
    }

    /// The inverse of [`ParameterSpace::inward`].
    pub(super) fn outward<T: Scalar>(&self, inner: &[T]) -> Vec<T> {
        self.reordered(inner, |block, from, to| {
            let (c_out, c_in, taps) = block;
            let rows = 16;
            to.par_chunks_mut(rows * c_in * taps)
                .enumerate()
                .for_each(|(part, to)| {
                    for tap in 0..taps {
                        for ci in 0..c_in {
                            let from = &from[(tap * c_in + ci) * c_out + part * rows..];
                            let count = to.len() / (c_in * taps);
                            for (row, &value) in from[..count].iter().enumerate() {
                                to[(row * c_in + ci) * taps + tap] = value;
                            }
                        }
                    }
                });
        })
    }

    /// The convolutions mirrored with their channels swapped, `[k² (reversed), C_out, C_in]`; other parts are left zero.
    pub(super) fn mirrored<T: Scalar>(&self, outer: &[T]) -> Vec<T> {
        let mut out = vec![T::default(); outer.len()];
        for block in &self.blocks {
            let Some((c_out, c_in, taps)) = kernel(&block.shape) else {
                continue;
            };
            let from = &outer[block.range.clone()];
            out[block.range.clone()]
                .par_chunks_mut(c_in * c_out)
                .enumerate()
                .for_each(|(tap, to)| {
                    for (co, to) in to.chunks_exact_mut(c_in).enumerate() {
                        for (ci, to) in to.iter_mut().enumerate() {
                            *to = from[(co * c_in + ci) * taps + taps - 1 - tap];
                        }
                    }
                });
        }
        out
    }

    fn reordered<T: Scalar>(
        &self,
        from: &[T],
        reorder: impl Fn((usize, usize, usize), &[T], &mut [T]),
    ) -> Vec<T> {
        let mut out = from.to_vec();
        for block in &self.blocks {
            if let Some(sizes) = kernel(&block.shape) {
                let range = block.range.clone();
                reorder(sizes, &from[range.clone()], &mut out[range]);
            }
        }
        out
    }
}

/// Channels out and in and k² of a kernel; a matrix is one with k = 1, a vector none.
fn kernel(shape: &[usize]) -> Option<(usize, usize, usize)> {
    match *shape {
        [c_out, c_in] => Some((c_out, c_in, 1)),
        [c_out, c_in, height, width] => Some((c_out, c_in, height * width)),
        _ => None,
    }
}

/// `to[row, column] = from(row, column)` in square blocks, so that neither side leaves the cache.
fn transpose<T: Copy>(rows: usize, columns: usize, to: &mut [T], from: impl Fn(usize, usize) -> T) {
    const SIDE: usize = 16;
    for row_start in (0..rows).step_by(SIDE) {
        for column_start in (0..columns).step_by(SIDE) {
            for row in row_start..rows.min(row_start + SIDE) {
                for column in column_start..columns.min(column_start + SIDE) {
                    to[row * columns + column] = from(row, column);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_inverse_and_mirrors_are_the_definition() {
        let (c_out, c_in, side) = (21, 19, 3);
        let space = ParameterSpace::new([
            ("a".to_owned(), vec![5], 1),
            ("b".to_owned(), vec![c_out, c_in, side, side], 1),
            ("fc".to_owned(), vec![4, 6], 2),
        ]);
        let outer: Vec<f64> = (0..space.size()).map(|i| i as f64).collect();
        let (inner, mirrored) = (space.inward(&outer), space.mirrored(&outer));
        assert_eq!(space.outward(&inner), outer);
        assert_eq!(inner[..5], outer[..5]);
        let start = space.range("b").unwrap().start;
        for (co, ci, tap) in [(0, 0, 0), (20, 3, 4), (7, 18, 8), (11, 5, 2)] {
            let value = outer[start + (co * c_in + ci) * 9 + tap];
            assert_eq!(inner[start + (tap * c_in + ci) * c_out + co], value);
            assert_eq!(
                mirrored[start + ((8 - tap) * c_out + co) * c_in + ci],
                value
            );
        }
        let start = space.range("fc").unwrap().start;
        assert_eq!(inner[start + 5 * 4 + 2], outer[start + 2 * 6 + 5]);
        assert_eq!(space.range("c"), None);
    }
}
