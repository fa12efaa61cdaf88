//! What a step of training is made of: the loss and its gradients, an adversary's ascent, the optimiser.

use crate::{device, distance, normal};
use ascribe::derivative::{
    LossGradients, LossGradientsOf, OfInput, gradient, loss_gradients, weighted_loss_gradients,
};
use ascribe::model::{Pass, ResNet};
use ascribe::train::{Adversary, Norm, Sgd, Start};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::BTreeMap;

/// More classes than a warp has threads.
const CLASSES: usize = 70;

fn network() -> ResNet {
    let model = crate::network("cifar-resnet14-w8", CLASSES, 16);
    model.to_dtype(DType::F64).unwrap()
}

fn images(count: usize, side: usize) -> Tensor {
    let uniform = normal(1, &[count, 3, side, side]).cos().unwrap();
    uniform.abs().unwrap()
}

fn labels(count: usize) -> Tensor {
    let labels: Vec<u32> = (0..count).map(|i| (i * 37 % CLASSES) as u32).collect();
    Tensor::new(labels, &Device::Cpu).unwrap()
}

fn gradients(model: &ResNet, images: &Tensor, labels: &Tensor, training: bool) -> LossGradients {
    let (mut pass, parameters_from) = match training {
        true => (Pass::training_from(0), Some(0)),
        false => (Pass::evaluation(), None),
    };
    let wanted = LossGradientsOf {
        parameters_from,
        input: OfInput::Gradient,
    };
    let (device, dtype) = (model.device().unwrap(), images.dtype());
    let placed = |x: &Tensor| x.to_device(device).unwrap();
    let model = model.to_dtype(dtype).unwrap();
    let entered = (0, &placed(images));
    loss_gradients(&model, entered, &placed(labels), &mut pass, wanted).unwrap()
}

#[test]
fn losses_and_their_gradients() {
    let model = network();
    let there = model.to_device(&device()).unwrap();
    let (images, labels) = (images(11, 16), labels(11));
    for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-3)] {
        for training in [true, false] {
            let expected = gradients(&model, &images, &labels, training);
            let images = images.to_dtype(dtype).unwrap();
            let found = gradients(&there, &images, &labels, training);
            let close = |what: &str, found: &Tensor, expected: &Tensor| {
                let apart = distance(found, expected);
                assert!(
                    apart < tolerance,
                    "{what}, {dtype:?}, training {training}: {apart:e}"
                );
            };
            close("loss", &found.loss_and_right, &expected.loss_and_right);
            close("logits", &found.logits, &expected.logits);
            close("images", &found.input.unwrap(), &expected.input.unwrap());
            assert_eq!(found.parameters.len(), expected.parameters.len());
            for (name, expected) in &expected.parameters {
                close(name, &found.parameters[name], expected);
            }
        }
    }
}

/// Weights are copied to bf16 once a pass, and gradients come in it; candle's own way back converts them one by one.
#[test]
fn losses_and_their_gradients_in_bf16() {
    let device = device();
    let images = images(16, 16).to_dtype(DType::F32).unwrap();
    let (images, labels) = (
        images.to_device(&device).unwrap(),
        labels(16).to_device(&device).unwrap(),
    );
    let model = network().to_dtype(DType::F32).unwrap();
    let mut model = (model.to_device(&device).unwrap()).with_activations(DType::BF16);
    let wanted = LossGradientsOf {
        parameters_from: Some(0),
        input: OfInput::Nothing,
    };
    let mut pass = Pass::training_from(0);
    let found = loss_gradients(&model, (0, &images), &labels, &mut pass, wanted).unwrap();

    let variables = model.make_trainable(0).unwrap();
    let logits = model.forward(&images, &mut Pass::training_from(0)).unwrap();
    let loss = candle_nn::loss::cross_entropy(&logits, &labels).unwrap();
    let tensors: Vec<&Tensor> = variables.values().map(Var::as_tensor).collect();
    let expected = gradient(&loss, &tensors).unwrap();
    for (name, expected) in variables.keys().zip(&expected) {
        let found = &found.parameters[name];
        let is_head = name.starts_with("fc.");
        assert_eq!(found.dtype() == DType::BF16, !is_head, "{name}");
        let apart = distance(found, expected);
        assert!(apart < 0.05, "{name}: {apart:e}");
    }
}

/// Some images have no part in the loss, as in trainings that leave losses out.
#[test]
fn weighted_losses_and_their_gradients() {
    let model = network();
    let there = model.to_device(&device()).unwrap();
    let (images, labels) = (images(6, 16), labels(6));
    let weights = Tensor::new(&[1f32, 0.0, 1.0, 1.0, 0.0, 1.0], &Device::Cpu).unwrap();
    let gradients = |model: &ResNet, dtype: DType| {
        let placed = |x: &Tensor| x.to_device(model.device().unwrap()).unwrap();
        let wanted = LossGradientsOf {
            parameters_from: Some(0),
            input: OfInput::Nothing,
        };
        let model = model.to_dtype(dtype).unwrap();
        let entered = (0, &placed(&images.to_dtype(dtype).unwrap()));
        let labels = (&placed(&labels), Some(&placed(&weights)));
        let mut pass = Pass::training_from(0);
        weighted_loss_gradients(&model, entered, labels, &mut pass, wanted).unwrap()
    };
    let expected = gradients(&model, DType::F64);
    for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-3)] {
        let found = gradients(&there, dtype);
        for (name, expected) in &expected.parameters {
            let apart = distance(&found.parameters[name], expected);
            assert!(apart < tolerance, "{name}, {dtype:?}: {apart:e}");
        }
        let apart = distance(&found.loss_and_right, &expected.loss_and_right);
        assert!(apart < tolerance, "{dtype:?}: {apart:e}");
    }
}

#[test]
fn equal_logits_and_labels_that_are_no_class() {
    let model = network();
    let (weight, bias) = model.head_parameters().unwrap();
    let classes = model.classes().to_vec();
    let flat = model.with_head(
        classes,
        weight.zeros_like().unwrap(),
        bias.zeros_like().unwrap(),
    );
    let there = flat.unwrap().to_device(&device()).unwrap();
    let of = |labels: &[u32]| {
        let labels = Tensor::new(labels, &Device::Cpu).unwrap();
        let found = gradients(&there, &images(3, 16), &labels, false).loss_and_right;
        found.to_vec1::<f64>().unwrap()
    };
    // Of equal logits the first is the prediction.
    let found = of(&[0, 5, 0]);
    assert!((found[0] - (CLASSES as f64).ln()).abs() < 1e-12 && found[1] == 2.0);
    assert!(of(&[0, CLASSES as u32, 0])[0].is_nan());
}

#[test]
fn ascents() {
    let model = network();
    let there = model.to_device(&device()).unwrap();
    for (norm, epsilon) in [(Norm::L2, 0.5), (Norm::Linf, 0.03)] {
        for (start, side) in [(Start::Image, 9), (Start::Random, 40)] {
            let (images, labels) = (images(5, side), labels(5));
            let adversary = Adversary {
                start,
                ..Adversary::new(norm, epsilon, 3).unwrap()
            };
            let ends = |model: &ResNet, dtype: DType| {
                let placed = |x: &Tensor| x.to_device(model.device().unwrap()).unwrap();
                let images = placed(&images).to_dtype(dtype).unwrap();
                let model = model.to_dtype(dtype).unwrap();
                let ends = adversary.perturb(&model, &images, &placed(&labels), [1, 2, 3]);
                ends.unwrap()
            };
            let expected = ends(&model, DType::F64);
            assert!(distance(&expected, &images) > 1e-3, "nothing was perturbed");
            for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-2)] {
                let found = ends(&there, dtype);
                // What matters is what was added.
                let added = |ends: &Tensor| {
                    let ends = ends.to_device(&Device::Cpu).unwrap();
                    (ends.to_dtype(DType::F64).unwrap() - &images).unwrap()
                };
                let apart = distance(&added(&found), &added(&expected));
                assert!(
                    apart < tolerance || (norm == Norm::Linf && dtype == DType::F32),
                    "{norm}, {start:?}, {dtype:?}: {apart:e}"
                );
                let most = match norm {
                    Norm::L2 => added(&found).sqr().unwrap().sum((1, 2, 3)).unwrap(),
                    Norm::Linf => added(&found).abs().unwrap(),
                };
                let most: f64 = most
                    .flatten_all()
                    .unwrap()
                    .max(0)
                    .unwrap()
                    .to_scalar()
                    .unwrap();
                let most = if norm == Norm::L2 { most.sqrt() } else { most };
                assert!(most < epsilon * (1.0 + 1e-5), "{norm}, {dtype:?}: {most}");
            }
        }
    }
}

#[test]
fn slopes_of_zero_move_nothing() {
    let model = network();
    let (weight, bias) = model.head_parameters().unwrap();
    let classes = model.classes().to_vec();
    let flat = model.with_head(classes, weight.zeros_like().unwrap(), bias);
    let there = flat.unwrap().to_device(&device()).unwrap();
    for norm in [Norm::L2, Norm::Linf] {
        let images = images(3, 16).to_device(&device()).unwrap();
        let labels = labels(3).to_device(&device()).unwrap();
        let adversary = Adversary::new(norm, 0.5, 2).unwrap();
        let ends = adversary.perturb(&there, &images, &labels, [0; 3]).unwrap();
        assert_eq!(distance(&ends, &images), 0.0, "{norm}");
    }
}

/// Parameters of many sizes, at rest, and three gradients for each.
fn descended(device: &Device, dtype: DType, gradients_in: DType) -> Vec<Tensor> {
    const SIZES: [usize; 5] = [1, 300, 4096, 4097, 9001];
    let name = |i: usize| format!("{i:03}");
    let placed = |seed: usize, i: usize, dtype: DType| {
        let values = normal(seed as u64, &[SIZES[i % SIZES.len()]]);
        // What both formats hold.
        let values = values.to_dtype(DType::BF16).unwrap();
        values.to_dtype(dtype).unwrap().to_device(device).unwrap()
    };
    let variables: BTreeMap<String, Var> = (0..150)
        .map(|i| (name(i), Var::from_tensor(&placed(i, i, dtype)).unwrap()))
        .collect();
    let mut optimiser = Sgd::new(variables.clone(), 0.9, 5e-4);
    for step in 1..4 {
        let gradients = (0..150).map(|i| (name(i), placed(1000 * step + i, i, gradients_in)));
        let gradients = gradients.collect();
        optimiser.step(&gradients, 0.1 / step as f64).unwrap();
    }
    let velocities = optimiser.velocities().values().cloned();
    let parameters = variables.values().map(Var::as_detached_tensor);
    parameters.chain(velocities).collect()
}

#[test]
fn descents() {
    let expected = descended(&Device::Cpu, DType::F64, DType::F64);
    for (dtype, gradients_in, tolerance) in [
        (DType::F64, DType::F64, 1e-15),
        (DType::F32, DType::F32, 1e-6),
        (DType::F32, DType::BF16, 1e-6),
    ] {
        let found = descended(&device(), dtype, gradients_in);
        assert_eq!(found.len(), expected.len());
        for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let apart = distance(found, expected);
            assert!(
                apart < tolerance,
                "{dtype:?} by {gradients_in:?}, {place}: {apart:e}"
            );
        }
    }
}
