//! Weight files of others: the logits that PyTorch computes from them, and every way in which they can be unfit.
//! `fixtures/checkpoints/make.py` made the files.

mod agreement;
mod damage;
mod full_size;

use ascribe::Result;
use ascribe::model::{Normalisation, ResNet, SourceSettings, source_from_bytes};
use candle_core::{DType, Device, Tensor};
use std::path::{Path, PathBuf};

pub(crate) const PLAIN: Normalisation = Normalisation {
    mean: [0.0; 3],
    deviation: [1.0; 3],
};

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/checkpoints")
        .join(name)
}

/// A source model; `normalisation` is what the user gives.
pub(crate) fn source(name: &str, normalisation: Option<Normalisation>) -> Result<ResNet> {
    let path = fixture(name);
    let bytes = std::fs::read(&path).unwrap();
    source_from_bytes(
        &bytes,
        &path,
        SourceSettings {
            normalisation,
            ..SourceSettings::default()
        },
        &Device::Cpu,
    )
}

/// splitmix64 of a stream's number and a place in it, as a multiple of 2⁻²³ in [-1, 1); `make.py` has the same.
pub(crate) fn uniform(stream: u64, place: u64) -> f64 {
    let mut z = (stream << 32).wrapping_add(place).wrapping_add(1);
    z = z.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 40) as f64 / f64::from(1 << 23) - 1.0
}

/// Pixels in [0, 1).
pub(crate) fn images(side: usize) -> Tensor {
    let count = 2 * 3 * side * side;
    let pixels =
        (0..count as u64).map(|place| f64::midpoint(uniform(1_000_000, place), 1.0) as f32);
    Tensor::from_vec(
        pixels.collect::<Vec<f32>>(),
        (2, 3, side, side),
        &Device::Cpu,
    )
    .unwrap()
}

/// The model's logits are those that PyTorch computed in double precision, within `tolerance` of the largest.
#[track_caller]
pub(crate) fn assert_logits(name: &str, model: &ResNet, side: usize, tolerance: f64) {
    let file = candle_core::safetensors::load(fixture("logits.safetensors"), &Device::Cpu).unwrap();
    let rows = |logits: &Tensor| -> Vec<Vec<f64>> {
        logits.to_dtype(DType::F64).unwrap().to_vec2().unwrap()
    };
    let expected = rows(&file[name]);
    let found = rows(&model.logits(&images(side)).unwrap());
    assert_eq!(
        (found.len(), found[0].len()),
        (2, expected[0].len()),
        "{name}"
    );
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let largest = expected
        .iter()
        .flatten()
        .fold(0.0_f64, |most, x| most.max(x.abs()));
    assert!(
        error <= tolerance * largest,
        "{name}: off by {error:e}, largest logit {largest}"
    );
    // Two images with the same logits would be a check of the bias alone.
    let apart = expected[0]
        .iter()
        .zip(&expected[1])
        .map(|(a, b)| (a - b).abs());
    let apart = apart.fold(0.0, f64::max);
    assert!(
        apart > 100.0 * tolerance * largest,
        "{name}: {apart:e} between the images"
    );
}
