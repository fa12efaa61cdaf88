//! Rows R with RᵀR ≈ G, the mean Gauss–Newton matrix, for its largest eigenvalues: a randomised Nyström approximation.
//!
//! Halko, Martinsson & Tropp 2011 for the range, Tropp et al. 2017, algorithm 3, for the approximation: with Ω `[r, p]` and
//! Y = Ω G + νΩ, R = L⁻¹Y for L Lᵀ = Y Ωᵀ; then RᵀR = Yᵀ(YΩᵀ)⁻¹Y. The small shift ν keeps L from rounding.
//!
//! G is never multiplied by its products, which cost two passes through the network for each of r vectors, but as the second
//! moment of gradients that are written out, some at a time: 4rp operations for each. Ω spans signed sums of gradients, one
//! of each image with random signs for its label: it lies in the range of G, as if G had been applied already.

use super::super::Vectors;
use crate::Result;
use crate::derivative::head::HeadOutputs;
use crate::derivative::network::{CurvatureRoots, RootKind, WrittenGradients};
use candle_core::{DType, Tensor};
use faer::{Mat, Side};
use std::ops::Range;

/// ν over the largest eigenvalue that was seen: a little above what rounding does to Y.
const SHIFT: [f64; 2] = [1e-6, 1e-12];
/// Directions of Ω with less than this share of the strongest one's square are rounding.
const DEPENDENT: [f64; 2] = [1e-10, 1e-20];

/// Images, their gradients' roots, and a seed.
pub(super) struct Gradients<'a, N: WrittenGradients> {
    pub(super) network: &'a N,
    pub(super) examples: &'a N::Examples,
    pub(super) positions: &'a [u32],
    /// What the network says of them.
    pub(super) outputs: &'a [HeadOutputs],
    pub(super) seed: u64,
}

impl<N: WrittenGradients> Gradients<'_, N> {
    /// Calls `visit` with the gradients of the rows of some images at a time, and these images; there are `copies` of them while it
    /// is at work.
    pub(super) fn visit(
        &self,
        (roots, copies): (&CurvatureRoots, usize),
        mut visit: impl FnMut(&Tensor, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let row = self.network.size() * self.network.dtype().size_in_bytes();
        let most = (self.network.gradient_bytes(copies)? / row.max(1)).max(1);
        for images in roots.groups(most) {
            let gradients = (self.network).root_gradients(
                self.examples,
                self.positions,
                roots,
                images.clone(),
            )?;
            visit(&gradients, images)?;
        }
        Ok(())
    }

    /// R, at most `rank` rows; none where all gradients vanish.
    pub(super) fn low_rank(&self, roots: &CurvatureRoots, rank: usize) -> Result<Option<Tensor>> {
        let rank = rank.min(self.positions.len());
        let single = usize::from(self.network.dtype() == DType::F64);
        let sums = self.signed_sums(rank)?;
        let Some(omega) = independent(&sums, DEPENDENT[single])? else {
            return Ok(None);
        };
        drop(sums);
        let mut product = omega.zeros_like()?;
        self.visit((roots, 1), |gradients, _| {
            let along = omega.matmul(&gradients.t()?)?;
            product = (&product + along.matmul(gradients)?)?;
            Ok(())
        })?;
        let product = (product / self.positions.len() as f64)?;
        nystrom(&omega, &product, SHIFT[single])
    }

    /// Sums of gradients with random signs, `[rank, p]`: each image is in one of them, in turn.
    fn signed_sums(&self, rank: usize) -> Result<Tensor> {
        let drawn = RootKind::Drawn {
            count: 1,
            seed: self.seed,
        };
        let roots = CurvatureRoots::of(self.outputs, self.positions, drawn)?;
        let dtype = self.network.dtype();
        let device = self.network.device();
        let mut sums = Tensor::zeros((rank, self.network.size()), dtype, &device)?;
        self.visit((&roots, 1), |gradients, images| {
            let places: Vec<u32> = images.map(|image| (image % rank) as u32).collect();
            sums = sums.index_add(&Tensor::new(places, &device)?, gradients, 0)?;
            Ok(())
        })?;
        Ok(sums)
    }
}

/// Orthonormal rows that span those of `rows` `[r, p]`, but for directions at rounding level.
fn independent(rows: &Tensor, share: f64) -> Result<Option<Tensor>> {
    let vectors = Vectors::new(rows.clone())?;
    let (values, axes) = super::build::eigen(&products(&vectors, &vectors)?)?;
    let largest = values.last().copied().unwrap_or(0.0);
    let kept: Vec<usize> = (0..values.len())
        .filter(|&k| values[k] > share * largest)
        .collect();
    if kept.is_empty() {
        return Ok(None);
    }
    let matrix = Mat::from_fn(kept.len(), axes.nrows(), |row, column| {
        axes[(column, kept[row])] / values[kept[row]].sqrt()
    });
    Ok(Some(vectors.combined(matrix.as_ref())?.tensor().clone()))
}

/// L⁻¹(Y + νΩ) of Y = ΩG.
fn nystrom(omega: &Tensor, product: &Tensor, shift: f64) -> Result<Option<Tensor>> {
    let (omega, product) = (Vectors::new(omega.clone())?, Vectors::new(product.clone())?);
    let core = products(&product, &omega)?;
    let (values, _) = super::build::eigen(&core)?;
    let largest = values.last().copied().unwrap_or(0.0);
    if largest <= 0.0 {
        return Ok(None);
    }
    let mut shift = shift * largest;
    let gram = products(&omega, &omega)?;
    // Rounding may leave the core indefinite: ν grows until it is not.
    let factor = loop {
        match (&core + &gram * faer::Scale(shift)).llt(Side::Lower) {
            Ok(factor) => break factor,
            Err(_) if shift < largest => shift *= 10.0,
            Err(_) => return Ok(None),
        }
    };
    let count = omega.count();
    let shifted = product.add_scaled(&vec![shift; count], &omega)?;
    let mut inverse = Mat::<f64>::identity(count, count);
    faer::linalg::triangular_solve::solve_lower_triangular_in_place(
        factor.L(),
        inverse.as_mut(),
        faer::Par::Seq,
    );
    Ok(Some(shifted.combined(inverse.as_ref())?.tensor().clone()))
}

/// Inner products of all rows of a with all of b: symmetric but for rounding, which is averaged away.
fn products(a: &Vectors, b: &Vectors) -> Result<Mat<f64>> {
    let sums = a.products(b)?;
    Ok(Mat::from_fn(sums.nrows(), sums.ncols(), |i, j| {
        0.5 * (sums[(i, j)] + sums[(j, i)])
    }))
}
