//! What is written is what is read.

use crate::model::normal;
use ascribe::model::{
    Normalisation, ResNet, StoredWeights, expected_shapes, read_model, write_model,
    write_model_with,
};
use candle_core::{DType, Device};
use proptest::prelude::*;

fn normalisations() -> impl Strategy<Value = Normalisation> {
    (
        [-1.0_f64..1.0, -1.0..1.0, -1.0..1.0],
        [1e-6_f64..9.0, 1e-6..9.0, 1e-6..9.0],
    )
        .prop_map(|(mean, deviation)| Normalisation { mean, deviation })
}

fn models() -> impl Strategy<Value = ResNet> {
    let architectures = vec![
        "cifar-resnet8-w4",
        "cifar-resnet14-w1",
        "cifar-resnet20-w3",
        "cifar-resnet18-w2",
    ];
    let dtype = prop::sample::select(vec![DType::F32, DType::F64]);
    let classes = prop::collection::vec(".*", 1..5);
    (
        prop::sample::select(architectures),
        classes,
        normalisations(),
        1_usize..500,
        dtype,
        any::<u64>(),
    )
        .prop_map(|(name, classes, normalisation, side, dtype, seed)| {
            let architecture = name.parse().unwrap();
            let tensors = (seed % 1000..)
                .zip(expected_shapes(&architecture, classes.len()))
                .map(|(seed, (name, shape))| {
                    let values = normal(seed, &shape);
                    // A file with a negative variance is refused.
                    let values = if name.ends_with("running_var") {
                        values.abs().unwrap()
                    } else {
                        values
                    };
                    (name, values.to_dtype(dtype).unwrap())
                })
                .collect();
            ResNet::new(architecture, classes, normalisation, side, tensors).unwrap()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn everything_survives_a_round_trip(model in models()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write_model(&model, &path).unwrap();
        let read = read_model(&path, &Device::Cpu).unwrap();
        prop_assert_eq!(read.architecture(), model.architecture());
        prop_assert_eq!(read.classes(), model.classes());
        prop_assert_eq!(read.normalisation(), model.normalisation());
        prop_assert_eq!(read.side(), model.side());
        prop_assert!(read.tensors().keys().eq(model.tensors().keys()));
        for (name, tensor) in model.tensors() {
            prop_assert_eq!(read.tensors()[name].dtype(), tensor.dtype());
            crate::model::assert_close(name, &read.tensors()[name], tensor, 0.0);
        }
    }
}

/// Variables, as in the middle of training, are written by their present values.
#[test]
fn a_model_in_training_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut model = crate::model::resnet::network("cifar-resnet8-w4", 4);
    let variables = model.make_trainable(0).unwrap();
    let bias = &variables["fc.bias"];
    bias.set(&(bias.as_tensor() + 5.0).unwrap()).unwrap();
    write_model(&model, &path).unwrap();
    let read = read_model(&path, &Device::Cpu).unwrap();
    crate::model::assert_close("bias", &read.tensors()["fc.bias"], bias.as_tensor(), 0.0);
}

#[test]
fn halved_weights_are_those_of_the_model_that_was_measured() {
    let model = crate::model::resnet::network("cifar-resnet8-w4", 3);
    let halved = StoredWeights::F16.of(&model).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_model_with(&halved, StoredWeights::F16, &path("half")).unwrap();
    write_model(&halved, &path("whole")).unwrap();
    let read = read_model(&path("half"), &Device::Cpu).unwrap();
    for (name, tensor) in halved.tensors() {
        let values = |tensor: &candle_core::Tensor| crate::model::values(tensor);
        assert_eq!(values(&read.tensors()[name]), values(tensor), "{name}");
    }
    let moved = crate::model::values(&model.tensors()["conv1.weight"]);
    assert_ne!(
        crate::model::values(&halved.tensors()["conv1.weight"]),
        moved
    );
    let size = |name: &str| std::fs::metadata(path(name)).unwrap().len() as f64;
    assert!(size("half") < 0.7 * size("whole"));

    let large = (&model.tensors()["conv1.weight"] * 1e6).unwrap();
    let mut tensors = model.tensors().clone();
    tensors.insert("conv1.weight".into(), large);
    let architecture = model.architecture().clone();
    let classes = model.classes().to_vec();
    let model = ResNet::new(architecture, classes, model.normalisation(), 32, tensors).unwrap();
    let message = StoredWeights::F16.of(&model).unwrap_err().to_string();
    assert!(
        message.contains("conv1.weight") && message.starts_with("--weights"),
        "{message}"
    );
    let double = model.to_dtype(DType::F64).unwrap();
    assert!(StoredWeights::F16.of(&double).is_err());
}
