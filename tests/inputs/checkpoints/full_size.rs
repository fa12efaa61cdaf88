//! The networks of torchvision at their own size. Their weights come from a formula that `make.py` has too, and go
//! through the bytes of a safetensors file as any other.

use super::{assert_logits, uniform};
use ascribe::model::{SourceSettings, expected_shapes, source_from_bytes};
use candle_core::Device;
use rayon::prelude::*;
use safetensors::{Dtype, tensor::TensorView};
use std::collections::BTreeMap;
use std::path::Path;

fn values(stream: usize, name: &str, shape: &[usize]) -> Vec<u8> {
    let count: usize = shape.iter().product();
    let spread = (6.0 / (count / shape[0]) as f64).sqrt();
    let value = |place: usize| {
        let drawn = uniform(stream as u64, place as u64);
        (match name {
            _ if shape.len() > 1 => drawn * spread,
            _ if name.ends_with("running_var") => 1.0 + 0.5 * drawn,
            _ if name.ends_with("weight") => 0.5 + 0.25 * drawn,
            _ => 0.25 * drawn,
        }) as f32
    };
    let numbers: Vec<[u8; 4]> = (0..count)
        .into_par_iter()
        .map(|at| value(at).to_le_bytes())
        .collect();
    numbers.into_flattened()
}

fn check(architecture: &str) {
    let shapes = expected_shapes(&architecture.parse().unwrap(), 10);
    let stored: BTreeMap<String, (Vec<usize>, Vec<u8>)> = (shapes.into_iter().enumerate())
        .map(|(stream, (name, shape))| {
            let bytes = values(stream, &name, &shape);
            (name, (shape, bytes))
        })
        .collect();
    let views = stored.iter().map(|(name, (shape, bytes))| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    drop(stored);
    let path = Path::new("model.safetensors");
    let model = source_from_bytes(&bytes, path, SourceSettings::default(), &Device::Cpu).unwrap();
    drop(bytes);
    assert_eq!(model.architecture().to_string(), architecture);
    assert_eq!(model.side(), 224);
    assert_logits(architecture, &model, 64, 2e-5);
}

#[test]
fn basic_blocks() {
    ["resnet18", "resnet34"].into_iter().for_each(check);
}

#[test]
fn bottleneck_blocks() {
    ["resnet50", "resnet101", "resnet152"]
        .into_iter()
        .for_each(check);
}

#[test]
fn wide_bottleneck_blocks() {
    check("wide_resnet50_2");
}

/// Up to 3 GiB of memory.
#[test]
#[ignore = "large: run with --ignored"]
fn the_widest() {
    ["wide_resnet101_2", "wide_resnet50_4"]
        .into_iter()
        .for_each(check);
}
