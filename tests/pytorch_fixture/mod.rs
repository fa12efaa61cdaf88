//! What PyTorch computed (`fixtures/pytorch/`).

use ascribe::model::{Normalisation, ResNet};
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::Path;

/// Tensors by name.
pub fn load(name: &str) -> HashMap<String, Tensor> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pytorch");
    let file = folder.join(format!("{name}.safetensors"));
    candle_core::safetensors::load(file, &Device::Cpu).unwrap()
}

/// The network of `resnet.safetensors`.
pub fn network(dtype: DType) -> ResNet {
    let tensors = load("resnet").into_iter();
    let tensors = tensors
        .filter_map(|(name, tensor)| Some((name.strip_prefix("model/")?.to_owned(), tensor)))
        .collect();
    let identity = Normalisation {
        mean: [0.0; 3],
        deviation: [1.0; 3],
    };
    let classes = (0..5).map(|class| class.to_string()).collect();
    let model = ResNet::new(
        "cifar-resnet8-w4".parse().unwrap(),
        classes,
        identity,
        9,
        tensors,
    );
    model.unwrap().to_dtype(dtype).unwrap()
}
