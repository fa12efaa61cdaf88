//! Which member of the family a set of named shapes is, and what does not fit.

use crate::model::{Architecture, Stem, expected_shapes};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// A tensor that is not as the architecture has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Misfit {
    /// The architecture has it, the file has not.
    Missing {
        /// Our name of it.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The most similar name among those left over.
        nearest: Option<String>,
    },
    /// The file has it, the architecture has not.
    LeftOver {
        /// The file's name of it.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The most similar name of the architecture.
        nearest: Option<String>,
    },
    /// Both have it, in different shapes.
    Shape {
        /// Our name of it.
        name: String,
        /// The architecture's shape.
        expected: Vec<usize>,
        /// The file's shape.
        found: Vec<usize>,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing {
                name,
                shape,
                nearest,
            } => {
                write!(f, "missing: {name} {shape:?}")?;
                nearest
                    .iter()
                    .try_for_each(|it| write!(f, " (nearest left over: {it})"))
            }
            Self::LeftOver {
                name,
                shape,
                nearest,
            } => {
                write!(f, "left over: {name} {shape:?}")?;
                nearest
                    .iter()
                    .try_for_each(|it| write!(f, " (nearest expected: {it})"))
            }
            Self::Shape {
                name,
                expected,
                found,
            } => {
                write!(f, "shape: {name} {found:?} instead of {expected:?}")
            }
        }
    }
}

/// The best member of the family.
#[derive(Debug)]
pub(super) struct Fit {
    pub(super) architecture: Architecture,
    /// `None` where there is no classifier.
    pub(super) class_count: Option<usize>,
    /// Without those of a classifier that is missing whole.
    pub(super) misfits: Vec<Misfit>,
}

/// The member with the fewest misfits, unless more than half of its tensors are among them.
pub(super) fn fit(shapes: &BTreeMap<String, Vec<usize>>) -> Option<Fit> {
    let first = shapes.get("conv1.weight").filter(|shape| shape.len() == 4);
    let width = match first {
        Some(shape) => shape[0],
        None => *shapes.get("bn1.weight")?.first()?,
    };
    let stems: &[Stem] = match first.map(|shape| shape[3]) {
        Some(3) => &[Stem::Cifar],
        Some(7) => &[Stem::ImageNet],
        _ => &[Stem::Cifar, Stem::ImageNet],
    };
    let head = shapes.get("fc.weight").or_else(|| shapes.get("fc.bias"));
    let class_count = head.and_then(|shape| shape.first().copied());
    let assumed = class_count.unwrap_or(1);
    let members = stems
        .iter()
        .flat_map(|&stem| Architecture::family(stem, width));
    let fits = members.map(|architecture| {
        let misfits = misfits(shapes, &architecture, assumed);
        Fit {
            architecture,
            class_count,
            misfits,
        }
    });
    let mut best = fits.min_by_key(|fit| fit.misfits.len())?;
    let expected = expected_shapes(&best.architecture, assumed);
    if 2 * best.misfits.len() > expected.len() {
        return None;
    }
    if class_count.is_none() {
        let missing =
            |it: &Misfit| matches!(it, Misfit::Missing { name, .. } if is_of_classifier(name));
        best.misfits.retain(|misfit| !missing(misfit));
    }
    name_nearest(&mut best.misfits, &expected);
    Some(best)
}

/// Whether a tensor of that name, one of ours, is the classifier's.
pub(super) fn is_of_classifier(name: &str) -> bool {
    name.starts_with("fc.")
}

/// What does not fit, in the order of the names: missing, of another shape, left over.
pub(super) fn misfits(
    shapes: &BTreeMap<String, Vec<usize>>,
    architecture: &Architecture,
    class_count: usize,
) -> Vec<Misfit> {
    let expected = expected_shapes(architecture, class_count);
    let unfit = expected
        .iter()
        .filter_map(|(name, shape)| match shapes.get(name) {
            None => Some(Misfit::Missing {
                name: name.clone(),
                shape: shape.clone(),
                nearest: None,
            }),
            Some(found) if found != shape => Some(Misfit::Shape {
                name: name.clone(),
                expected: shape.clone(),
                found: found.clone(),
            }),
            Some(_) => None,
        });
    let strange = shapes
        .iter()
        .filter(|(name, _)| !expected.contains_key(*name));
    let strange = strange.map(|(name, shape)| Misfit::LeftOver {
        name: name.clone(),
        shape: shape.clone(),
        nearest: None,
    });
    unfit.chain(strange).collect()
}

/// A name less similar than this is another name.
const SIMILAR: f64 = 0.7;
/// Misfits that get their nearest name: a list of hundreds is not read.
const NAMED: usize = 20;

fn name_nearest(misfits: &mut [Misfit], expected: &BTreeMap<String, Vec<usize>>) {
    let strange: Vec<String> = (misfits.iter())
        .filter_map(|misfit| match misfit {
            Misfit::LeftOver { name, .. } => Some(name.clone()),
            _ => None,
        })
        .collect();
    for misfit in misfits.iter_mut().take(NAMED) {
        match misfit {
            Misfit::Missing { name, nearest, .. } => *nearest = most_similar(name, &strange),
            Misfit::LeftOver { name, nearest, .. } => {
                *nearest = most_similar(name, expected.keys())
            }
            Misfit::Shape { .. } => {}
        }
    }
}

fn most_similar<'a>(name: &str, names: impl IntoIterator<Item = &'a String>) -> Option<String> {
    let similarity = |other: &str| strsim::normalized_levenshtein(name, other);
    let rated = names.into_iter().map(|other| (similarity(other), other));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|best| best.0 >= SIMILAR)
        .map(|best| best.1.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(architecture: &str, classes: usize) -> BTreeMap<String, Vec<usize>> {
        expected_shapes(&architecture.parse().unwrap(), classes)
    }

    #[test]
    fn every_member_is_recognised() {
        let family = (Architecture::family(Stem::ImageNet, 64).into_iter())
            .chain(Architecture::family(Stem::Cifar, 5));
        for architecture in family {
            let fit = fit(&expected_shapes(&architecture, 7)).unwrap();
            assert_eq!(fit.architecture, architecture);
            assert_eq!((fit.class_count, fit.misfits), (Some(7), Vec::new()));
        }
    }

    #[test]
    fn a_renamed_tensor_is_missing_and_left_over_with_each_other_as_nearest() {
        let mut shapes = shapes("resnet50", 10);
        let shape = shapes.remove("layer4.2.bn3.bias").unwrap();
        shapes.insert("layer4.2.norm3.bias".into(), shape);
        let fit = fit(&shapes).unwrap();
        assert_eq!(fit.architecture.to_string(), "resnet50");
        let text: Vec<String> = fit.misfits.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "missing: layer4.2.bn3.bias [2048] (nearest left over: layer4.2.norm3.bias)",
                "left over: layer4.2.norm3.bias [2048] (nearest expected: layer4.2.bn3.bias)",
            ]
        );
    }

    /// Another head is no classifier, but left over.
    #[test]
    fn a_missing_classifier_is_no_misfit_and_another_head_is_one() {
        let mut shapes = shapes("resnet50", 10);
        shapes.retain(|name, _| !is_of_classifier(name));
        let headless = fit(&shapes).unwrap();
        assert_eq!((headless.class_count, headless.misfits), (None, Vec::new()));
        shapes.insert("projector.weight".into(), vec![128, 2048]);
        let other = fit(&shapes).unwrap();
        let text: Vec<String> = other.misfits.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["left over: projector.weight [128, 2048]"]);
        assert_eq!(other.class_count, None);
    }

    #[test]
    fn another_architecture_is_none_of_the_family() {
        // Grouped convolutions: the same names, other shapes.
        let mut shapes = shapes("resnet50", 10);
        for (name, shape) in &mut shapes {
            if name.ends_with("conv2.weight") {
                shape[1] = 4;
            }
        }
        let close = fit(&shapes).unwrap();
        assert_eq!(close.misfits.len(), 16);
        shapes.retain(|name, _| name.starts_with("conv1") || name.starts_with("layer1"));
        assert!(fit(&shapes).is_none());
    }
}
