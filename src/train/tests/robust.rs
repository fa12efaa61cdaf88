//! Batches of free and fast training against the same by hand, in f64.

use super::*;
use crate::derivative::gradient;
use crate::model::Pass;
use crate::train::feed::{Batch, Input};
use crate::train::learner::{Learner, Place};
use crate::train::running_tally::RunningTally;
use candle_core::{DType, Var};
use candle_nn::loss::cross_entropy;

const RATE: f64 = 0.05;
/// Numbers in an image.
const SIZE: usize = 3 * 8 * 8;

fn start() -> ResNet {
    model().to_dtype(DType::F64).unwrap()
}

fn against(training: AdversarialTraining) -> Recipe {
    Recipe {
        adversary: Some(training),
        ..recipe()
    }
}

/// Digits, black in large parts, so that pixels are clipped, and their labels.
fn batches(parts: &[&[usize]]) -> Vec<(Tensor, Tensor)> {
    let (digits, _) = digits();
    let batch = |part: &&[usize]| {
        let images = digits.batch(part, &Device::Cpu).unwrap();
        let labels = Tensor::new(digits.labels_of(part), &Device::Cpu).unwrap();
        (images.to_dtype(DType::F64).unwrap(), labels)
    };
    parts.iter().map(batch).collect()
}

fn plain(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The model after training's own steps on batches of the first epoch.
fn stepped(recipe: &Recipe, batches: &[(Tensor, Tensor)]) -> ResNet {
    let mut model = start();
    let variables = model.make_trainable(0).unwrap();
    let mut learner = Learner {
        model: &mut model,
        first_segment: 0,
        recipe,
        optimiser: Sgd::new(variables, recipe.momentum, recipe.l2),
        checks: Vec::new(),
        good: None,
        carried: None,
    };
    let mut tally = RunningTally::new(0, true);
    for (number, (images, labels)) in batches.iter().enumerate() {
        let batch = Batch {
            weights: None,
            labels: labels.clone(),
            input: Input::Images(images.clone()),
        };
        let mut place = Place {
            epoch: 0,
            number,
            rate: RATE,
            tally: &mut tally,
        };
        learner.step(batch, &mut place).unwrap();
    }
    learner.model.detached()
}

/// Algorithm 1 of Shafahi et al. (2019) for L2, in plain loops but for the gradients: the same pass moves the weights down and
/// the perturbation up by ε, which the next batch begins with.
fn free_by_hand(
    recipe: &Recipe,
    free: &Free,
    batches: &[(Tensor, Tensor)],
) -> BTreeMap<String, Vec<f64>> {
    let mut model = start();
    let variables = model.make_trainable(0).unwrap();
    let zeros = |variable: &Var| vec![0.0; variable.elem_count()];
    let mut velocities: Vec<Vec<f64>> = variables.values().map(zeros).collect();
    let mut perturbation = vec![0.0; batches[0].0.elem_count()];
    for (images, labels) in batches {
        perturbation.truncate(images.elem_count());
        for _ in 0..free.replays {
            let input = perturbed(images, &perturbation);
            let mut pass = Pass::training_from(0);
            let logits = model.forward(input.as_tensor(), &mut pass).unwrap();
            let loss = cross_entropy(&logits, labels).unwrap();
            let mut all: Vec<&Tensor> = variables.values().map(Var::as_tensor).collect();
            all.push(input.as_tensor());
            let slopes: Vec<_> = gradient(&loss, &all).unwrap().iter().map(plain).collect();
            let moved = variables.values().zip(&mut velocities);
            for ((variable, velocity), slope) in moved.zip(&slopes) {
                descend(variable, velocity, slope, recipe);
            }
            ascend(&mut perturbation, &slopes[variables.len()], free.epsilon);
        }
    }
    let weights = |(name, variable): (&String, &Var)| (name.clone(), plain(variable.as_tensor()));
    variables.iter().map(weights).collect()
}

fn perturbed(images: &Tensor, perturbation: &[f64]) -> Var {
    let pixels = plain(images).into_iter().zip(perturbation);
    let pixels: Vec<f64> = pixels
        .map(|(pixel, change)| (pixel + change).clamp(0.0, 1.0))
        .collect();
    Var::from_vec(pixels, images.shape(), &Device::Cpu).unwrap()
}

fn descend(variable: &Var, velocity: &mut [f64], slope: &[f64], recipe: &Recipe) {
    let mut weights = plain(variable.as_tensor());
    for ((weight, velocity), slope) in weights.iter_mut().zip(velocity).zip(slope) {
        *velocity = recipe.momentum * *velocity + slope + recipe.l2 * *weight;
        *weight -= RATE * *velocity;
    }
    let weights = Tensor::from_vec(weights, variable.shape(), &Device::Cpu).unwrap();
    variable.set(&weights).unwrap();
}

fn ascend(perturbation: &mut [f64], slope: &[f64], epsilon: f64) {
    for (image, slope) in perturbation.chunks_mut(SIZE).zip(slope.chunks(SIZE)) {
        let steepness = length(slope);
        for (value, slope) in image.iter_mut().zip(slope) {
            *value += epsilon * slope / steepness;
        }
        let shorter = (epsilon / length(image)).min(1.0);
        image.iter_mut().for_each(|value| *value *= shorter);
    }
}

fn length(values: &[f64]) -> f64 {
    let squares = values.iter().map(|value| value * value);
    squares.sum::<f64>().sqrt()
}

/// The last batch is smaller, as that of an epoch may be.
#[test]
fn free_training_moves_weights_down_and_images_up_at_once_and_from_batch_to_batch() {
    let free = Free::new(Norm::L2, 0.5, 2).unwrap();
    let recipe = against(AdversarialTraining::Free(free));
    let batches = batches(&[&[0, 1, 2, 3], &[4, 5, 6, 7], &[8, 9, 10]]);
    let found = stepped(&recipe, &batches);
    for (name, expected) in free_by_hand(&recipe, &free, &batches) {
        let found = plain(&found.tensors()[&name]);
        for (found, expected) in found.iter().zip(&expected) {
            let error = (found - expected).abs();
            assert!(
                error <= 1e-8 * (1.0 + expected.abs()),
                "{name}: {found} {expected}"
            );
        }
    }
}

/// A batch costs one step on the weights, natural but for its images.
#[test]
fn fast_training_steps_once_on_images_that_its_adversary_perturbed() {
    let fast = Fast::new(Norm::L2, 0.5, 100).unwrap();
    let batch = batches(&[&[0, 1, 2, 3]]);
    let (images, labels) = &batch[0];
    let draw = [recipe().seed, 0, 0];
    let images = (fast.adversary).perturb(&start(), images, labels, draw);
    let found = stepped(&against(AdversarialTraining::Fast(fast)), &batch);
    let expected = stepped(&recipe(), &[(images.unwrap(), labels.clone())]);
    let natural = stepped(&recipe(), &batch);
    for (name, expected) in expected.tensors() {
        assert!(plain(&found.tensors()[name]) == plain(expected), "{name}");
    }
    let head = |model: &ResNet| plain(&model.tensors()["fc.weight"]);
    assert!(head(&found) != head(&natural));
}
