//! A classifier's last layer from a file: arrays `weight` `[C, d]` and `bias` `[C]`, as `.npz` or `.safetensors`; the metadata of
//! the latter may say under `l2` which L2 term it was trained with.

use super::Features;
use super::arrays::Arrays;
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use std::path::{Path, PathBuf};

/// Weight and bias of a linear classifier: logits = weight · features + bias.
#[derive(Debug, Clone)]
pub struct HeadFile {
    /// `[C, d]`, f32 or f64 as stored, on the CPU; all finite.
    pub weight: Tensor,
    /// `[C]`, of the weight's type.
    pub bias: Tensor,
    /// l2 of the term l2/2·‖θ‖² that it was trained with, where the file says so; finite and not below 0.
    pub l2: Option<f64>,
    /// Where it was opened.
    pub path: PathBuf,
}

const WANTED: &str = "weight [C, d] and bias [C] as .npz or .safetensors";

/// The key of the L2 term in a file's metadata.
pub(crate) const L2: &str = "l2";

fn l2_of(path: &Path, text: &str) -> Result<f64> {
    let number = text.parse().ok();
    let number = number.filter(|l2: &f64| l2.is_finite() && *l2 >= 0.0);
    number.ok_or_else(|| {
        let (expected, remedy) = ("a number of 0 or more", "write it as in 1e-3");
        Error::format(path, "metadata l2", expected, format!("{text:?}"), remedy)
    })
}

impl HeadFile {
    /// Opens a head file. Where weight and bias differ in precision, both take the higher one.
    ///
    /// # Errors
    /// When it does not exist, is damaged or not what its run left, lacks an array, or holds a wrong shape or a value that is not finite.
    pub fn open(path: &Path) -> Result<Self> {
        let mut arrays = Arrays::open(path, WANTED)?;
        let weight = arrays.floats("weight", "[classes, d]", 2)?;
        let bias = arrays.floats("bias", "[classes]", 1)?;
        if weight.dim(0)? != bias.dim(0)? {
            let expected = format!("shape [{}] (the rows of weight)", weight.dim(0)?);
            let found = format!("shape {:?}", bias.dims());
            return Err(Error::format(
                path,
                "array bias",
                expected,
                found,
                "store both from the same layer",
            ));
        }
        let kind = if weight.dtype() == bias.dtype() {
            weight.dtype()
        } else {
            DType::F64
        };
        let (weight, bias) = (weight.to_dtype(kind)?, bias.to_dtype(kind)?);
        let stated = arrays.metadata()?.remove(L2);
        let l2 = stated.map(|text| l2_of(path, &text)).transpose()?;
        Ok(Self {
            l2,
            weight,
            bias,
            path: path.to_path_buf(),
        })
    }

    /// The number of classes (C).
    #[must_use]
    pub fn class_count(&self) -> usize {
        self.bias.elem_count()
    }

    /// The number of features of an image (d).
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.weight.elem_count() / self.class_count()
    }

    /// Checks that the head can classify these features: the same d, and a class for every label.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming both files; [`Error::Format`] naming the row of a label without a class.
    pub fn check_against(&self, features: &Features) -> Result<()> {
        let remedy = "give the head that belongs to these features";
        let (head, set) = (self.path.display(), features.path.display());
        if self.dimension() != features.dimension() {
            let expected = format!("{} columns (the features of {set})", features.dimension());
            return Err(Error::mismatch(
                format!("{head}: array weight"),
                expected,
                self.dimension(),
                remedy,
            ));
        }
        let classes = self.class_count();
        if let Some(row) = features.labels.iter().position(|&label| label >= classes) {
            let expected = format!("a label below {classes} (the classes of {head})");
            return Err(Error::format(
                &features.path,
                format!("row {row}"),
                expected,
                features.labels[row].to_string(),
                remedy,
            ));
        }
        match &features.classes {
            Some(names) if names.len() != classes => {
                let expected = format!("{} rows (the classes of {set})", names.len());
                Err(Error::mismatch(
                    format!("{head}: array weight"),
                    expected,
                    classes,
                    remedy,
                ))
            }
            _ => Ok(()),
        }
    }
}
