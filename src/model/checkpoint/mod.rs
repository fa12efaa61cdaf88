//! Weight files of others: what `torch.save` writes, and safetensors, by whatever name, with the names of torchvision, timm or
//! `robustness` ([`naming`]).
//!
//! The architecture is recognised by names and shapes. Such files rarely say which classes and pixels they were made
//! for: classes are then numbered, and the normalisation is ImageNet's for the networks with ImageNet's stem, given by
//! the user for the others. Nothing in a file is executed ([`pickle`]).

mod archive;
mod fit;
mod naming;
mod pickle;
mod pixel_statistics;
mod refusal;
mod settings;
mod stored;
mod torch_values;

pub use fit::Misfit;
pub use pixel_statistics::Origin;
pub use settings::SourceSettings;

use super::weight_file::{self, check_values};
use super::{Architecture, Normalisation, ResNet, Stem};
use crate::data::{Framing, numbered};
use crate::{Error, Result};
use archive::{CONVERT, START, begins_as_saved};
use candle_core::{DType, Device, Tensor};
use naming::{Naming, naming};
use pixel_statistics::{in_unit_pixels, of_unit_pixels};
use refusal::strange;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use stored::Stored;

/// A weight file that was read and compared with the family.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// What wrote it.
    pub format: &'static str,
    /// The keys under which a PyTorch file holds the weights, joined by dots; empty where at its top.
    pub place: String,
    /// The member of the family it is, or is nearest to.
    pub architecture: Architecture,
    /// Class names, where the file has them.
    pub classes: Option<Vec<String>>,
    /// Number of classes; `None` where the file has no classifier.
    pub class_count: Option<usize>,
    /// The input normalisation and where it comes from; `None` where the user has to give it.
    pub normalisation: Option<(Normalisation, Origin)>,
    /// What it was made to see of an image.
    pub framing: Framing,
    /// What is missing, left over, or of another shape; not a classifier that is missing whole.
    pub misfits: Vec<Misfit>,
    /// Names in the file that a model does not need.
    pub ignored: Vec<String>,
    /// Our names; only those that fit.
    tensors: BTreeMap<String, Tensor>,
}

/// A source model from the bytes of its file, ours or of others.
///
/// # Errors
/// A damaged file, one of another architecture, a tensor that is missing, left over, of the wrong shape or not finite;
/// no classifier; a normalisation that neither the file nor the user gives, or both.
pub fn source_from_bytes(
    bytes: &[u8],
    path: &Path,
    settings: SourceSettings,
    device: &Device,
) -> Result<ResNet> {
    if settings.normalisation.is_none() && weight_file::is_ours(bytes) {
        return weight_file::model_from_bytes(bytes, path, device);
    }
    Checkpoint::from_bytes(bytes, path, device)?.into_model(settings)
}

/// The same of a model whose classifier is to be replaced, and whether the file has one: where it has none, the model's is
/// of one class and of zeros.
///
/// # Errors
/// As [`source_from_bytes`], but for a file without a classifier.
pub(super) fn backbone_from_bytes(
    bytes: &[u8],
    path: &Path,
    settings: SourceSettings,
    device: &Device,
) -> Result<(ResNet, bool)> {
    if settings.normalisation.is_none() && weight_file::is_ours(bytes) {
        return Ok((weight_file::model_from_bytes(bytes, path, device)?, true));
    }
    let mut checkpoint = Checkpoint::from_bytes(bytes, path, device)?;
    let has_classifier = checkpoint.class_count.is_some();
    if !has_classifier {
        checkpoint.class_count = Some(1);
        let shapes = super::expected_shapes(&checkpoint.architecture, 1).into_iter();
        for (name, shape) in shapes.filter(|(name, _)| fit::is_of_classifier(name)) {
            // In the wider precision, which gives way to that of the others.
            let zeros = Tensor::zeros(shape, DType::F64, device)?;
            checkpoint.tensors.insert(name, zeros);
        }
    }
    Ok((checkpoint.into_model(settings)?, has_classifier))
}

impl Checkpoint {
    /// Reads a weight file; tensors that do not fit are noted, not refused.
    ///
    /// # Errors
    /// A damaged file, or one that is no network of this family at all.
    pub fn from_bytes(bytes: &[u8], path: &Path, device: &Device) -> Result<Self> {
        if weight_file::is_ours(bytes) {
            return Self::ours(bytes, path, device);
        }
        let mut stored = Stored::open(bytes, path)?;
        let shapes = stored.shapes();
        if let Some(name) = shapes
            .keys()
            .find(|name| name.chars().any(char::is_control))
        {
            let found = format!("{name:?}");
            return Err(Error::format(
                path,
                "tensor names",
                "printable text",
                found,
                CONVERT,
            ));
        }
        let names = naming(&shapes).ok_or_else(|| strange(path, shapes.keys()))?;
        let ours = |(ours, theirs): (&String, &String)| (ours.clone(), shapes[theirs].clone());
        let fit = fit::fit(&names.names.iter().map(ours).collect())
            .ok_or_else(|| strange(path, shapes.keys()))?;
        let mut tensors = BTreeMap::new();
        let classes = fit.class_count.unwrap_or_default();
        for (name, shape) in super::expected_shapes(&fit.architecture, classes) {
            if let Some(theirs) = names.names.get(&name).filter(|it| shapes[*it] == shape) {
                let tensor = stored.load(theirs, device)?;
                check_values(&name, &tensor, path)?;
                tensors.insert(name, tensor);
            }
        }
        let normalisation = match stored.normalisation(&names)? {
            Some(stored) => Some(in_unit_pixels(stored, path)?),
            None if fit.architecture.stem() == Stem::ImageNet => {
                Some((Normalisation::IMAGENET, Origin::ImageNet))
            }
            None => None,
        };
        let mut misfits = fit.misfits;
        with_their_names(&mut misfits, &names);
        Ok(Self {
            path: path.to_path_buf(),
            format: stored.format(),
            place: stored.place(),
            framing: fit.architecture.usual_side().into(),
            architecture: fit.architecture,
            classes: None,
            class_count: fit.class_count,
            normalisation,
            misfits,
            ignored: names.ignored,
            tensors,
        })
    }

    fn ours(bytes: &[u8], path: &Path, device: &Device) -> Result<Self> {
        let (tensors, metadata) = weight_file::tensors_from_bytes(bytes, path, device)?;
        let description = weight_file::description(&metadata, path)?;
        let shapes = (tensors.iter()).map(|(name, it)| (name.clone(), it.dims().to_vec()));
        let class_count = description.classes.len();
        let misfits = fit::misfits(&shapes.collect(), &description.architecture, class_count);
        Ok(Self {
            path: path.to_path_buf(),
            format: "ascribe",
            place: String::new(),
            architecture: description.architecture,
            class_count: Some(class_count),
            classes: Some(description.classes),
            normalisation: Some((description.normalisation, Origin::File)),
            framing: description.framing,
            misfits,
            ignored: Vec::new(),
            tensors,
        })
    }

    /// Numbers that are trained: all but the running statistics; of the tensors that are there.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let parameters = self
            .tensors
            .iter()
            .filter(|(name, _)| !super::is_statistic(name));
        parameters.map(|(_, tensor)| tensor.elem_count()).sum()
    }

    /// The model, if everything fits.
    ///
    /// # Errors
    /// As [`source_from_bytes`].
    fn into_model(self, settings: SourceSettings) -> Result<ResNet> {
        if let Some(misfit) = self.misfits.first() {
            return Err(self.refusal(misfit));
        }
        let Some(class_count) = self.class_count else {
            return Err(self.without_classifier());
        };
        let normalisation = match (self.normalisation, settings.normalisation) {
            (Some((_, Origin::File | Origin::FileOf255)), Some(_)) => {
                let reason = format!("{} has its own; leave the option out", self.path.display());
                return Err(Error::config("source-mean", reason));
            }
            (_, Some(given)) => of_unit_pixels(given)?,
            (Some((given, _)), None) => given,
            (None, None) => {
                let reason = format!(
                    "{} does not say how its pixels were normalised; give --source-mean and --source-deviation, three numbers each (0,0,0 and 1,1,1 if they were not)",
                    self.path.display()
                );
                return Err(Error::config("source", reason));
            }
        };
        let classes = self.classes.unwrap_or_else(|| numbered(class_count));
        let tensors = uniform(self.tensors)?;
        ResNet::new(
            self.architecture,
            classes,
            normalisation,
            self.framing,
            tensors,
        )
        .map_err(|error| weight_file::of_file(error, &self.path))
    }
}

/// Left-over tensors under the names they have in the file.
fn with_their_names(misfits: &mut [Misfit], naming: &Naming) {
    for misfit in misfits {
        if let Misfit::LeftOver { name, .. } = misfit
            && let Some(theirs) = naming.names.get(name)
        {
            name.clone_from(theirs);
        }
    }
}

/// All f64, or all f32 where one is.
fn uniform(tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let single = tensors.values().any(|tensor| tensor.dtype() != DType::F64);
    let dtype = if single { DType::F32 } else { DType::F64 };
    let converted = tensors
        .into_iter()
        .map(|(name, it)| Ok((name, it.to_dtype(dtype)?)));
    converted.collect()
}

/// Whether a file begins as those that [`Checkpoint::from_bytes`] reads.
pub(super) fn begins_as_weights(path: &Path) -> bool {
    let read = || {
        let file = File::open(path)?;
        let (length, mut start) = (file.metadata()?.len(), Vec::new());
        file.take(START).read_to_end(&mut start)?;
        Ok::<_, std::io::Error>((start, length))
    };
    read().is_ok_and(|(start, length)| {
        begins_as_saved(&start) || weight_file::begins_as_safetensors(&start, length)
    })
}
