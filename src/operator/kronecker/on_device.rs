//! Rows R with RᵀR ≈ G on a device, where gradients are not written out one by one.
//!
//! The same approximation as [`low_rank`](super::low_rank)'s, Y = ΩG, from products: Ω spans gradients of r groups of the images,
//! which lie in the range of G, and each of its rows is multiplied by G as a vector of a block. That is as dear as r iterations
//! of conjugate gradients for a single right-hand side, once for all queries.

use super::low_rank::{DEPENDENT, SHIFT, independent, nystrom};
use super::{KroneckerAxes, KroneckerForm, StrongRows};
use crate::Result;
use crate::derivative::network::{Curvature, DeviceExamples, DeviceNetwork};
use crate::device::free_memory;
use candle_core::{DType, Tensor};

/// Rows at most.
const ROWS: usize = 256;
/// Bytes that they take at most, if an eighth of a device's free memory allows it: they are held four times while they are
/// made.
const ROW_BYTES: usize = 4 << 30;
/// Rows that are multiplied at once.
const BLOCK: usize = 32;

impl KroneckerForm {
    /// A low rank of the mean Gauss–Newton matrix over the images at `positions`, nothing else; no L2 term.
    ///
    /// # Errors
    /// As [`DeviceNetwork::outputs`], or no positions.
    pub(in crate::operator) fn of_device(
        network: &DeviceNetwork,
        (examples, positions): (&DeviceExamples, &[u32]),
    ) -> Result<Self> {
        let size = network.size();
        let row = (size * network.dtype().size_in_bytes()).max(1);
        let free = free_memory(network.device())?.map_or(ROW_BYTES, |free| free / 8);
        let rank = (ROW_BYTES.min(free) / row).min(ROWS).min(positions.len());
        let rows = match rank {
            0 => None,
            rank => low_rank(network, (examples, positions), rank)?,
        };
        let count = rows.as_ref().map_or(0, |rows| rows.dims()[0]);
        Ok(Self {
            axes: KroneckerAxes::new(size),
            diagonal: vec![0.0; size],
            rows: rows.map(|rows| StrongRows {
                rows,
                rest: vec![0.0; size],
            }),
            notes: vec![("low_rank", count as f64)],
        })
    }
}

/// R, at most `rank` rows; none where all gradients vanish.
fn low_rank(
    network: &DeviceNetwork,
    (examples, positions): (&DeviceExamples, &[u32]),
    rank: usize,
) -> Result<Option<Tensor>> {
    let precision = usize::from(network.dtype() == DType::F64);
    let group = |first: usize| {
        let images: Vec<u32> = (positions.iter().skip(first).step_by(rank))
            .copied()
            .collect();
        network.gradient(examples, &images)
    };
    let sums = (0..rank).map(group).collect::<Result<Vec<_>>>()?;
    let Some(omega) = independent(&Tensor::stack(&sums, 0)?, DEPENDENT[precision])? else {
        return Ok(None);
    };
    drop(sums);
    let count = omega.dims()[0];
    let images = (examples, positions);
    let products = (0..count).step_by(BLOCK).map(|start| {
        let rows = omega.narrow(0, start, BLOCK.min(count - start))?;
        network.curvature_products(Curvature::GaussNewton, images, &rows)
    });
    let product = Tensor::cat(&products.collect::<Result<Vec<_>>>()?, 0)?;
    nystrom(
        &omega,
        &(product / positions.len() as f64)?,
        SHIFT[precision],
    )
}
