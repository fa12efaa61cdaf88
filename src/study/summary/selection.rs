//! Which rows of a table are looked at.

use super::Variable;
use crate::model::Blocks;
use crate::study::Row;
use crate::{Error, Result};
use std::fmt::Display;

/// Which rows are looked at; what is not given is the largest there is, and all sources and targets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Number of training images.
    pub images: Option<usize>,
    /// Fine-tuned blocks.
    pub blocks: Option<Blocks>,
    /// Epochs of the whole run.
    pub epochs: Option<usize>,
    /// Names of sources.
    pub sources: Vec<String>,
    /// Names of target sets.
    pub targets: Vec<String>,
    /// The target set that others are compared with, source by source, instead of sources with the natural one.
    pub against: Option<String>,
}

/// What rows have in common: the option and its value.
type Fixed = Vec<(String, String)>;

/// The rows, and what they have in common.
pub(super) fn selected<'a>(
    rows: &'a [Row],
    variable: Variable,
    selection: &Selection,
) -> Result<(Vec<&'a Row>, Fixed)> {
    let named = |names: &[String], name: &String| names.is_empty() || names.contains(name);
    let against: Vec<String> = selection.against.iter().cloned().collect();
    for (option, names, there) in [
        ("against", &against, names(rows, |row| &row.target)),
        (
            "sources",
            &selection.sources,
            names(rows, |row| &row.source),
        ),
        (
            "targets",
            &selection.targets,
            names(rows, |row| &row.target),
        ),
    ] {
        if let Some(name) = names.iter().find(|name| !there.contains(name)) {
            let there = there.join(", ");
            let reason = format!("expected some of {there}, found {name}");
            return Err(Error::config(option, reason));
        }
    }
    let mut left: Vec<&Row> = rows
        .iter()
        .filter(|row| named(&selection.sources, &row.source))
        .filter(|row| named(&selection.targets, &row.target) || against.contains(&row.target))
        .collect();
    let mut fixed = Vec::new();
    let epochs = fix(&mut left, "epochs", selection.epochs, |row| row.epochs)?;
    fixed.push(("epochs".to_owned(), epochs.to_string()));
    if variable != Variable::Blocks {
        let blocks = fix(&mut left, "blocks", selection.blocks, |row| row.blocks)?;
        fixed.push(("blocks".to_owned(), blocks.to_string()));
    }
    if variable != Variable::Images {
        let images = fix(&mut left, "images", selection.images, |row| row.images)?;
        fixed.push(("images".to_owned(), images.to_string()));
    }
    if variable != Variable::Epoch {
        left.retain(|row| row.epoch == row.epochs);
    }
    Ok((left, fixed))
}

fn names(rows: &[Row], name: fn(&Row) -> &String) -> Vec<String> {
    let mut names: Vec<String> = rows.iter().map(|row| name(row).clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Keeps the rows with the value asked for, or with the largest.
fn fix<T: Ord + Copy + Display>(
    rows: &mut Vec<&Row>,
    option: &'static str,
    asked: Option<T>,
    value: impl Fn(&Row) -> T,
) -> Result<T> {
    let mut there: Vec<T> = rows.iter().map(|row| value(row)).collect();
    there.sort_unstable();
    there.dedup();
    let Some(&largest) = there.last() else {
        let remedy = "run ascribe study again";
        return Err(Error::mismatch(
            "the study's table",
            "at least one row",
            "none",
            remedy,
        ));
    };
    let wanted = asked.unwrap_or(largest);
    if !there.contains(&wanted) {
        let all = there.iter().map(T::to_string).collect::<Vec<_>>();
        let reason = format!("expected one of {}, found {wanted}", all.join(", "));
        return Err(Error::config(option, reason));
    }
    rows.retain(|row| value(row) == wanted);
    Ok(wanted)
}
