//! Segments: running a network in two parts, training its last part, moving statistics; parameter counts.

use crate::model::resnet::{classes, network};
use crate::model::{assert_close, normal};
use ascribe::model::{Blocks, Pass, ResNet, expected_shapes};
use candle_core::{DType, Tensor};
use std::collections::BTreeSet;

#[test]
fn prefix_and_rest_are_the_whole() {
    for (name, side) in [
        ("cifar-resnet8-w4", 11),
        ("cifar-resnet18-w4", 9),
        ("resnet18", 33),
    ] {
        let model = network(name, 4);
        let images = normal(1, &[2, 3, side, side + 2])
            .to_dtype(DType::F32)
            .unwrap();
        for (mode, new_pass) in [
            ("evaluation", Pass::evaluation as fn() -> Pass),
            ("training", || Pass::training_from(0)),
        ] {
            let whole = model.forward(&images, &mut new_pass()).unwrap();
            for segment in 0..=model.head_segment() {
                let mut pass = new_pass();
                let activation = model.prefix(segment, &images, &mut pass).unwrap();
                let features = model
                    .features_from(segment, &activation, &mut pass)
                    .unwrap();
                assert_eq!(
                    features.dims(),
                    [2, model.architecture().feature_dimension()]
                );
                let what = format!("{name} cut before segment {segment}, {mode}");
                assert_close(&what, &model.head(&features).unwrap(), &whole, 0.0);
            }
        }
    }
}

fn trainable_names(architecture: &str, blocks: Blocks) -> BTreeSet<String> {
    let mut model = network(architecture, 4);
    let first = blocks.first_segment(model.architecture()).unwrap();
    model.make_trainable(first).unwrap().into_keys().collect()
}

#[test]
fn trainable_parameters_are_those_of_the_last_segments() {
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<BTreeSet<_>>()
    };
    let head = ["fc.bias", "fc.weight"];
    let last = [
        "layer3.0.bn1.bias",
        "layer3.0.bn1.weight",
        "layer3.0.bn2.bias",
        "layer3.0.bn2.weight",
        "layer3.0.conv1.weight",
        "layer3.0.conv2.weight",
        "layer3.0.downsample.0.weight",
        "layer3.0.downsample.1.bias",
        "layer3.0.downsample.1.weight",
    ];
    let name = "cifar-resnet8-w4";
    assert_eq!(trainable_names(name, Blocks::Last(0)), set(&head));
    assert_eq!(
        trainable_names(name, Blocks::Last(1)),
        set(&[&head[..], &last].concat())
    );
    let all: BTreeSet<String> = expected_shapes(&name.parse().unwrap(), 4)
        .into_keys()
        .filter(|name| !name.contains("running"))
        .collect();
    let stem = set(&["conv1.weight", "bn1.weight", "bn1.bias"]);
    assert_eq!(trainable_names(name, Blocks::All), all);
    assert_eq!(trainable_names(name, Blocks::Last(3)), &all - &stem);
}

#[test]
fn only_trainable_parameters_are_variables() {
    let mut model = network("cifar-resnet8-w4", 4);
    model.make_trainable(0).unwrap();
    let variables = model.make_trainable(3).unwrap();
    for (name, tensor) in model.tensors() {
        assert_eq!(tensor.is_variable(), variables.contains_key(name), "{name}");
    }
    // What an optimiser sets is what the model runs with.
    let bias = &variables["fc.bias"];
    bias.set(&Tensor::new(&[1_f32, 2.0, 3.0, 4.0], bias.device()).unwrap())
        .unwrap();
    assert_eq!(
        model.tensors()["fc.bias"].to_vec1::<f32>().unwrap(),
        [1.0, 2.0, 3.0, 4.0]
    );
    assert!(
        model
            .detached()
            .tensors()
            .values()
            .all(|tensor| !tensor.is_variable())
    );
}

fn statistics(model: &ResNet) -> Vec<(&String, Vec<f32>)> {
    let running = model
        .tensors()
        .iter()
        .filter(|(name, _)| name.contains("running"));
    running
        .map(|(name, tensor)| (name, tensor.to_vec1().unwrap()))
        .collect()
}

#[test]
fn statistics_move_in_the_trained_segments_alone() {
    let images = normal(1, &[3, 3, 8, 8]).to_dtype(DType::F32).unwrap();
    for first in [0, 2, 4] {
        let before = network("cifar-resnet8-w4", 4);
        let mut after = before.clone();
        let mut pass = Pass::training_from(first);
        after.forward(&images, &mut pass).unwrap();
        after.absorb(pass).unwrap();
        for ((name, before), (_, after)) in statistics(&before).into_iter().zip(statistics(&after))
        {
            let trained = network("cifar-resnet8-w4", 4)
                .architecture()
                .segment_of(name)
                >= first;
            assert_eq!(
                before != after,
                trained,
                "{name} when training from {first}"
            );
        }
    }
    let mut model = network("cifar-resnet8-w4", 4);
    let before = model.clone();
    let mut pass = Pass::evaluation();
    model.forward(&images, &mut pass).unwrap();
    model.absorb(pass).unwrap();
    assert_eq!(statistics(&model), statistics(&before));
}

#[test]
fn parameter_counts_are_those_of_torchvision() {
    for (name, expected) in [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
    ] {
        let count: usize = expected_shapes(&name.parse().unwrap(), 1000)
            .iter()
            .filter(|(name, _)| !name.contains("running"))
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        assert_eq!(count, expected, "{name}");
    }
}

#[test]
fn a_new_head_keeps_the_body_and_its_dtype() {
    let old = network("cifar-resnet8-w4", 4).to_dtype(DType::F64).unwrap();
    let new = old.clone().with_new_head(classes(7), 1.0, 3).unwrap();
    assert_eq!(
        (new.classes().len(), new.tensors()["fc.weight"].dims()),
        (7, &[7, 16][..])
    );
    assert_eq!(new.tensors()["fc.weight"].dtype(), DType::F64);
    for (name, tensor) in old
        .tensors()
        .iter()
        .filter(|(name, _)| !name.starts_with("fc."))
    {
        assert_close(name, &new.tensors()[name], tensor, 0.0);
    }
    let message = old
        .with_new_head(classes(7), 0.0, 3)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("expected a positive number, found 0"),
        "{message}"
    );
}

/// As the paper's: weights N(0, σ²), without biases. Of 3,200 the share beyond two deviations is known to 0.0037.
#[test]
fn a_new_head_is_drawn_from_a_normal_distribution() {
    let old = network("cifar-resnet8-w4", 4);
    for deviation in [1.0, 0.25] {
        let new = old
            .clone()
            .with_new_head(classes(200), deviation, 3)
            .unwrap();
        let numbers = |name: &str| -> Vec<f64> {
            let tensor = new.tensors()[name].to_dtype(DType::F64).unwrap();
            tensor.flatten_all().unwrap().to_vec1().unwrap()
        };
        assert!(numbers("fc.bias").iter().all(|bias| *bias == 0.0));
        let weights: Vec<f64> = (numbers("fc.weight").iter())
            .map(|weight| weight / f64::from(deviation))
            .collect();
        let mean = |values: &dyn Fn(f64) -> f64| {
            weights.iter().map(|&weight| values(weight)).sum::<f64>() / weights.len() as f64
        };
        assert_eq!(weights.len(), 3200);
        assert!(mean(&|weight| weight).abs() < 0.07);
        assert!((mean(&|weight| weight * weight) - 1.0).abs() < 0.1);
        let beyond = mean(&|weight| f64::from(u8::from(weight.abs() > 2.0)));
        assert!((beyond - 0.0455).abs() < 0.012, "{beyond}");
    }
}

#[test]
fn a_parameter_of_no_stage_belongs_to_the_stem() {
    let architecture = network("cifar-resnet8-w4", 4).architecture().clone();
    assert_eq!(architecture.segment_of("layer0.0.conv1.weight"), 0);
}
