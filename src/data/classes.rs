//! Whether two sets speak of the same classes.

use super::Dataset;
use crate::{Error, Result};

/// Checks that a test set has the classes of the training set, in the same order: labels are compared by number.
///
/// Two sets without class names agree when the test set's labels are among the training set's.
///
/// # Errors
/// [`Error::Mismatch`] naming both sets and how their classes differ.
pub fn check_same_classes(train: &Dataset, test: &Dataset) -> Result<()> {
    let (wanted, given) = (train.classes(), test.classes());
    if let [only] = wanted {
        let what = format!("{}: classes", train.path().display());
        let found = format!("{only} alone");
        let remedy = "of class folders give the folder that holds all of them";
        return Err(Error::mismatch(what, "at least 2", found, remedy));
    }
    let unnamed = !train.has_class_names() && !test.has_class_names();
    if wanted == given || unnamed && given.len() <= wanted.len() {
        return Ok(());
    }
    let expected = format!("the {} classes of {}", wanted.len(), train.path().display());
    let found = format!("{} classes: {}", given.len(), difference(wanted, given));
    let what = format!("{}: classes", test.path().display());
    Err(Error::mismatch(
        what,
        expected,
        found,
        "give train and test data of the same classes",
    ))
}

fn difference(wanted: &[String], given: &[String]) -> String {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these
            .iter()
            .filter(|name| !those.contains(name))
            .cloned()
            .collect()
    };
    let (missing, added) = (only(wanted, given), only(given, wanted));
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("without {}", listed(&missing)));
    }
    if !added.is_empty() {
        parts.push(format!("with {}", listed(&added)));
    }
    if parts.is_empty() {
        let class = wanted
            .iter()
            .zip(given)
            .position(|(a, b)| a != b)
            .unwrap_or(0);
        parts.push(format!(
            "in another order (class {class} is {} instead of {})",
            given[class], wanted[class]
        ));
    }
    parts.join(" and ")
}

fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let rest = names.len().saturating_sub(SHOWN);
    let more = if rest > 0 {
        format!(" and {rest} more")
    } else {
        String::new()
    };
    format!("{}{more}", names[..names.len() - rest].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<String> {
        list.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn differences_are_named() {
        assert_eq!(
            difference(&names("cat dog"), &names("cat frog")),
            "without dog and with frog"
        );
        assert_eq!(difference(&names("cat dog"), &names("cat")), "without dog");
        let order = difference(&names("cat dog"), &names("dog cat"));
        assert_eq!(order, "in another order (class 0 is dog instead of cat)");
        assert_eq!(listed(&names("a b c d e f g")), "a, b, c, d, e and 2 more");
    }
}
