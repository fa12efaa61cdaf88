//! Training and transfer as a user types them, on the device and on the processor.

use crate::command_line::{refused, run};
use crate::{device, distance, network, normal};
use ascribe::derivative::gradient;
use ascribe::model::{Pass, ResNet, read_model};
use candle_core::{DType, Device, Tensor};
use std::path::Path;

/// Gradients of all parameters in training mode, running statistics and logits.
fn pass(mut model: ResNet, images: &Tensor) -> Vec<Tensor> {
    let variables = model.make_trainable(0).unwrap();
    let mut pass = Pass::training_from(0);
    let logits = model.forward(images, &mut pass).unwrap();
    let loss = logits.sqr().unwrap().mean_all().unwrap();
    let variables: Vec<&Tensor> = variables
        .values()
        .map(|variable| variable.as_tensor())
        .collect();
    let mut results = gradient(&loss, &variables).unwrap();
    model.absorb(pass).unwrap();
    results.extend(model.tensors().values().map(Tensor::detach));
    results.push(logits);
    results
}

#[test]
fn a_training_pass_of_a_network() {
    for (architecture, side) in [
        ("cifar-resnet14-w16", 32),
        ("resnet18", 64),
        ("resnet50", 64),
    ] {
        let model = network(architecture, 10, 32);
        let model = model.to_dtype(DType::F64).unwrap();
        let images = normal(1, &[4, 3, side, side]).abs().unwrap();
        let expected = pass(model.clone(), &images);
        let device = device();
        let (there, seen) = (
            model.to_device(&device).unwrap(),
            images.to_device(&device).unwrap(),
        );
        for (found, expected) in pass(there, &seen).iter().zip(&expected) {
            let apart = distance(found, expected);
            assert!(apart < 1e-9, "{architecture}, f64: {apart:e}");
        }
        let single = model
            .to_dtype(DType::F32)
            .unwrap()
            .to_device(&device)
            .unwrap();
        let seen = seen.to_dtype(DType::F32).unwrap();
        let logits = |results: &[Tensor]| results[results.len() - 1].clone();
        let apart = distance(&logits(&pass(single.clone(), &seen)), &logits(&expected));
        assert!(apart < 1e-4, "{architecture}, f32: {apart:e}");
        // Fifty layers of batch norm over a handful of values each leave little of eight bits.
        if architecture != "resnet50" {
            let half = single.with_activations(DType::BF16);
            let apart = distance(&logits(&pass(half, &seen)), &logits(&expected));
            assert!(apart < 0.2, "{architecture}, bf16: {apart:e}");
        }
    }
}

fn accuracy(folder: &Path, run: &str) -> f64 {
    let text = std::fs::read_to_string(folder.join(run).join("run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    record["results"]["test"]["accuracy"].as_f64().unwrap()
}

const DIGITS: &str = "--train builtin:digits-train --test builtin:digits-test";

#[test]
fn a_training_goes_as_on_the_processor() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = "--architecture cifar-resnet8-w8 --side 16 --images 600 --epochs 3 --learning-rate 0.02 \
                  --adversary l2 --epsilon 0.2 --steps 2";
    for (out, placed) in [
        ("cpu", ""),
        ("cuda", "--device cuda"),
        ("again", "--device cuda"),
        ("tf32", "--device cuda --precision tf32"),
        ("bf16", "--device cuda --precision bf16"),
        #[cfg(feature = "cudnn")]
        ("unordered", "--device cuda --nondeterministic"),
    ] {
        let words = format!("train {DIGITS} {recipe} {placed} --out {out}");
        run(folder.path(), &words);
    }
    let model = |name: &str| {
        read_model(
            &folder.path().join(name).join("model.safetensors"),
            &Device::Cpu,
        )
        .unwrap()
    };
    let weight = |name: &str| model(name).tensors()["layer3.0.conv2.weight"].clone();
    let apart = distance(&weight("cuda"), &weight("cpu"));
    assert!(apart < 1e-2, "{apart:e}");
    assert_eq!(
        distance(&weight("again"), &weight("cuda")),
        0.0,
        "two runs on one card"
    );
    if cfg!(feature = "cudnn") {
        let apart = distance(&weight("unordered"), &weight("cpu"));
        assert!(apart < 1e-2, "{apart:e}");
    }
    let expected = accuracy(folder.path(), "cpu");
    for name in ["cuda", "tf32", "bf16"] {
        let found = accuracy(folder.path(), name);
        assert!(
            (found - expected).abs() < 0.06,
            "{name}: {found} where the processor has {expected}"
        );
    }
}

#[test]
fn a_transfer_goes_as_on_the_processor() {
    let folder = tempfile::tempdir().unwrap();
    for blocks in ["0", "1"] {
        for statistics in ["moving", "frozen"] {
            let recipe = format!(
                "--source builtin:robust --images 200 --epochs 4 --blocks {blocks} --augmentation mirror \
                 --frozen-statistics {statistics}"
            );
            let name = |device: &str| format!("{device}-{blocks}-{statistics}");
            for device in ["cpu", "cuda"] {
                let place = format!("--device {device} --out {}", name(device));
                run(
                    folder.path(),
                    &format!("transfer {DIGITS} {recipe} {place}"),
                );
            }
            let (found, expected) = (
                accuracy(folder.path(), &name("cuda")),
                accuracy(folder.path(), &name("cpu")),
            );
            assert!(
                (found - expected).abs() < 0.02,
                "{blocks}, {statistics}: {found} and {expected}"
            );
        }
    }
}

#[test]
fn a_device_that_is_not_there_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let words = format!("train {DIGITS} --epochs 1 --out out --device cuda:99");
    let message = refused(folder.path(), &words);
    assert!(
        message.starts_with("ascribe: --device: cuda:99: "),
        "{message}"
    );
}
