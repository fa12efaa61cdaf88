//! Weight files of others: PyTorch (`.pt`, `.pth`, `.ckpt`) and safetensors, with the names of torchvision, timm or
//! `robustness` ([`naming`]).
//!
//! The architecture is recognised by names and shapes. Such files rarely say which classes and pixels they were made
//! for: classes are then numbered, and the normalisation is ImageNet's for the networks with ImageNet's stem, given by
//! the user for the others. Nothing in a file is executed ([`pickle`]).

mod archive;
mod fit;
mod naming;
mod pickle;
mod settings;
mod torch_values;

pub use fit::Misfit;
pub use settings::SourceSettings;

use super::weight_file::{self, check_values};
use super::{Architecture, Normalisation, ResNet, Stem};
use crate::data::Framing;
use crate::{Error, Result};
use archive::{Archive, CONVERT, START, begins_as_saved, is_archive};
use candle_core::{DType, Device, Tensor, safetensors::Load};
use naming::{Naming, naming};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where a checkpoint's normalisation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The file has it.
    File,
    /// The file has it, of pixels up to 255; it was divided by that.
    FileOf255,
    /// ImageNet's, which torchvision and timm use; the file says nothing.
    ImageNet,
}

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
    /// What is missing, left over, or of another shape.
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
/// a normalisation that neither the file nor the user gives, or both.
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
    pub fn into_model(self, settings: SourceSettings) -> Result<ResNet> {
        if let Some(misfit) = self.misfits.first() {
            return Err(self.refusal(misfit));
        }
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
        let classes = self.classes.unwrap_or_else(|| {
            let numbers = 0..self.class_count.unwrap_or_default();
            numbers.map(|class| class.to_string()).collect()
        });
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

    fn refusal(&self, misfit: &Misfit) -> Error {
        let place = format!("weights, taken for {}", self.architecture);
        let path = self.path.display();
        if self.class_count.is_none() {
            let expected = "a classifier (fc.weight and fc.bias)";
            let remedy = format!(
                "give a file of the whole network; ascribe inspect {path} shows what is in this one"
            );
            return Error::format(&self.path, place, expected, "none", remedy);
        }
        let more = self.misfits.len() - 1;
        let remedy = format!(
            "{}see all with: ascribe inspect {path}",
            if more > 0 {
                format!("{more} more do not fit; ")
            } else {
                String::new()
            }
        );
        let near = |nearest: &Option<String>| {
            let text = nearest
                .iter()
                .map(|it| format!(" (the most similar name is {it})"));
            text.collect::<String>()
        };
        let (expected, found) = match misfit {
            Misfit::Missing {
                name,
                shape,
                nearest,
            } => {
                let found = format!("none{}", near(nearest));
                (format!("a tensor {name} of shape {shape:?}"), found)
            }
            Misfit::LeftOver { name, nearest, .. } => (
                "no other tensor".to_owned(),
                format!("{name}{}", near(nearest)),
            ),
            Misfit::Shape {
                name,
                expected,
                found,
            } => (
                format!("{name} of shape {expected:?}"),
                format!("{found:?}"),
            ),
        };
        Error::format(&self.path, place, expected, found, remedy)
    }
}

/// The statistics of a file, divided by 255 where they are of pixels up to that.
fn in_unit_pixels(stored: Normalisation, path: &Path) -> Result<(Normalisation, Origin)> {
    if !is_deviation(stored.deviation) {
        return Err(Error::format(
            path,
            "the normalisation's deviation",
            "positive numbers",
            format!("{:?}", stored.deviation),
            CONVERT,
        ));
    }
    let all_within = |most: f64| stored.mean.iter().all(|mean| (0.0..=most).contains(mean));
    if all_within(1.0) {
        return Ok((stored, Origin::File));
    }
    if !all_within(255.0) {
        return Err(Error::format(
            path,
            "the normalisation's mean",
            "means of pixels in [0, 1] or [0, 255]",
            format!("{:?}", stored.mean),
            CONVERT,
        ));
    }
    let divided = |numbers: [f64; 3]| numbers.map(|number| number / 255.0);
    let normalisation = Normalisation {
        mean: divided(stored.mean),
        deviation: divided(stored.deviation),
    };
    Ok((normalisation, Origin::FileOf255))
}

fn is_deviation(numbers: [f64; 3]) -> bool {
    (numbers.iter()).all(|number| number.is_finite() && *number > 0.0)
}

/// Refuses what pixels in [0, 1] cannot have.
fn of_unit_pixels(given: Normalisation) -> Result<Normalisation> {
    if !is_deviation(given.deviation) {
        let [red, green, blue] = given.deviation;
        let reason = format!(
            "expected positive numbers, found {red},{green},{blue}; give those of the images it was trained on"
        );
        return Err(Error::config("source-deviation", reason));
    }
    match (given.mean.iter()).find(|mean| !(0.0..=1.0).contains(*mean)) {
        None => Ok(given),
        Some(mean) => {
            let reason = format!(
                "expected means of pixels in [0, 1], found {mean}; divide what is of 255 by 255, the deviations too"
            );
            Err(Error::config("source-mean", reason))
        }
    }
}

/// A model of something else; its first names say what.
fn strange<'a>(path: &Path, names: impl Iterator<Item = &'a String>) -> Error {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    let count = names.len();
    names.truncate(4);
    Error::format(
        path,
        "tensor names",
        "those of a ResNet (torchvision's: conv1.weight, layer1.0.conv1.weight, … fc.bias)",
        format!("{count} tensors: {} …", names.join(", ")),
        "give a ResNet-18, -34, -50, -101, -152 or a wide one",
    )
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

/// A file's tensors before they are read.
enum Stored<'a> {
    SafeTensors(SafeTensors<'a>, &'a Path),
    PyTorch(Archive<'a>),
}

impl<'a> Stored<'a> {
    fn open(bytes: &'a [u8], path: &'a Path) -> Result<Self> {
        if is_archive(bytes) {
            return Ok(Self::PyTorch(Archive::open(bytes, path)?));
        }
        // A safetensors file begins with the length of its header, whose first byte may be any.
        let other = match bytes {
            _ if bytes.get(8) == Some(&b'{') => None,
            [0x80, ..] => Some("a pickle that torch.save did not write"),
            [0x1f, 0x8b, ..] => Some("a gzip file"),
            [b'B', b'Z', b'h', ..] => Some("a bzip2 file"),
            _ if bytes.get(257..262) == Some(b"ustar") => Some("a tar archive"),
            _ => None,
        };
        if let Some(found) = other {
            let expected = "a PyTorch or safetensors file";
            return Err(Error::format(path, "first bytes", expected, found, CONVERT));
        }
        Ok(Self::SafeTensors(weight_file::parse(bytes, path)?, path))
    }

    fn format(&self) -> &'static str {
        match self {
            Self::SafeTensors(..) => "safetensors",
            Self::PyTorch(archive) => archive.format(),
        }
    }

    fn place(&self) -> String {
        match self {
            Self::SafeTensors(..) => String::new(),
            Self::PyTorch(archive) => archive.state.place.clone(),
        }
    }

    fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        match self {
            Self::SafeTensors(file, _) => (file.iter())
                .map(|(name, view)| (name.to_owned(), view.shape().to_vec()))
                .collect(),
            Self::PyTorch(archive) => (archive.state.tensors.iter())
                .map(|(name, laid)| (name.clone(), laid.shape.clone()))
                .collect(),
        }
    }

    /// A tensor in f32 or f64.
    fn load(&mut self, name: &str, device: &Device) -> Result<Tensor> {
        let tensor = match self {
            Self::SafeTensors(file, path) => {
                let loaded = file.tensor(name).map_err(|error| error.to_string());
                let loaded =
                    loaded.and_then(|view| view.load(device).map_err(|error| error.to_string()));
                loaded.map_err(|found| {
                    let place = format!("tensor {name}");
                    Error::format(path, place, "floating-point numbers", found, CONVERT)
                })?
            }
            Self::PyTorch(archive) => {
                let laid = archive.state.tensors.get(name).cloned();
                let laid = laid.ok_or_else(|| Error::mismatch("weights", name, "none", CONVERT))?;
                archive.load(name, &laid, device)?
            }
        };
        Ok(match tensor.dtype() {
            DType::F64 => tensor,
            _ => tensor.to_dtype(DType::F32)?,
        })
    }

    fn normalisation(&mut self, naming: &Naming) -> Result<Option<Normalisation>> {
        let Some((mean, deviation)) = &naming.normaliser else {
            return Ok(None);
        };
        let mut three = |name: &str| -> Result<[f64; 3]> {
            let tensor = self.load(name, &Device::Cpu)?.to_dtype(DType::F64)?;
            let values: Vec<f64> = tensor.flatten_all()?.to_vec1()?;
            Ok([values[0], values[1], values[2]])
        };
        Ok(Some(Normalisation {
            mean: three(mean)?,
            deviation: three(deviation)?,
        }))
    }
}
