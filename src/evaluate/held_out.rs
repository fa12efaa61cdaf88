//! The loss of each training image by a head that was fitted without it.
//!
//! ℓᵢ(θ₋F), θ₋F = argmin (1/|T∖F|) Σ_{j∉F} ℓⱼ(θ) + l2/2·‖θ‖², for the fold F of [`FOLDS`] that image i is in; every class is dealt out
//! over the folds evenly, in an order that a seed of its own decides. A head learns wrong labels by heart where it has few images and a
//! small L2 term, and its own loss then hides them; this one cannot. Images with equal features, as copies of an image have, are in one
//! fold: a head fitted to one of them would know the other.
//!
//! Features are those of the model that was fine-tuned on all images: what blocks have learned by heart stays hidden.

use super::full_fit::FullFit;
use super::heads::Kept;
use super::refit::{RefitOptions, Work};
use super::subsets::{Draw, shuffled};
use crate::Result;
use crate::data::Rows;
use crate::derivative::head::HeadInputs;
use candle_core::DType;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Parts that are left out in turn.
const FOLDS: usize = 5;

/// A factor of the curvature is for many refits: for five it is worth its p³/3 operations in small heads alone.
const OPTIONS: RefitOptions = RefitOptions {
    gradient_norm: 1e-8,
    steps: 400,
    factorised: 4096,
};

/// Losses by heads fitted without the image, in nats; `training` is what `fit` was fitted to.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldOut {
    /// By position.
    pub losses: Vec<f64>,
    /// What the fits took; whether they converged is in it.
    pub work: Work,
}

impl HeldOut {
    /// Fits the head again without each fold.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn of(fit: &FullFit, training: &HeadInputs) -> Result<Self> {
        let folds = folds(training.labels(), &first_equals(training.rows())?);
        let count = folds.len();
        let refitting = fit.refitting_to(training, &OPTIONS)?;
        let without = |fold: usize| -> Kept {
            let kept: Vec<usize> = (0..count).filter(|&at| folds[at] != fold).collect();
            Kept::subset(count, &kept)
        };
        let kept: Vec<Kept> = (0..FOLDS).map(without).collect();
        let (refits, work) = refitting.refit(&kept)?;
        let losses = (folds.iter().enumerate()).map(|(at, &fold)| refits[fold].losses[at]);
        Ok(Self {
            losses: losses.collect(),
            work,
        })
    }
}

/// The fold of each image; where `firsts` has another image than itself, that one's.
fn folds(labels: &[usize], firsts: &[usize]) -> Vec<usize> {
    let classes = labels.iter().max().map_or(0, |most| most + 1);
    let mut dealt = vec![0; classes];
    let mut folds = vec![0; labels.len()];
    for at in shuffled(labels.len(), Draw::Folds, 0, 0) {
        if firsts[at] == at {
            let class = labels[at];
            // Classes begin at different folds, so that these are alike in size where classes are small.
            folds[at] = (class + dealt[class]) % FOLDS;
            dealt[class] += 1;
        }
    }
    firsts.iter().map(|&first| folds[first]).collect()
}

/// For each row the first one that is equal to it.
fn first_equals(rows: &Rows) -> Result<Vec<usize>> {
    let mut seen: HashMap<[u8; 32], usize> = HashMap::new();
    let mut firsts = Vec::with_capacity(rows.count());
    for step in rows.steps() {
        let values = rows.chunk(step)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        for row in values {
            let mut hasher = Sha256::new();
            row.iter()
                .for_each(|value| hasher.update(value.to_le_bytes()));
            let at = firsts.len();
            firsts.push(*seen.entry(hasher.finalize().into()).or_insert(at));
        }
    }
    Ok(firsts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derivative::head::SoftmaxHead;
    use crate::solve::Newton;
    use candle_core::{DType, Device, Tensor};

    #[test]
    fn every_class_is_dealt_out_evenly() {
        let labels: Vec<usize> = (0..230).map(|at| (at * at) % 7).collect();
        let own: Vec<usize> = (0..230).collect();
        let folds = folds(&labels, &own);
        for class in 0..7 {
            let sizes = [0, 1, 2, 3, 4].map(|fold| {
                let of_it = |&at: &usize| labels[at] == class && folds[at] == fold;
                (0..230).filter(of_it).count()
            });
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1, "{class}: {sizes:?}");
        }
    }

    #[test]
    fn equal_rows_are_left_out_together() {
        let values: Vec<f32> = [0.0, 1.0, 2.0, 1.0, 3.0, 2.0, 1.0, 4.0]
            .iter()
            .flat_map(|&x| [x, 0.5])
            .collect();
        let rows = Rows::from(Tensor::from_vec(values, (8, 2), &Device::Cpu).unwrap());
        let firsts = first_equals(&rows).unwrap();
        assert_eq!(firsts, [0, 1, 2, 1, 4, 2, 1, 7]);
        // Whatever their labels.
        let folds = folds(&[0, 1, 0, 0, 1, 1, 0, 1], &firsts);
        assert!(
            firsts
                .iter()
                .zip(&folds)
                .all(|(&first, &fold)| folds[first] == fold)
        );
    }

    /// Against heads that are fitted from zero to the other folds alone.
    #[test]
    fn losses_are_those_of_heads_that_never_saw_the_image() {
        let (count, width, classes) = (60, 6, 3);
        let values: Vec<f64> = (0..count * width)
            .map(|at| ((at * 7919 % 101) as f64).sin())
            .collect();
        let rows = Tensor::from_vec(values, (count, width), &Device::Cpu).unwrap();
        let labels: Vec<usize> = (0..count).map(|at| at * 5 % 7 % classes).collect();
        let inputs = |at: &[usize]| {
            let rows = rows
                .index_select(
                    &Tensor::new(
                        at.iter().map(|&at| at as u32).collect::<Vec<_>>(),
                        &Device::Cpu,
                    )
                    .unwrap(),
                    0,
                )
                .unwrap();
            let labels: Vec<usize> = at.iter().map(|&at| labels[at]).collect();
            HeadInputs::new(&Rows::from(&rows), &labels, DType::F64).unwrap()
        };
        let zeros = || SoftmaxHead::zeros(classes, width, DType::F64, &Device::Cpu).unwrap();
        let all: Vec<usize> = (0..count).collect();
        let training = inputs(&all);
        let l2 = 1e-2;
        let fit = FullFit::new(&training, zeros(), l2, RefitOptions::default()).unwrap();
        let found = HeldOut::of(&fit, &training).unwrap();
        assert_eq!((found.work.refits, found.work.not_converged), (FOLDS, 0));
        let folds = folds(&labels, &all);
        for fold in 0..FOLDS {
            let [of_it, others] = [true, false].map(|wanted| -> Vec<usize> {
                (all.iter().copied())
                    .filter(|&at| (folds[at] == fold) == wanted)
                    .collect()
            });
            let head = Newton::new(l2).fit(&inputs(&others), zeros()).unwrap().head;
            let expected = head.outputs(&inputs(&of_it)).unwrap().losses;
            for (at, expected) in of_it.iter().zip(expected) {
                assert!((found.losses[*at] - expected).abs() < 1e-6 * (1.0 + expected));
            }
        }
    }
}
