//! Names of classes, and whether two sets speak of the same ones.

use super::Dataset;
use crate::{Error, Result};
use std::borrow::Borrow;

/// Names of classes that are listed in a line.
pub(super) const LISTED: usize = 5;

/// Names of classes that have none: their numbers.
pub(crate) fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

/// Whether the names are numbers, as [`numbered`] gives them.
pub(crate) fn are_numbers(names: &[String]) -> bool {
    let mut names = names.iter().enumerate();
    names.all(|(class, name)| *name == class.to_string())
}

/// The first `most` names, and how many more there are.
pub(crate) fn listed(names: &[impl Borrow<str>], most: usize) -> String {
    let first = names[..names.len().min(most)].join(", ");
    match names.len().saturating_sub(most) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

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
        parts.push(format!("without {}", listed(&missing, LISTED)));
    }
    if !added.is_empty() {
        parts.push(format!("with {}", listed(&added, LISTED)));
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
        let seven = listed(&names("a b c d e f g"), LISTED);
        assert_eq!(seven, "a, b, c, d, e and 2 more");
        assert_eq!(listed(&["a", "b"], 2), "a, b");
        assert!(are_numbers(&numbered(12)) && !are_numbers(&names("1 2")));
    }
}
