//! Scores of one solved side against the other side's gradients: rough ones of all pairs, exact ones of some.
//!
//! With x̂ solved for the image t and the gradient g of an image q, the score's error is at most
//! (u e + γ v y)/n: u ≥ ‖g‖_{A⁻¹}, e ≥ ‖x̂ − A⁻¹∇t‖_A, and γ v y what rounding does to the product (`scaling`); and what the
//! gradients themselves are off by comes on top (`input_error`). Rough scores are
//! products in the precision of the solver, 2p operations a pair at the speed of a matrix product; exact ones are
//! Σ_c r_c (x_c · a) in f64, 2p operations a pair too, but of few pairs.

use super::fetched::FetchedFactors;
use super::input_error::{InputError, Reach};
use super::on_device::{DeviceRows, products_on_device};
use super::scaling::{AxisScaling, UnitRows, gamma, product_error, products};
use super::solved::Solved;
use crate::Result;
use crate::influence::Examples;
use crate::influence::examples::{Factors, HostFactors};
use crate::product::{Real, product_here};
use crate::solve::Refinement;
use candle_core::DType;
use faer::{Accum, Mat, MatRef};
use rayon::prelude::*;

/// The solved side, ready for products.
pub(super) struct Scorer<'a> {
    solved: &'a Solved,
    scaling: AxisScaling,
    rows: Rows,
    /// e
    errors: Vec<f64>,
    input_error: InputError,
    /// d + 1
    columns: usize,
    /// p
    size: usize,
    /// 1/n
    scale: f64,
    /// γ of rough and of exact products.
    rounding: (f64, f64),
}

/// x̂ ∘ w / y and y.
enum Rows {
    F32(UnitRows<f32>),
    F64(UnitRows<f64>),
    OnDevice(DeviceRows),
}

impl Rows {
    /// y.
    fn lengths(&self) -> &[f64] {
        match self {
            Self::F32(rows) => &rows.lengths,
            Self::F64(rows) => &rows.lengths,
            Self::OnDevice(rows) => &rows.lengths,
        }
    }

    /// γ of their products, `size` terms each.
    fn product_error(&self, size: usize) -> f64 {
        let single = match self {
            Self::F32(_) => true,
            Self::F64(_) => false,
            Self::OnDevice(rows) => rows.dtype() == DType::F32,
        };
        match single {
            true => product_error::<f32>(size),
            false => product_error::<f64>(size),
        }
    }
}

/// Which side is solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Training,
    Queries,
}

/// Rough scores of some gradients and all solutions.
pub(super) struct Rough {
    /// `[queries, training images]` in nats, row-major.
    pub(super) scores: Vec<f64>,
    /// What the gradients' side gives to bounds.
    pub(super) gradients: GradientBounds,
}

/// u and v of a block of gradients.
#[derive(Debug, Default)]
pub(super) struct GradientBounds {
    reach: Reach,
    scaled: Vec<f64>,
}

impl GradientBounds {
    pub(super) fn append(&mut self, other: Self) {
        self.reach.append(other.reach);
        self.scaled.extend(other.scaled);
    }
}

/// Which scores a bound is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Precision {
    Rough,
    Exact,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(
        refinement: &Refinement,
        solved: &'a Solved,
        input_error: InputError,
        training_count: usize,
    ) -> Result<Self> {
        let inputs = refinement.axis_lengths();
        let first = solved.block(0).tensor();
        let first = first.reshape((first.elem_count() / inputs.len(), inputs.len()))?;
        let squares = first.sqr()?.sum(0)?.to_vec1::<f64>()?;
        let scaling = AxisScaling::new(inputs, &squares, first.dims()[0]);
        let rows = match (refinement.device().is_cpu(), refinement.dtype()) {
            (false, dtype) => Rows::OnDevice(solved.unit_rows_on_device(&scaling, dtype)?),
            (_, DType::F32) => Rows::F32(solved.unit_rows(&scaling)?),
            _ => Rows::F64(solved.unit_rows(&scaling)?),
        };
        let (size, columns) = (solved.block(0).size(), inputs.len());
        // Exact ones are sums of d + 1 and then of w terms.
        let exact = gamma(columns + size / columns + 8, f64::EPSILON / 2.0);
        Ok(Self {
            errors: solved.errors(),
            input_error,
            columns,
            size,
            rounding: (rows.product_error(size), exact),
            scale: 1.0 / training_count as f64,
            solved,
            scaling,
            rows,
        })
    }

    /// Of `gradients` with the solutions of `side`.
    pub(super) fn rough(
        &self,
        refinement: &Refinement,
        gradients: Factors,
        side: Side,
    ) -> Result<Rough> {
        let (scores, scaled) = match &self.rows {
            Rows::F32(rows) => {
                gradients.with_values(|r, a| self.unit_products((r, a), rows, side))?
            }
            Rows::F64(rows) => {
                gradients.with_values(|r, a| self.unit_products((r, a), rows, side))?
            }
            Rows::OnDevice(rows) => self.device_products(&gradients, rows, side)?,
        };
        let gradients = GradientBounds {
            reach: self.input_error.reach(refinement, gradients)?,
            scaled,
        };
        Ok(Rough { scores, gradients })
    }

    fn unit_products<T: Real>(
        &self,
        (residuals, inputs): (&[f64], &[f64]),
        solutions: &UnitRows<T>,
        side: Side,
    ) -> (Vec<f64>, Vec<f64>) {
        let gradients: UnitRows<T> = self.scaling.gradients(residuals, inputs);
        let (left, right) = match side {
            Side::Training => (&gradients, solutions),
            Side::Queries => (solutions, &gradients),
        };
        let products = products(&left.rows, &right.rows, self.size);
        let scores = self.scores(&products, &left.lengths, &right.lengths);
        (scores, gradients.lengths)
    }

    fn device_products(
        &self,
        gradients: &Factors,
        solutions: &DeviceRows,
        side: Side,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let precision = solutions.dtype();
        let (residuals, inputs) = (&gradients.residuals, &gradients.inputs);
        let gradients = (self.scaling).gradients_on_device(residuals, inputs, precision)?;
        let (left, right) = match side {
            Side::Training => (&gradients, solutions),
            Side::Queries => (solutions, &gradients),
        };
        let products = products_on_device(left, right)?.flatten_all()?;
        let (rows, columns) = (&left.lengths, &right.lengths);
        let scores = match precision {
            DType::F32 => self.scores(&products.to_vec1::<f32>()?, rows, columns),
            _ => self.scores(&products.to_vec1::<f64>()?, rows, columns),
        };
        Ok((scores, gradients.lengths))
    }

    /// From products of rows of length 1, in nats.
    fn scores<T: Real>(&self, products: &[T], left: &[f64], right: &[f64]) -> Vec<f64> {
        let columns = right.len();
        let mut scores = vec![0.0; products.len()];
        (scores.par_chunks_exact_mut(columns))
            .zip(products.par_chunks_exact(columns))
            .zip(left)
            .for_each(|((scores, products), row)| {
                let products = products.iter().zip(right);
                for (score, (product, column)) in scores.iter_mut().zip(products) {
                    *score = product.to_f64() * (row * column * self.scale);
                }
            });
        scores
    }

    /// How far the score of a gradient and a solution may be off, in nats.
    pub(super) fn error(
        &self,
        (bounds, gradient): (&GradientBounds, usize),
        solution: usize,
        precision: Precision,
    ) -> f64 {
        let lengths = self.rows.lengths();
        let gamma = match precision {
            Precision::Rough => self.rounding.0,
            Precision::Exact => self.rounding.1,
        };
        let solve = bounds.reach.lengths[gradient] * self.errors[solution];
        let rounding = gamma * bounds.scaled[gradient] * lengths[solution];
        let sides = ((&bounds.reach, gradient), (self.solved.reach(), solution));
        let inputs = self.input_error.of(sides.0, sides.1);
        (solve + rounding + inputs) * self.scale * (1.0 + 1e-12)
    }

    /// For each solution, its scores against the gradients of `examples` at the positions in its list, in nats.
    pub(super) fn exact(&self, examples: &Examples, lists: &[Vec<u32>]) -> Result<Vec<Vec<f64>>> {
        let fetched = match self.rows {
            Rows::OnDevice(_) => Some(FetchedFactors::of(examples, lists)?),
            _ => None,
        };
        let score = |solution: &[f64], positions: &Vec<u32>| {
            if positions.is_empty() {
                return Ok(Vec::new());
            }
            let products = |residuals: &[f64], inputs: &[f64]| {
                pair_products(solution, (residuals, inputs), self.columns)
            };
            let products = match &fetched {
                Some(fetched) => {
                    let HostFactors { residuals, inputs } = fetched.at(positions);
                    products(&residuals, &inputs)
                }
                None => examples.factors_at(positions)?.with_values(products)?,
            };
            Ok(products.into_iter().map(|p| p * self.scale + 0.0).collect())
        };
        self.solved.map_rows(lists, score)
    }
}

/// Σ_c r_c (x_c · a) for each of the gradients; x is `[w, columns]`.
fn pair_products(
    solution: &[f64],
    (residuals, inputs): (&[f64], &[f64]),
    columns: usize,
) -> Vec<f64> {
    let (width, count) = (solution.len() / columns, inputs.len() / columns);
    let mut outputs = Mat::<f64>::zeros(width, count);
    product_here(
        outputs.as_mut(),
        Accum::Replace,
        MatRef::from_row_major_slice(solution, width, columns),
        MatRef::from_column_major_slice(inputs, columns, count),
        1.0,
    );
    (residuals.chunks_exact(width).zip(outputs.col_iter()))
        .map(|(row, outputs)| row.iter().zip(outputs.iter()).map(|(r, z)| r * z).sum())
        .collect()
}
