//! Square roots of the softmax's curvature: rows s with Σ s sᵀ = diag π − ππᵀ, image by image.
//!
//! With such rows the Gauss–Newton matrix of an image is Σ (Jᵀs)(Jᵀs)ᵀ: each row is a backward pass. Two ways:
//!
//! - *exact*: s_k = √μ_k u_k with the eigenpairs of diag π − ππᵀ. A confident image has one eigenvalue to speak of, or
//!   none, so that of n·(C − 1) rows the largest few n carry nearly all of Σ μ; the others may be left out.
//! - *drawn*: s = Σ_c √π_c ε_c (e_c − π) with random signs ε has the right second moment in expectation. A label drawn
//!   from the model, the usual way (s = e_c − π with probability π_c), has it too, but is π's likeliest label most of the
//!   time, with a gradient near zero: its variance is larger.
//!
//! Signs belong to the seed and the image, not to an order.

use crate::data::random::{Purpose, generator};
use crate::derivative::head::HeadOutputs;
use crate::descending::descending;
use crate::{Error, Result};
use candle_core::DType;
use faer::{Mat, Side};
use rand::RngExt;
use rayon::prelude::*;
use std::ops::Range;

/// How the rows are made.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RootKind {
    /// By eigenvectors, the largest until they hold this share of Σ μ over all images; 1 for all of them.
    Exact {
        /// Above 0, at most 1.
        share: f64,
    },
    /// So many rows of random signs for each image.
    Drawn {
        /// Rows for each image.
        count: usize,
        /// Draws the signs.
        seed: u64,
    },
}

/// The share of Σ μ that is worth backward passes.
const SHARE: f64 = 0.999;

impl RootKind {
    /// Most classes for which eigenvectors are taken: their cost grows with C³, that of drawing with C.
    pub(crate) const EXACT_CLASSES: usize = 32;

    /// What is sensible for `classes` classes.
    pub fn for_classes(classes: usize, seed: u64) -> Self {
        match classes {
            0..=Self::EXACT_CLASSES => Self::Exact { share: SHARE },
            _ => Self::Drawn { count: 1, seed },
        }
    }
}

/// The rows of some images.
#[derive(Debug, Clone)]
pub struct CurvatureRoots {
    images: Vec<Vec<Vec<f64>>>,
    share: f64,
    drawn: bool,
}

impl CurvatureRoots {
    /// Of the images that `outputs` tell of, in their order; `positions` are what signs belong to.
    ///
    /// # Errors
    /// A share or count out of range, probabilities that are not finite, or another number of positions.
    pub fn of(outputs: &[HeadOutputs], positions: &[u32], kind: RootKind) -> Result<Self> {
        let mut rows = Vec::with_capacity(positions.len());
        for outputs in outputs {
            let probabilities = outputs.probabilities.to_dtype(DType::F64)?;
            let probabilities = probabilities.to_vec2::<f64>()?;
            rows.extend(probabilities.into_iter().zip(outputs.predictions.clone()));
        }
        if rows.len() != positions.len() {
            return Err(Error::mismatch(
                "positions of images",
                rows.len(),
                positions.len(),
                "give one for each image",
            ));
        }
        for (pi, top) in &mut rows {
            // 1 − π of the likeliest class keeps its digits only as the sum of the others.
            pi[*top] = 0.0;
            pi[*top] = 1.0 - pi.iter().sum::<f64>();
        }
        match kind {
            RootKind::Exact { share } => Self::exact(&rows, share),
            RootKind::Drawn { count, seed } => Self::drawn(&rows, positions, (count, seed)),
        }
    }

    fn exact(images: &[(Vec<f64>, usize)], share: f64) -> Result<Self> {
        if !(share > 0.0 && share <= 1.0) {
            let reason = format!("{share} is not above 0 and at most 1");
            return Err(Error::config("share", reason));
        }
        let mut images: Vec<_> = (images.par_iter())
            .map(|(pi, top)| eigenvectors(pi, *top))
            .collect::<Result<_>>()?;
        let all = images.iter().enumerate();
        let (masses, of): (Vec<f64>, Vec<usize>) = all
            .flat_map(|(image, rows)| rows.iter().map(move |row| (square(row), image)))
            .unzip();
        let order = descending(&masses);
        let total: f64 = order.iter().map(|&row| masses[row]).sum();
        let mut kept = vec![0; images.len()];
        let mut held = 0.0;
        for row in order {
            if share < 1.0 && held >= share * total {
                break;
            }
            held += masses[row];
            kept[of[row]] += 1;
        }
        // Rows of an image are in descending order, as the masses were.
        (images.iter_mut().zip(kept)).for_each(|(rows, kept)| rows.truncate(kept));
        let share = if total > 0.0 { held / total } else { 1.0 };
        Ok(Self {
            images,
            share,
            drawn: false,
        })
    }

    fn drawn(
        images: &[(Vec<f64>, usize)],
        positions: &[u32],
        (count, seed): (usize, u64),
    ) -> Result<Self> {
        if count == 0 {
            return Err(Error::config("labels", "at least 1 row is needed"));
        }
        let rows = |((pi, top), &position): (&(Vec<f64>, usize), &u32)| {
            let mut random = generator(Purpose::Labels, seed, 0, u64::from(position));
            let row = |_| signed(pi, *top, || random.random::<bool>(), count);
            (0..count).map(row).collect()
        };
        Ok(Self {
            images: images.iter().zip(positions).map(rows).collect(),
            share: 1.0,
            drawn: true,
        })
    }

    /// The rows of the i-th image, largest first where they are exact.
    pub fn of_image(&self, index: usize) -> &[Vec<f64>] {
        &self.images[index]
    }

    /// Images.
    pub fn images(&self) -> usize {
        self.images.len()
    }

    /// Rows in all.
    pub fn count(&self) -> usize {
        self.images.iter().map(Vec::len).sum()
    }

    /// Images one after the other whose rows together are at most `most`, or those of a single image; every group has rows.
    pub fn groups(&self, most: usize) -> Vec<Range<usize>> {
        let mut groups: Vec<Range<usize>> = Vec::new();
        if self.count() == 0 {
            return groups;
        }
        let mut held = 0;
        for image in 0..self.images() {
            let rows = self.images[image].len();
            match groups.last_mut() {
                Some(group) if held == 0 || rows == 0 || held + rows <= most => group.end += 1,
                _ => {
                    groups.push(image..image + 1);
                    held = 0;
                }
            }
            held += rows;
        }
        groups
    }

    /// Whether they come from random signs.
    pub fn is_drawn(&self) -> bool {
        self.drawn
    }

    /// The share of Σ tr (diag π − ππᵀ) that they hold, in expectation where they were drawn.
    pub fn share(&self) -> f64 {
        self.share
    }
}

fn square(row: &[f64]) -> f64 {
    row.iter().map(|x| x * x).sum()
}

/// √μ_k u_k, largest first; only C − 1 have μ > 0.
fn eigenvectors(pi: &[f64], top: usize) -> Result<Vec<Vec<f64>>> {
    let classes = pi.len();
    if pi.iter().any(|p| !p.is_finite()) {
        let (what, remedy) = ("the softmax's probabilities", "look at the model's weights");
        return Err(Error::non_finite(what, "an image", remedy));
    }
    let others: f64 = (0..classes).filter(|&c| c != top).map(|c| pi[c]).sum();
    let matrix = Mat::from_fn(classes, classes, |i, j| match i == j {
        true if i == top => pi[i] * others,
        true => pi[i] * (1.0 - pi[i]),
        false => -pi[i] * pi[j],
    });
    let eigen = matrix
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| Error::config("solver", "the softmax's curvature has no eigenvectors"))?;
    let (values, vectors) = (eigen.S().column_vector(), eigen.U());
    let row = |k: usize| {
        let root = values[k].max(0.0).sqrt();
        (0..classes).map(|c| root * vectors[(c, k)]).collect()
    };
    Ok((1..classes).rev().map(row).collect())
}

/// Σ_c √π_c ε_c (e_c − π) / √count.
fn signed(pi: &[f64], top: usize, mut sign: impl FnMut() -> bool, count: usize) -> Vec<f64> {
    let scale = (count as f64).sqrt().recip();
    let roots = pi.iter().map(|p| p.max(0.0).sqrt() * scale);
    let signed: Vec<f64> = roots.map(|r| if sign() { r } else { -r }).collect();
    let others = || (0..pi.len()).filter(|&c| c != top);
    let (rest, likely) = (others().map(|c| pi[c]).sum::<f64>(), signed[top]);
    let unlikely: f64 = others().map(|c| signed[c]).sum();
    let element = |j: usize| match j == top {
        true => rest * likely - pi[j] * unlikely,
        false => signed[j] - pi[j] * (likely + unlikely),
    };
    (0..pi.len()).map(element).collect()
}
