//! The two source models that are part of the program are what fixtures/source/README.md says they are.

use ascribe::data::{Dataset, Pixels};
use ascribe::model::{ResNet, read_model};
use ascribe::train::{Attack, Norm, Performance};
use candle_core::Device;
use std::path::{Path, PathBuf};

/// How far the accuracy on 500 of the 2,500 test images may be from that on all, as a share: about three standard
/// errors.
const TOLERANCE: f64 = 0.06;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(name: &str) -> PathBuf {
    root().join(format!("fixtures/source/{name}.safetensors"))
}

fn source(name: &str) -> ResNet {
    read_model(&file(name), &Device::Cpu).unwrap()
}

/// The first `count` test images of CIFAR-100, where they are at hand.
fn test_images(count: usize) -> Option<Pixels> {
    let path = root().join("../shared/data/cifar100/test-25-per-class.parquet");
    if !path.exists() {
        let may_skip = std::env::var_os("ASCRIBE_NO_SKIP").is_none();
        assert!(may_skip, "{} is not there", path.display());
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    let test = Dataset::open(&path).unwrap();
    let ids: Vec<usize> = (0..count).collect();
    Some(Pixels::decode(&test, &ids, 32).unwrap())
}

/// The clean accuracy in the table of the README, as a share; `wide/…` is in another.
fn documented_accuracy(name: &str) -> f64 {
    let (folder, name) = name.rsplit_once('/').unwrap_or((".", name));
    let readme = root()
        .join("fixtures/source")
        .join(folder)
        .join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let file = format!("`{name}.safetensors`");
    let row = readme
        .lines()
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
        .find(|cells| cells.get(1) == Some(&file.as_str()))
        .unwrap();
    row[3].trim_end_matches(" %").parse::<f64>().unwrap() / 100.0
}

#[test]
fn they_load_are_small_and_differ() {
    for name in ["natural", "robust"] {
        let size = std::fs::metadata(file(name)).unwrap().len();
        assert!(size < 2_500_000, "{name}: {size} bytes");
        let model = source(name);
        assert_eq!(model.architecture().to_string(), "cifar-resnet14-w16");
        assert_eq!(
            (model.side(), model.classes().len()),
            (32, 100),
            "{name}: side and classes"
        );
    }
    let weights = |name| {
        let (weight, _) = source(name).head_parameters().unwrap();
        weight.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_ne!(weights("natural"), weights("robust"));
}

#[test]
fn the_wide_ones_are_as_accurate_as_documented() {
    let Some(images) = test_images(250) else {
        return;
    };
    for name in ["wide/natural", "wide/l2-0.25", "wide/l2-0.5", "wide/l2-1"] {
        let size = std::fs::metadata(file(name)).unwrap().len();
        assert!(size < 6_000_000, "{name}: {size} bytes");
        let measured = Performance::measure(&source(name), &images, None).unwrap();
        let documented = documented_accuracy(name);
        // Half as many images as below: about three standard errors.
        assert!(
            (measured.accuracy - documented).abs() <= 0.09,
            "{name}: {} measured, {documented} documented",
            measured.accuracy
        );
    }
}

#[test]
fn the_natural_one_is_as_accurate_as_documented() {
    let Some(images) = test_images(500) else {
        return;
    };
    let measured = Performance::measure(&source("natural"), &images, None).unwrap();
    let documented = documented_accuracy("natural");
    assert!(
        (measured.accuracy - documented).abs() <= TOLERANCE,
        "{} measured, {documented} documented",
        measured.accuracy
    );
}

#[test]
fn the_robust_one_is_the_more_accurate_under_attack() {
    let Some(images) = test_images(100) else {
        return;
    };
    let attack = Attack::new(Norm::L2, 0.25, 20, 1).unwrap();
    let attacked = |name| {
        Performance::measure(&source(name), &images, Some(&attack))
            .unwrap()
            .accuracy
    };
    let (natural, robust) = (attacked("natural"), attacked("robust"));
    assert!(robust > natural, "natural {natural}, robust {robust}");
}
