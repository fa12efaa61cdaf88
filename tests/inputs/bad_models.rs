//! Malformed weight files: every refusal is one line that says which file, which place, what was expected, what was
//! found and what to do.

use crate::inputs::refusal;
use ascribe::model::{Normalisation, ResNet, read_model, write_model};
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A good model file, taken apart: tensors and metadata to spoil, and a place to write them.
struct Model {
    folder: TempDir,
    tensors: HashMap<String, Tensor>,
    metadata: HashMap<String, String>,
}

impl Model {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let normalisation = Normalisation {
            mean: [0.5; 3],
            deviation: [0.25; 3],
        };
        let classes = vec!["cat".into(), "dog".into()];
        let architecture = "cifar-resnet8-w4".parse().unwrap();
        let model =
            ResNet::initialise(architecture, classes, normalisation, 32, 1, &Device::Cpu).unwrap();
        write_model(&model, &path).unwrap();
        let bytes = fs::read(path).unwrap();
        let metadata = SafeTensors::read_metadata(&bytes)
            .unwrap()
            .1
            .metadata()
            .clone()
            .unwrap();
        let tensors = model.tensors().clone().into_iter().collect();
        Self {
            folder,
            tensors,
            metadata,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("model.safetensors")
    }

    fn note(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    fn tensor(mut self, name: &str, tensor: Tensor) -> Self {
        self.tensors.insert(name.into(), tensor);
        self
    }

    fn write(&self) {
        let bytes = safetensors::serialize(&self.tensors, Some(self.metadata.clone())).unwrap();
        fs::write(self.path(), bytes).unwrap();
    }

    /// Writes the parts and checks the message of the refusal.
    #[track_caller]
    fn must_be_refused(self, parts: &[&str]) {
        self.write();
        self.file_is_refused(parts);
    }

    #[track_caller]
    fn file_is_refused(&self, parts: &[&str]) {
        let parts = [&["model.safetensors: "], parts].concat();
        refusal(read_model(&self.path(), &Device::Cpu), &parts);
    }
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn the_parts_unspoilt_are_a_model() {
    let model = Model::new();
    model.write();
    assert_eq!(
        read_model(&model.path(), &Device::Cpu).unwrap().classes(),
        ["cat", "dog"]
    );
}

#[test]
fn missing_file() {
    let model = Model::new();
    fs::remove_file(model.path()).unwrap();
    model.file_is_refused(&["cannot read", "check the path"]);
}

#[test]
fn truncated_file() {
    let model = Model::new();
    let bytes = fs::read(model.path()).unwrap();
    for keep in [0, 5, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(model.path(), &bytes[..keep]).unwrap();
        model.file_is_refused(&["header: expected a whole safetensors file", "copy it again"]);
    }
}

#[test]
fn not_safetensors_at_all() {
    let model = Model::new();
    fs::write(model.path(), "PK\u{3}\u{4} this is something else entirely").unwrap();
    model.file_is_refused(&["header: expected a whole safetensors file"]);
    fs::write(model.path(), "PAR1 as of a data set").unwrap();
    model.file_is_refused(&["found a Parquet file; give a file of weights"]);
}

#[test]
fn safetensors_of_something_else() {
    let mut model = Model::new();
    model.metadata.clear();
    model.must_be_refused(&[
        "metadata: expected an entry format, found none",
        "written by ascribe train",
    ]);
}

#[test]
fn other_version_of_the_format() {
    Model::new()
        .note("format", "ascribe-model-9")
        .must_be_refused(&["ascribe-model-1", "found ascribe-model-9"]);
}

#[test]
fn missing_entry() {
    for key in ["architecture", "classes", "normalisation", "side"] {
        let mut model = Model::new();
        model.metadata.remove(key);
        model.must_be_refused(&[&format!("metadata: expected an entry {key}, found none")]);
    }
}

#[test]
fn unknown_architecture() {
    Model::new()
        .note("architecture", "vgg16")
        .must_be_refused(&["metadata entry architecture", "found vgg16"]);
}

#[test]
fn unreadable_classes() {
    Model::new()
        .note("classes", "cat, dog")
        .must_be_refused(&["metadata entry classes"]);
    Model::new()
        .note("classes", "[]")
        .must_be_refused(&["classes", "at least one", "found none"]);
}

#[test]
fn unusable_normalisation() {
    Model::new()
        .note("normalisation", "{}")
        .must_be_refused(&["metadata entry normalisation", "mean"]);
    for deviation in ["0.0", "-0.25", "1e999"] {
        let text = format!(r#"{{"mean":[0.5,0.5,0.5],"deviation":[0.25,{deviation},0.25]}}"#);
        Model::new()
            .note("normalisation", &text)
            .must_be_refused(&["normalisation"]);
    }
}

#[test]
fn unusable_side() {
    for side in ["", "wide", "-3", "0"] {
        Model::new()
            .note("side", side)
            .must_be_refused(&["side", &format!("found {side}")]);
    }
}

#[test]
fn unusable_resize() {
    for resize in ["", "wide", "0", "31", "99999"] {
        Model::new()
            .note("resize", resize)
            .must_be_refused(&["resize", &format!("found {resize}")]);
    }
}

#[test]
fn missing_tensor() {
    let mut model = Model::new();
    model.tensors.remove("layer2.0.bn1.running_var").unwrap();
    model.must_be_refused(&[
        "cifar-resnet8-w4",
        "a tensor layer2.0.bn1.running_var of shape [8], found none",
    ]);
}

#[test]
fn tensor_too_many() {
    Model::new()
        .tensor("layer4.0.conv1.weight", ones(&[2]))
        .must_be_refused(&["no other tensor", "found layer4.0.conv1.weight"]);
}

#[test]
fn wrong_shape() {
    Model::new()
        .tensor("conv1.weight", ones(&[4, 3, 7, 7]))
        .must_be_refused(&["conv1.weight of shape [4, 3, 3, 3], found [4, 3, 7, 7]"]);
    Model::new()
        .tensor("fc.weight", ones(&[3, 16]))
        .must_be_refused(&["2 classes", "fc.weight of shape [2, 16], found [3, 16]"]);
}

#[test]
fn numbers_that_are_not_finite() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bias = Tensor::new(&[0.0, bad], &Device::Cpu).unwrap();
        Model::new()
            .tensor("fc.bias", bias)
            .must_be_refused(&["not a finite number at tensor fc.bias", "train it again"]);
    }
}

#[test]
fn negative_variance() {
    let bad = (ones(&[8]) * -1.0).unwrap();
    Model::new()
        .tensor("layer2.0.bn1.running_var", bad)
        .must_be_refused(&[
            "tensor layer2.0.bn1.running_var",
            "no negative variance",
            "found -1; no training leaves one: copy the file again",
        ]);
}

#[test]
fn wrong_number_type() {
    for dtype in [DType::I64, DType::F64, DType::BF16] {
        let bias = ones(&[2]).to_dtype(dtype).unwrap();
        Model::new().tensor("fc.bias", bias).must_be_refused(&[
            "tensor fc.bias",
            "expected",
            &format!("found {dtype:?}"),
        ]);
    }
}
