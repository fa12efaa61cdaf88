//! EK-FAC of a network over some images: factors, their eigenvectors, then the gradients in these axes.

use super::axes::columns;
use super::low_rank::Gradients;
use super::{JOINT, KroneckerAxes, KroneckerForm, StrongRows};
use crate::derivative::network::{
    CurvatureRoots, KroneckerFactors, KroneckerLayer, RootKind, WrittenGradients,
};
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use faer::{Mat, Side};
use rayon::prelude::*;
use std::ops::Range;

/// Most rows of R: what they cost grows with their number, and what they gain with the decay of the curvature's eigenvalues.
const ROWS: usize = 512;

/// Gradients that are turned into the axes: themselves, their parts, these together, and their squares in place of the parts.
pub(crate) const COPIES_OF_GRADIENTS: usize = 4;

/// The share of the softmax's curvature whose gradients go into a low rank: the rest is spread thin.
const LOW_RANK_SHARE: f64 = 0.98;

/// What stands on the diagonal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eigenvalues {
    /// K-FAC: products of the factors' eigenvalues.
    Product,
    /// EK-FAC: second moments of the gradients.
    Corrected,
}

/// How a form is made.
#[derive(Debug, Clone, Copy)]
pub struct KroneckerSettings {
    /// Square roots of the softmax's curvature.
    pub roots: RootKind,
    /// The diagonal; none for R alone, with Q = I.
    pub eigenvalues: Option<Eigenvalues>,
    /// Bytes that R may take; 0 for no rows.
    pub row_bytes: u64,
    /// Draws what R is looked for in.
    pub seed: u64,
}

impl KroneckerForm {
    /// EK-FAC of the mean Gauss–Newton matrix over the images at `positions`; no L2 term. `seed` draws what stands for labels where
    /// there are many.
    ///
    /// # Errors
    /// As [`KroneckerForm::of_network`].
    pub fn ekfac<N: WrittenGradients>(
        network: &N,
        (examples, positions): (&N::Examples, &[u32]),
        seed: u64,
    ) -> Result<Self> {
        let settings = KroneckerSettings {
            roots: RootKind::for_classes(network.class_count(), seed),
            eigenvalues: Some(Eigenvalues::Corrected),
            row_bytes: 0,
            seed,
        };
        Self::of_network(network, (examples, positions), &settings)
    }

    /// A low rank of that matrix within `row_bytes`, without rows where they hold none, and nothing else.
    ///
    /// # Errors
    /// As [`KroneckerForm::of_network`].
    pub fn low_rank<N: WrittenGradients>(
        network: &N,
        (examples, positions): (&N::Examples, &[u32]),
        (row_bytes, seed): (u64, u64),
    ) -> Result<Self> {
        let roots = match RootKind::for_classes(network.class_count(), seed) {
            RootKind::Exact { .. } => RootKind::Exact {
                share: LOW_RANK_SHARE,
            },
            drawn => drawn,
        };
        let settings = KroneckerSettings {
            roots,
            eigenvalues: None,
            row_bytes,
            seed,
        };
        Self::of_network(network, (examples, positions), &settings)
    }

    /// Of the mean Gauss–Newton matrix over the images at `positions`; no L2 term.
    ///
    /// # Errors
    /// As [`WrittenGradients::outputs`], no positions, or factors that are not finite.
    pub fn of_network<N: WrittenGradients>(
        network: &N,
        (examples, positions): (&N::Examples, &[u32]),
        settings: &KroneckerSettings,
    ) -> Result<Self> {
        let outputs = network.outputs(examples, positions)?;
        let roots = CurvatureRoots::of(&outputs, positions, settings.roots)?;
        let gradients = Gradients {
            network,
            examples,
            positions,
            outputs: &outputs,
            seed: settings.seed,
        };
        let rows = match rows_within(network, settings.row_bytes) {
            0 => None,
            rank => gradients.low_rank(&roots, rank)?,
        };
        let mut build = Build::new(network, &roots, settings.eigenvalues)?;
        if settings.eigenvalues.is_some() {
            let factors = network.kronecker_factors(examples, positions, &roots)?;
            let layers: Result<Vec<_>> = factors.into_par_iter().map(EigenLayer::of).collect();
            layers?
                .into_iter()
                .try_for_each(|layer| build.add_layer(layer))?;
            gradients.visit((&roots, COPIES_OF_GRADIENTS), |gradients, _| {
                build.add_gradients(gradients)
            })?;
        }
        build.finish(positions.len(), rows)
    }
}

/// The most rows of R that `bytes` hold.
pub(in crate::operator) fn rows_within(network: &impl WrittenGradients, bytes: u64) -> usize {
    let row = (network.size() * network.dtype().size_in_bytes()) as u64;
    (bytes / row.max(1)).min(ROWS as u64) as usize
}

/// A layer's factors by eigenvalues and eigenvectors.
struct EigenLayer {
    layer: KroneckerLayer,
    outputs: (Vec<f64>, Mat<f64>),
    inputs: (Vec<f64>, Mat<f64>),
}

impl EigenLayer {
    fn of(factors: KroneckerFactors) -> Result<Self> {
        Ok(Self {
            outputs: eigen(&factors.outputs)?,
            inputs: eigen(&factors.inputs)?,
            layer: factors.layer,
        })
    }
}

/// A form on its way.
struct Build<'a, N> {
    network: &'a N,
    roots: &'a CurvatureRoots,
    eigenvalues: Option<Eigenvalues>,
    axes: KroneckerAxes,
    /// λ_S λ_A, where there are factors.
    products: Vec<f64>,
    /// Σ (Qᵀg)², `[1, p]` f64.
    squares: Tensor,
    /// Parameters without factors.
    others: Vec<Range<usize>>,
    /// Σ g gᵀ over these, f64, where they are few.
    joint: Option<Tensor>,
}

impl<'a, N: WrittenGradients> Build<'a, N> {
    fn new(
        network: &'a N,
        roots: &'a CurvatureRoots,
        eigenvalues: Option<Eigenvalues>,
    ) -> Result<Self> {
        let device = network.device();
        let size = network.size();
        let layers = network.kronecker_layers();
        let others = uncovered(size, &layers);
        let count: usize = others.iter().map(Range::len).sum();
        let zeros = |rows, columns| Tensor::zeros((rows, columns), DType::F64, &device);
        let joint = (1..=JOINT).contains(&count).then(|| zeros(count, count));
        Ok(Self {
            network,
            roots,
            eigenvalues,
            axes: KroneckerAxes::new(size, &device),
            products: vec![0.0; size],
            squares: zeros(1, size)?,
            others,
            joint: joint.transpose()?,
        })
    }

    fn add_layer(&mut self, eigen: EigenLayer) -> Result<()> {
        let EigenLayer {
            layer,
            outputs,
            inputs,
        } = eigen;
        let width = layer.weight.len() / layer.outputs;
        for (row, s) in outputs.0.iter().enumerate() {
            for (column, a) in inputs.0.iter().enumerate() {
                let place = match &layer.bias {
                    Some(bias) if column == width => bias.start + row,
                    _ => layer.weight.start + row * width + column,
                };
                self.products[place] = (s * a).max(0.0);
            }
        }
        let dtype = self.network.dtype();
        self.axes.turn_layer(layer, (&outputs.1, &inputs.1), dtype)
    }

    /// Gradients of some rows.
    fn add_gradients(&mut self, gradients: &Tensor) -> Result<()> {
        let count = gradients.dims()[0];
        if let Some(joint) = &mut self.joint {
            let parts = columns(gradients, &self.others)?;
            let moment = parts.t()?.matmul(&parts)?.to_dtype(DType::F64)?;
            *joint = (&*joint + moment)?;
        }
        let coordinates = self.axes.coordinates(gradients)?;
        let ones = Tensor::ones((1, count), coordinates.dtype(), coordinates.device())?;
        let squares = ones.matmul(&coordinates.sqr()?)?.to_dtype(DType::F64)?;
        self.squares = (&self.squares + squares)?;
        Ok(())
    }

    fn finish(mut self, images: usize, rows: Option<Tensor>) -> Result<KroneckerForm> {
        let scale = 1.0 / images as f64;
        let squares = self.squares.flatten_all()?.to_vec1::<f64>()?;
        let mut diagonal: Vec<f64> = squares.iter().map(|square| square * scale).collect();
        if let Some(joint) = &self.joint
            && self.eigenvalues.is_some()
        {
            let joint = joint.to_vec2::<f64>()?;
            let mean = Mat::from_fn(joint.len(), joint.len(), |i, j| joint[i][j] * scale);
            let (values, axes) = eigen(&mean)?;
            let ranges = self.others.clone();
            self.axes
                .turn_jointly(ranges, &axes, self.network.dtype())?;
            let places = self.others.iter().cloned().flatten();
            places
                .zip(values)
                .for_each(|(place, value)| diagonal[place] = value.max(0.0));
        }
        let rows = rows.map(|rows| self.axes.coordinates(&rows)).transpose()?;
        if self.eigenvalues == Some(Eigenvalues::Product) {
            let layers = self.network.kronecker_layers();
            let covered = layers.iter().flat_map(|layer| {
                layer
                    .weight
                    .clone()
                    .chain(layer.bias.clone().unwrap_or_default())
            });
            covered.for_each(|place| diagonal[place] = self.products[place]);
        }
        let notes = vec![
            ("curvature_gradients", self.roots.count() as f64),
            ("curvature_share", self.roots.share()),
            (
                "curvature_drawn",
                f64::from(u8::from(self.roots.is_drawn())),
            ),
            (
                "low_rank",
                rows.as_ref().map_or(0, |rows| rows.dims()[0]) as f64,
            ),
        ];
        let strong = |rows| match self.eigenvalues {
            // R alone: it leaves nothing of a diagonal that there is not.
            None => Ok(StrongRows {
                rest: vec![0.0; diagonal.len()],
                rows,
            }),
            Some(_) => strong_rows(rows, &diagonal),
        };
        let rows = rows.map(strong).transpose()?;
        Ok(KroneckerForm {
            axes: self.axes,
            diagonal,
            rows,
            notes,
        })
    }
}

/// d = the diagonal without the squares of R; below 0 only by rounding.
fn strong_rows(rows: Tensor, diagonal: &[f64]) -> Result<StrongRows> {
    let mut squares = Tensor::zeros(diagonal.len(), DType::F64, rows.device())?;
    for row in 0..rows.dims()[0] {
        squares = (squares + rows.get(row)?.to_dtype(DType::F64)?.sqr()?)?;
    }
    let squares = squares.to_vec1::<f64>()?;
    let rest = diagonal
        .iter()
        .zip(squares)
        .map(|(d, square)| (d - square).max(0.0));
    Ok(StrongRows {
        rest: rest.collect(),
        rows,
    })
}

/// The parameters of no layer.
fn uncovered(size: usize, layers: &[KroneckerLayer]) -> Vec<Range<usize>> {
    let ranges = layers
        .iter()
        .flat_map(|layer| [Some(layer.weight.clone()), layer.bias.clone()]);
    let mut covered: Vec<Range<usize>> = ranges.flatten().collect();
    covered.sort_by_key(|range| range.start);
    covered.push(size..size);
    let mut end = 0;
    let gap = |range: Range<usize>| {
        let gap = end..range.start;
        end = range.end;
        gap
    };
    let gaps = covered.into_iter().map(gap);
    gaps.filter(|gap| !gap.is_empty()).collect()
}

/// Eigenvalues and eigenvectors, the latter as columns.
pub(super) fn eigen(matrix: &Mat<f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let eigen = matrix.self_adjoint_eigen(Side::Lower).map_err(|reason| {
        let place = format!("its eigenvalues ({reason:?})");
        let remedy = "look at the model's weights and at extreme images";
        Error::non_finite("a Kronecker factor of the curvature", place, remedy)
    })?;
    let values = eigen.S().column_vector().iter().copied().collect();
    Ok((values, eigen.U().to_owned()))
}
