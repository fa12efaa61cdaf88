//! What is in a model file.

use super::Report;
use crate::Result;
use crate::artefact::digest_bytes;
use crate::data::listed;
use crate::model::source_bytes;
use crate::model::{Checkpoint, Misfit, Normalisation, Origin};
use candle_core::Device;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A model file in words and numbers.
#[derive(Serialize)]
pub(super) struct Model {
    kind: &'static str,
    path: PathBuf,
    format: &'static str,
    /// The keys under which a PyTorch file holds the weights.
    place: String,
    architecture: String,
    blocks: usize,
    feature_dimension: usize,
    class_count: Option<usize>,
    classes: Option<Vec<String>>,
    side: usize,
    resize: Option<usize>,
    normalisation: Option<Normalisation>,
    normalisation_from: Option<Origin>,
    parameters: usize,
    /// Whether it can be a source.
    fits: bool,
    misfits: Vec<Misfit>,
    ignored: Vec<String>,
    digest: String,
}

pub(super) fn read(path: &Path) -> Result<Model> {
    let (path, bytes) = source_bytes(path)?;
    let checkpoint = Checkpoint::from_bytes(&bytes, &path, &Device::Cpu)?;
    Ok(Model {
        kind: "model",
        format: checkpoint.format,
        place: checkpoint.place.clone(),
        architecture: checkpoint.architecture.to_string(),
        blocks: checkpoint.architecture.block_count(),
        feature_dimension: checkpoint.architecture.feature_dimension(),
        class_count: checkpoint.class_count,
        classes: checkpoint.classes.clone(),
        side: checkpoint.framing.height,
        resize: checkpoint.framing.resize,
        normalisation: checkpoint
            .normalisation
            .map(|(normalisation, _)| normalisation),
        normalisation_from: checkpoint.normalisation.map(|(_, origin)| origin),
        parameters: checkpoint.parameter_count(),
        fits: checkpoint.misfits.is_empty(),
        misfits: checkpoint.misfits,
        ignored: checkpoint.ignored,
        digest: digest_bytes(&bytes),
        path,
    })
}

impl Model {
    fn images(&self) -> String {
        let side = self.side;
        match self.resize {
            Some(resize) => format!("{side} × {side}, the middle of {resize}"),
            None => format!("{side} × {side}"),
        }
    }
}

/// Misfits shown to people; JSON has all.
const SHOWN: usize = 20;

impl Report for Model {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let place = match self.place.as_str() {
            "" => String::new(),
            place => format!(", weights under {place}"),
        };
        let mut lines = vec![
            (
                "model",
                format!("{} ({}{place})", self.path.display(), self.format),
            ),
            (
                "architecture",
                format!(
                    "{}, {} residual blocks, {} features",
                    self.architecture, self.blocks, self.feature_dimension
                ),
            ),
            ("classes", self.classes_line()),
            ("images", self.images()),
            ("normalisation", self.normalisation_line()),
            ("parameters", self.parameters.to_string()),
            ("sha256", self.digest.clone()),
        ];
        if !self.ignored.is_empty() {
            lines.push(("not needed", listed(&self.ignored, 1)));
        }
        if self.fits {
            let there = match self.class_count {
                Some(_) => "all there",
                None => "all there but the classifier",
            };
            lines.push(("tensors", format!("{there}, none left over")));
        }
        for misfit in self.misfits.iter().take(SHOWN) {
            lines.push(("does not fit", misfit.to_string()));
        }
        if self.misfits.len() > SHOWN {
            let more = format!("and {} more (--json has all)", self.misfits.len() - SHOWN);
            lines.push(("does not fit", more));
        }
        lines
    }
}

impl Model {
    fn classes_line(&self) -> String {
        match (&self.classes, self.class_count) {
            (None, None) => "none: the file has no classifier (fc.weight, fc.bias); a source for ascribe transfer and study, which train one, and for nothing else".into(),
            (None, Some(count)) => format!("{count}, the file does not name them"),
            (Some(names), _) => {
                let first = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
                let more = if names.len() > 5 { " …" } else { "" };
                format!("{}: {first}{more}", names.len())
            }
        }
    }

    fn normalisation_line(&self) -> String {
        let (Some(normalisation), Some(origin)) = (self.normalisation, self.normalisation_from)
        else {
            return "the file does not say: --source-mean and --source-deviation are needed".into();
        };
        let three = |values: [f64; 3]| values.map(|value| format!("{value:.4}")).join(", ");
        let origin = match origin {
            Origin::File => "from the file",
            Origin::FileOf255 => "from the file, where it is of pixels up to 255",
            Origin::ImageNet => "ImageNet's; the file does not say",
        };
        format!(
            "mean {}; deviation {} ({origin})",
            three(normalisation.mean),
            three(normalisation.deviation)
        )
    }
}
