//! Names of others made into ours, which are torchvision's.
//!
//! | in the file | meaning |
//! |---|---|
//! | `module.`, `model.`, `module.model.` … before every name | wrappers; the shortest such prefix is taken off |
//! | `…attacker.…` | `robustness` keeps the model a second time inside its attacker: left alone |
//! | `…new_mean`, `…new_std` (`mean`, `std`, `mu`, `sigma`) of 3 numbers | the normalisation of the pixels |
//! | `…num_batches_tracked`, `…n_averaged` | counters of batch norm and of averaged models that no evaluation needs: left alone |
//! | `shortcut.`, `linear.` | `downsample.`, `fc.` in the CIFAR networks of `robustness` |
//!
//! torchvision and timm agree on the names of these networks.

use std::collections::BTreeMap;

/// What the tensors of a file are to us.
#[derive(Debug)]
pub(super) struct Naming {
    /// The file's name of each of our names; a name that is none of ours stays as it is.
    pub(super) names: BTreeMap<String, String>,
    /// The file's names of mean and deviation.
    pub(super) normaliser: Option<(String, String)>,
    /// The file's names of what is left alone.
    pub(super) ignored: Vec<String>,
}

/// A name that every member of the family has, and that ends no other.
const ANCHORS: [&str; 2] = ["layer1.0.conv1.weight", "layer2.0.conv1.weight"];
const MEANS: [&str; 3] = ["new_mean", "mean", "mu"];
const DEVIATIONS: [&str; 3] = ["new_std", "std", "sigma"];
const COUNTERS: [&str; 2] = ["num_batches_tracked", "n_averaged"];

/// The names of a residual network of this family; `None` where the file's are of something else.
pub(super) fn naming(shapes: &BTreeMap<String, Vec<usize>>) -> Option<Naming> {
    let anchored = |anchor: &str| {
        let prefixes = shapes.keys().filter_map(|name| name.strip_suffix(anchor));
        let outside = prefixes.filter(|prefix| !is_copy(prefix));
        outside.min_by_key(|prefix| prefix.len()).map(str::to_owned)
    };
    let prefix = ANCHORS.into_iter().find_map(anchored)?;
    let (mut names, mut ignored) = (BTreeMap::new(), Vec::new());
    let (mut mean, mut deviation) = (None, None);
    for (name, shape) in shapes {
        let last = name.rsplit('.').next().unwrap_or(name);
        let triple = shape.iter().product::<usize>() == 3;
        if is_copy(name) || COUNTERS.contains(&last) {
            ignored.push(name.clone());
        } else if triple && MEANS.contains(&last) && mean.is_none() {
            mean = Some(name.clone());
        } else if triple && DEVIATIONS.contains(&last) && deviation.is_none() {
            deviation = Some(name.clone());
        } else {
            let ours = name
                .strip_prefix(&prefix)
                .map_or_else(|| name.clone(), renamed);
            let key = if names.contains_key(&ours) {
                name.clone()
            } else {
                ours
            };
            names.insert(key, name.clone());
        }
    }
    let normaliser = match (mean, deviation) {
        (Some(mean), Some(deviation)) => Some((mean, deviation)),
        (one, other) => {
            // Half a normalisation is something else: it will be named as left over.
            names.extend(
                one.into_iter()
                    .chain(other)
                    .map(|name| (name.clone(), name)),
            );
            None
        }
    };
    Some(Naming {
        names,
        normaliser,
        ignored,
    })
}

fn is_copy(name: &str) -> bool {
    name.split('.').any(|part| part == "attacker")
}

fn renamed(name: &str) -> String {
    match name.strip_prefix("linear.") {
        Some(part) => format!("fc.{part}"),
        None => name.replace(".shortcut.", ".downsample."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Option<Naming> {
        let shape = |name: &&str| {
            let triple = name.ends_with("mean") || name.ends_with("std") || name.ends_with("mu");
            (
                (*name).to_owned(),
                if triple { vec![3, 1, 1] } else { vec![8, 4] },
            )
        };
        naming(&names.iter().map(shape).collect())
    }

    #[test]
    fn the_wrappers_of_robustness_come_off() {
        let naming = of(&[
            "module.model.layer1.0.conv1.weight",
            "module.model.layer2.0.shortcut.0.weight",
            "module.model.linear.bias",
            "module.model.bn1.num_batches_tracked",
            "module.normalizer.new_mean",
            "module.normalizer.new_std",
            "module.attacker.normalize.new_mean",
            "module.attacker.model.layer1.0.conv1.weight",
        ])
        .unwrap();
        let ours: Vec<&str> = naming.names.keys().map(String::as_str).collect();
        let expected = [
            "fc.bias",
            "layer1.0.conv1.weight",
            "layer2.0.downsample.0.weight",
        ];
        assert_eq!(ours, expected);
        assert_eq!(naming.names["fc.bias"], "module.model.linear.bias");
        let (mean, deviation) = naming.normaliser.unwrap();
        assert_eq!(mean, "module.normalizer.new_mean");
        assert_eq!(deviation, "module.normalizer.new_std");
        assert_eq!(naming.ignored.len(), 3);
    }

    #[test]
    fn the_counter_of_an_averaged_model_is_left_alone() {
        let naming = of(&["n_averaged", "module.layer1.0.conv1.weight"]).unwrap();
        assert_eq!(naming.ignored, ["n_averaged"]);
        assert!(naming.names.keys().eq(["layer1.0.conv1.weight"]));
    }

    #[test]
    fn plain_names_stay_and_strangers_are_kept_to_be_named() {
        let naming = of(&["layer1.0.conv1.weight", "neck.0.weight", "mu"]).unwrap();
        let ours: Vec<&str> = naming.names.keys().map(String::as_str).collect();
        assert_eq!(ours, ["layer1.0.conv1.weight", "mu", "neck.0.weight"]);
        assert!(naming.normaliser.is_none());
        // Two names for one of ours: the second is a stranger.
        let naming = of(&["layer1.0.conv1.weight", "fc.bias", "linear.bias"]).unwrap();
        assert!(naming.names.contains_key("fc.bias") && naming.names.contains_key("linear.bias"));
        assert!(of(&["features.0.weight", "classifier.6.bias"]).is_none());
    }
}
