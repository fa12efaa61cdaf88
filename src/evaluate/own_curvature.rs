//! A refit by the curvature of the kept images alone, factorised anew at every step: Newton's method.
//!
//! The curvature of all images, which steers the other refits, knows little of the flat directions that few images leave. Their own
//! is small: at the minimum l2·φ = −(1/N) Σ_{i ∈ S} r̃_i ã_iᵀ, so that every row of φ lies in the span of the kept images' inputs.
//! Where these are fewer than inputs are long, the thin factors Aᵀ = Q R of A `[k, d + 1]` give φ = ψ Qᵀ, and ψ `[w, k]` minimises
//! the same objective of images with the inputs Rᵀ: w·k parameters for w·(d + 1).
//!
//! Operations, with r = min(k, d + 1) and s steps: 2(d + 1)k² for Q and R where k < d + 1, then s·(k·r²·w(w + 1)/2 + (w·r)³/3).

use super::full_fit::FullFit;
use super::heads::{ClassAxes, Heads, Images, Kept};
use super::quasi_newton::{Descent, Trial};
use super::refit::Fitted;
use crate::Result;
use crate::data::Rows;
use crate::derivative::head::HeadOutputs;
use crate::operator::{HeadHessian, Vectors};
use crate::solve::{Direct, Solver};
use candle_core::{Device, Tensor};
use faer::{Mat, linalg::solvers::Qr};

/// The most parameters that are worth a factor at every step, a second or two each.
const MOST_PARAMETERS: usize = 4096;
/// Steps to the end, as seen for sets of 1,000 images: by their own curvature, and from where all of them left it by that of all,
/// where at least half of them are kept and where fewer are.
const STEPS: f64 = 10.0;
const STEPS_OF_MOST: f64 = 10.0;
const STEPS_OF_FEW: f64 = 100.0;

/// Sizes of a refit by the images' own curvature.
#[derive(Clone, Copy)]
pub(super) struct OwnSize {
    /// k
    count: usize,
    /// n
    all: usize,
    /// d + 1
    columns: usize,
    /// w
    width: usize,
}

impl OwnSize {
    pub(super) fn of(fit: &FullFit, kept: &Kept) -> Self {
        Self {
            count: kept.count(),
            all: kept.images.len(),
            columns: fit.rows.columns(),
            width: fit.coordinates.classes().dims()[1],
        }
    }

    /// r
    fn rank(self) -> usize {
        self.count.min(self.columns)
    }

    /// Whether the curvature is small enough.
    pub(super) fn is_possible(self) -> bool {
        self.count > 0 && self.width * self.rank() <= MOST_PARAMETERS
    }

    /// Whether it takes fewer operations than steps with the curvature of all images, each of `step` operations.
    pub(super) fn is_cheaper(self, step: f64) -> bool {
        let others = match 2 * self.count >= self.all {
            true => STEPS_OF_MOST,
            false => STEPS_OF_FEW,
        };
        self.is_possible() && STEPS * self.step() + self.factors() <= others * step
    }

    /// Operations of Q and R.
    fn factors(self) -> f64 {
        match self.count < self.columns {
            true => 2.0 * self.columns as f64 * (self.count as f64).powi(2),
            false => 0.0,
        }
    }

    /// Operations of a curvature and its factor.
    fn step(self) -> f64 {
        let (count, rank, width) = (self.count as f64, self.rank() as f64, self.width as f64);
        count * rank * rank * width * (width + 1.0) / 2.0 + (width * rank).powi(3) / 3.0
    }

    /// Operations of a gradient.
    fn gradient(self) -> f64 {
        4.0 * (self.count * self.rank() * self.width) as f64
    }
}

/// The kept images.
pub(super) struct OwnCurvature<'a> {
    fit: &'a FullFit,
    size: OwnSize,
    /// `[k, r]`
    inputs: Rows,
    labels: Vec<usize>,
    kept: Kept,
    /// Q and R, where inputs are Rᵀ.
    factors: Option<Qr<f64>>,
}

impl<'a> OwnCurvature<'a> {
    /// Of the images that are kept.
    pub(super) fn of(fit: &'a FullFit, kept: &Kept) -> Result<Self> {
        let positions: Vec<u32> = kept.positions().map(|at| at as u32).collect();
        let size = OwnSize::of(fit, kept);
        let mut inputs = fit.rows.select(&positions)?;
        let mut factors = None;
        if size.count < size.columns {
            let (count, columns) = (size.count, size.columns);
            let rows = inputs.flatten_all()?.to_vec1::<f64>()?;
            let made =
                Mat::from_fn(columns, count, |column, row| rows[row * columns + column]).qr();
            let triangle = made.thin_R();
            let places = (0..count).flat_map(|row| (0..count).map(move |column| (column, row)));
            let transposed: Vec<f64> = places.map(|at| triangle[at]).collect();
            inputs = Tensor::from_vec(transposed, (count, count), &Device::Cpu)?;
            factors = Some(made);
        }
        let labels = fit.training.labels();
        Ok(Self {
            inputs: Rows::from(inputs),
            labels: positions.iter().map(|&at| labels[at as usize]).collect(),
            kept: Kept {
                divisor: kept.divisor,
                ..Kept::all(size.count)
            },
            factors,
            size,
            fit,
        })
    }

    /// Newton's method from ψ = 0 to a gradient of `tolerance`, in at most `most_steps`.
    pub(super) fn fitted(&self, tolerance: f64, most_steps: usize) -> Result<Fitted> {
        let images = Images {
            rows: &self.inputs,
            labels: &self.labels,
        };
        let heads = Heads::new(images, ClassAxes::of(&self.fit.coordinates)?, self.fit.l2);
        let start = vec![0.0; heads.size()];
        let first = heads.objectives(&start, &[&self.kept])?;
        let mut descent = Descent::new(start, first.values[0], first.gradients);
        let mut gradients = 1;
        while descent.gradient_norm > tolerance && descent.steps < most_steps {
            descent.forget();
            let gradient = descent.before_inverse();
            descent.after_inverse(self.solved(&descent.parameters, gradient)?);
            let outcome = loop {
                let found = heads.objectives(&descent.trial(), &[&self.kept])?;
                gradients += 1;
                match descent.judge(found.values[0], &found.gradients) {
                    Trial::Halved => {}
                    outcome => break outcome,
                }
            };
            if outcome == Trial::Stuck {
                break;
            }
        }
        let (factors, step, gradient) =
            (self.size.factors(), self.size.step(), self.size.gradient());
        Ok(Fitted {
            parameters: self.lifted(&descent.parameters),
            gradient_norm: descent.gradient_norm,
            steps: descent.steps,
            gradients,
            operations: factors + descent.steps as f64 * step + gradients as f64 * gradient,
            floor: factors + step + gradient,
        })
    }

    /// H⁻¹ `gradient`, H the curvature at `parameters`. With N the divisor and k images, H = k/N·(C + N/k·l2), C their mean curvature.
    fn solved(&self, parameters: &[f64], gradient: Vec<f64>) -> Result<Vec<f64>> {
        let (count, coordinates) = (self.size.count, &self.fit.coordinates);
        let shape = (self.size.width, self.size.rank());
        let head = Tensor::from_slice(parameters, shape, &Device::Cpu)?;
        let logits = self.inputs.chunk(0..count)?.matmul(&head.t()?)?;
        let logits = logits.matmul(&coordinates.classes().t()?)?;
        let outputs = HeadOutputs::from_logits(&logits, &self.labels)?;
        let scale = self.kept.divisor as f64 / count as f64;
        let l2 = self.fit.l2 * scale;
        let hessian = HeadHessian::in_coordinates(coordinates, &self.inputs, &outputs, l2)?;
        let gradient = Vectors::from_rows(gradient, parameters.len())?;
        let solved = Direct.prepare(&hessian)?.step(&gradient)?.value;
        Ok((solved.tensor() * scale)?.flatten_all()?.to_vec1()?)
    }

    /// φ = ψ Qᵀ, the head in the axes of all images.
    fn lifted(&self, parameters: &[f64]) -> Vec<f64> {
        let Some(factors) = &self.factors else {
            return parameters.to_vec();
        };
        let (rank, width) = (self.size.rank(), self.size.width);
        let head = Mat::from_fn(width, rank, |row, column| parameters[row * rank + column]);
        let head = head * factors.compute_thin_Q().transpose();
        let places = (0..width).flat_map(|row| (0..head.ncols()).map(move |at| (row, at)));
        places.map(|at| head[at]).collect()
    }
}
