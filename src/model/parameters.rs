//! The names and shapes a model consists of, and their first values.

use super::architecture::Architecture;
use super::layers::Segment;
use super::normalisation::Normalisation;
use super::resnet::{ResNet, is_statistic};
use crate::data::Framing;
use crate::data::random::{Purpose, generator};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use rand_distr::{Distribution, Normal, Uniform};
use std::collections::BTreeMap;

/// Every tensor of a model by torchvision name, with its shape; running statistics included.
#[must_use]
pub fn expected_shapes(
    architecture: &Architecture,
    class_count: usize,
) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    for layer in architecture.segments().iter().flat_map(Segment::layers) {
        let kernel = vec![layer.c_out, layer.c_in, layer.kernel, layer.kernel];
        shapes.insert(format!("{}.weight", layer.name), kernel);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            shapes.insert(format!("{}.{part}", layer.norm), vec![layer.c_out]);
        }
    }
    shapes.insert(
        "fc.weight".into(),
        vec![class_count, architecture.feature_dimension()],
    );
    shapes.insert("fc.bias".into(), vec![class_count]);
    shapes
}

/// Checks names, shapes and dtypes.
pub(super) fn check(
    architecture: &Architecture,
    class_count: usize,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<()> {
    let what = || format!("weights of {architecture} with {class_count} classes");
    let expected = expected_shapes(architecture, class_count);
    for (name, shape) in &expected {
        match tensors.get(name) {
            None => {
                return Err(Error::mismatch(
                    what(),
                    format!("a tensor {name} of shape {shape:?}"),
                    "none",
                    "is this the right architecture?",
                ));
            }
            Some(tensor) if tensor.dims() != shape.as_slice() => {
                return Err(Error::mismatch(
                    what(),
                    format!("{name} of shape {shape:?}"),
                    format!("{:?}", tensor.dims()),
                    "is this the right architecture and number of classes?",
                ));
            }
            Some(_) => {}
        }
    }
    if let Some(name) = tensors.keys().find(|name| !expected.contains_key(*name)) {
        return Err(Error::mismatch(
            what(),
            "no other tensor",
            name,
            "is this the right architecture?",
        ));
    }
    check_dtypes(tensors)
}

/// All tensors are f32, or all are f64.
fn check_dtypes(tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let dtype = match tensors["conv1.weight"].dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    match tensors.iter().find(|(_, tensor)| tensor.dtype() != dtype) {
        Some((name, tensor)) => Err(Error::mismatch(
            format!("tensor {name}"),
            format!("{dtype:?}"),
            format!("{:?}", tensor.dtype()),
            "convert all tensors to one of f32 and f64",
        )),
        None => Ok(()),
    }
}

/// Checks what a model knows besides its tensors.
pub(super) fn check_description(
    classes: &[String],
    normalisation: Normalisation,
    framing: Framing,
) -> Result<()> {
    let Normalisation { mean, deviation } = normalisation;
    let usable = mean.iter().all(|mean| mean.is_finite())
        && deviation
            .iter()
            .all(|&deviation| deviation.is_finite() && deviation > 0.0);
    if !usable {
        return Err(Error::mismatch(
            "normalisation of the model",
            "finite means and positive deviations",
            format!("{mean:?} and {deviation:?}"),
            "give those of the images it was trained on",
        ));
    }
    if classes.is_empty() {
        return Err(Error::mismatch(
            "classes of the model",
            "at least one",
            "none",
            "give those of the images it was trained on",
        ));
    }
    check_framing(framing)
}

/// Refuses what no image can be brought to.
pub(super) fn check_framing(framing: Framing) -> Result<()> {
    let side = framing.height;
    check_side(side)?;
    if framing.width != side {
        let found = format!("{side} × {}", framing.width);
        let remedy = "give one number for both";
        return Err(Error::mismatch(
            "image side of the model",
            "squares",
            found,
            remedy,
        ));
    }
    match framing.resize {
        Some(resize) if !(side..=LARGEST_SIDE).contains(&resize) => Err(Error::mismatch(
            "size that images are resized to (--resize)",
            format!("{side}, the side of what is taken of them, to {LARGEST_SIDE}"),
            resize,
            "give what it was when the model was trained, or leave it out",
        )),
        _ => Ok(()),
    }
}

/// The largest side of an image: at that an image is 200 MB of f32.
const LARGEST_SIDE: usize = 4096;

/// Refuses a side that no image has.
pub(crate) fn check_side(side: usize) -> Result<()> {
    if (1..=LARGEST_SIDE).contains(&side) {
        return Ok(());
    }
    let expected = format!("1 to {LARGEST_SIDE} pixels");
    let remedy = "give that of the images it was trained on";
    Err(Error::mismatch(
        "image side of the model (--side)",
        expected,
        side,
        remedy,
    ))
}

impl ResNet {
    /// A model with fresh weights: convolutions normal with variance `2 / (C_out k²)` (He et al. 2015, fan out),
    /// batch norm the identity, head uniform in `±1/√d`; each tensor from the seed and its own name's place.
    ///
    /// # Errors
    /// Where memory runs out.
    pub fn initialise(
        architecture: Architecture,
        classes: Vec<String>,
        normalisation: Normalisation,
        side: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let shapes = expected_shapes(&architecture, classes.len());
        let bound = 1.0 / (architecture.feature_dimension() as f32).sqrt();
        let mut tensors = BTreeMap::new();
        for (index, (name, shape)) in shapes.into_iter().enumerate() {
            let count = shape.iter().product();
            let values = if shape.len() == 4 {
                let deviation = (2.0 / (shape[0] * shape[2] * shape[3]) as f32).sqrt();
                normal(count, deviation, seed, index as u64)?
            } else if name.starts_with("fc.") {
                let uniform = Uniform::new(-bound, bound)
                    .map_err(|error| Error::config("seed", error.to_string()))?;
                uniform
                    .sample_iter(generator(Purpose::Initialisation, seed, 0, index as u64))
                    .take(count)
                    .collect()
            } else {
                vec![
                    if name.ends_with("running_var")
                        || (name.ends_with("weight") && !is_statistic(&name))
                    {
                        1.0
                    } else {
                        0.0
                    };
                    count
                ]
            };
            tensors.insert(name, Tensor::from_vec(values, shape, device)?);
        }
        Self::new(architecture, classes, normalisation, side, tensors)
    }

    /// The model with a new head for other classes: weight normal with the given standard deviation, bias 0.
    /// The code of Utrera et al. (2020) has deviation 1.
    ///
    /// # Errors
    /// Where the deviation is not a positive number.
    pub fn with_new_head(self, classes: Vec<String>, deviation: f32, seed: u64) -> Result<Self> {
        let (count, dimension) = (classes.len(), self.architecture().feature_dimension());
        let (old, _) = self.head_parameters()?;
        let weight = Tensor::from_vec(
            normal(count * dimension, deviation, seed, u64::MAX)?,
            (count, dimension),
            old.device(),
        )?
        .to_dtype(old.dtype())?;
        let bias = Tensor::zeros(count, old.dtype(), old.device())?;
        self.with_head(classes, weight, bias)
    }
}

fn normal(count: usize, deviation: f32, seed: u64, index: u64) -> Result<Vec<f32>> {
    let distribution = Normal::new(0.0, deviation)
        .ok()
        .filter(|_| deviation > 0.0)
        .ok_or_else(|| {
            Error::config(
                "head-deviation",
                format!("expected a positive number, found {deviation}"),
            )
        })?;
    Ok(distribution
        .sample_iter(generator(Purpose::Initialisation, seed, 0, index))
        .take(count)
        .collect())
}
