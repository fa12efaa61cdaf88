//! Many small tensors in one launch (`many.cu`): a network has some hundred, and launched one by one they cost more than they
//! compute.

use super::THREADS;
use candle_core::cuda::cudarc::driver::{DeviceRepr, LaunchConfig};
use candle_core::{Result, bail};

/// Tensors of a launch.
pub(super) const TENSORS: usize = 64;
/// Elements of a block.
const A_BLOCK: u32 = 4096;
/// What a tensor of a common buffer begins at a multiple of, in elements: cuDNN's kernels want it.
const ALIGNED: usize = 64;

/// Which block works on which tensor.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    first: [u32; TENSORS],
    count: [u32; TENSORS],
    number: u32,
    a_block: u32,
}
// SAFETY: plain numbers, in the order and of the sizes that many.cu has.
unsafe impl DeviceRepr for Blocks {}

impl Blocks {
    /// For at most [`TENSORS`] tensors of these sizes, with the grid.
    pub(super) fn over(counts: impl IntoIterator<Item = usize>) -> Result<(Self, LaunchConfig)> {
        let mut blocks = Self {
            first: [0; TENSORS],
            count: [0; TENSORS],
            number: 0,
            a_block: A_BLOCK,
        };
        let mut next = 0;
        for (place, count) in counts.into_iter().enumerate() {
            let (true, Ok(count)) = (place < TENSORS, i32::try_from(count)) else {
                bail!("tensor {place} of a launch, {count} elements: too many");
            };
            let count = count as u32;
            (blocks.first[place], blocks.count[place]) = (next, count);
            next += count.div_ceil(A_BLOCK);
            blocks.number += 1;
        }
        let grid = LaunchConfig {
            grid_dim: (next.max(1), 1, 1),
            block_dim: (THREADS, 1, 1),
            shared_mem_bytes: 0,
        };
        Ok((blocks, grid))
    }
}

/// Where tensors of these sizes begin in a common buffer, and its size.
pub(super) fn placed(counts: impl IntoIterator<Item = usize>) -> (Vec<usize>, usize) {
    let mut end = 0;
    let starts = counts.into_iter().map(|count| {
        let start = end;
        end += count.next_multiple_of(ALIGNED);
        start
    });
    (starts.collect(), end)
}
