//! Whole networks against finite differences along random directions.

use crate::model::{normal, scalar, variables};
use ascribe::derivative::gradient;
use ascribe::model::{Normalisation, Pass, ResNet};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;

pub(crate) const NORMALISATION: Normalisation = Normalisation {
    mean: [0.5, 0.4, 0.3],
    deviation: [0.2, 0.25, 0.3],
};

pub(crate) fn classes(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

pub(crate) fn network(architecture: &str, class_count: usize) -> ResNet {
    let architecture = architecture.parse().unwrap();
    ResNet::initialise(
        architecture,
        classes(class_count),
        NORMALISATION,
        32,
        7,
        &Device::Cpu,
    )
    .unwrap()
}

/// The network in f64 with batch norms that are not the identity, so that no gradient is trivial.
fn lively(architecture: &str, class_count: usize) -> ResNet {
    let model = network(architecture, class_count)
        .to_dtype(DType::F64)
        .unwrap();
    let tensors = (0..)
        .zip(model.tensors())
        .map(|(seed, (name, tensor))| {
            let noise = (normal(seed, tensor.dims()) * 0.2).unwrap();
            let tensor = match tensor.dims() {
                [_] if !name.starts_with("fc.") => (tensor + &noise.tanh().unwrap()).unwrap(),
                _ => tensor.clone(),
            };
            (name.clone(), tensor)
        })
        .collect();
    with_tensors(&model, tensors)
}

fn with_tensors(model: &ResNet, tensors: BTreeMap<String, Tensor>) -> ResNet {
    let architecture = model.architecture().clone();
    ResNet::new(
        architecture,
        model.classes().to_vec(),
        NORMALISATION,
        model.side(),
        tensors,
    )
    .unwrap()
}

fn loss(model: &ResNet, images: &Tensor, training: bool) -> Tensor {
    let mut pass = if training {
        Pass::training_from(0)
    } else {
        Pass::evaluation()
    };
    let logits = model.forward(images, &mut pass).unwrap();
    let labels = Tensor::new(&[1_u32, 0][..images.dims()[0]], &Device::Cpu).unwrap();
    candle_nn::loss::cross_entropy(&logits, &labels).unwrap()
}

/// For each group of parameters (by `group_of` their name) and for the images: the directional derivative along a
/// random direction equals the central difference. The tiny move stays on one side of the rectifiers' kinks.
fn check_along_directions(
    model: &ResNet,
    images: &Tensor,
    training: bool,
    group_of: impl Fn(&str) -> String,
) {
    const LENGTH: f64 = 1e-6;
    let mut trainable = model.clone();
    let parameters = trainable.make_trainable(0).unwrap();
    let image_variable = variables(std::slice::from_ref(images)).remove(0);
    let mut inputs: Vec<(&str, &Tensor)> = parameters
        .iter()
        .map(|(name, v)| (name.as_str(), v.as_tensor()))
        .collect();
    inputs.push(("images", &image_variable));
    let tensors: Vec<&Tensor> = inputs.iter().map(|(_, tensor)| *tensor).collect();
    let gradients = gradient(&loss(&trainable, &image_variable, training), &tensors).unwrap();

    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, (name, _)) in inputs.iter().enumerate() {
        groups.entry(group_of(name)).or_default().push(index);
    }
    for (group, members) in groups {
        let directions: Vec<Tensor> = members
            .iter()
            .map(|&i| normal(100 + i as u64, tensors[i].dims()))
            .collect();
        let analytic: f64 = members
            .iter()
            .zip(&directions)
            .map(|(&i, direction)| scalar(&(&gradients[i] * direction).unwrap().sum_all().unwrap()))
            .sum();
        let moved = |step: f64| {
            let (mut moved, mut moved_images) = (model.tensors().clone(), images.clone());
            for (&i, direction) in members.iter().zip(&directions) {
                let target = match inputs[i].0 {
                    "images" => &mut moved_images,
                    name => moved.get_mut(name).unwrap(),
                };
                *target = (&*target + (direction * step).unwrap()).unwrap();
            }
            scalar(&loss(&with_tensors(model, moved), &moved_images, training))
        };
        let squares = directions
            .iter()
            .map(|d| scalar(&d.sqr().unwrap().sum_all().unwrap()));
        let step = LENGTH / squares.sum::<f64>().sqrt();
        let numeric = (moved(step) - moved(-step)) / (2.0 * step);
        assert!(
            (analytic - numeric).abs() <= 1e-5 * (1.0 + numeric.abs()),
            "{}, {group}, training {training}: analytic {analytic}, numeric {numeric}",
            model.architecture()
        );
    }
}

fn images(batch: usize, height: usize, width: usize) -> Tensor {
    let x = normal(1, &[batch, 3, height, width]).tanh().unwrap();
    ((x * 0.5).unwrap() + 0.5).unwrap()
}

/// Stem, blocks with and without a projection, head: each tensor on its own, in both modes of batch norm.
#[test]
fn every_tensor_of_a_small_network() {
    let model = lively("cifar-resnet8-w4", 3);
    for (batch, training) in [(1, false), (2, false), (1, true), (2, true)] {
        check_along_directions(&model, &images(batch, 9, 7), training, str::to_owned);
    }
}

/// The 7×7 stem with its max pool, four stages of basic blocks.
#[test]
fn stages_of_resnet18() {
    let model = lively("resnet18", 3);
    for training in [false, true] {
        check_along_directions(&model, &images(2, 35, 41), training, |name| {
            name.chars().take(6).collect()
        });
    }
}

/// Bottleneck blocks.
#[test]
fn stages_of_resnet50() {
    let model = lively("resnet50", 3);
    check_along_directions(&model, &images(1, 33, 35), false, |name| {
        (if name == "images" { name } else { "parameters" }).to_owned()
    });
}

/// Pixels enter as they are; the model normalises them with its own mean and deviation.
#[test]
fn normalisation_is_part_of_the_model() {
    let model = lively("cifar-resnet8-w4", 3);
    let images = images(2, 8, 8);
    let column = |values: [f64; 3]| {
        Tensor::new(&values, &Device::Cpu)
            .unwrap()
            .reshape((1, 3, 1, 1))
            .unwrap()
    };
    let normalised = images
        .broadcast_sub(&column(NORMALISATION.mean))
        .unwrap()
        .broadcast_div(&column(NORMALISATION.deviation))
        .unwrap();
    let identity = Normalisation {
        mean: [0.0; 3],
        deviation: [1.0; 3],
    };
    let plain = ResNet::new(
        model.architecture().clone(),
        classes(3),
        identity,
        32,
        model.tensors().clone(),
    )
    .unwrap();
    let expected = plain.logits(&normalised).unwrap();
    crate::model::assert_close("logits", &model.logits(&images).unwrap(), &expected, 1e-12);
}
