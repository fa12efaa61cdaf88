//! Which rows of a table are looked at.

use super::Variable;
use crate::model::Blocks;
use crate::study::{Axes, ImageCount, Row};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::fmt::Display;

/// Which rows are looked at; what is not given is the largest there is, and all sources and targets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Number of training images; where the study has all of every set, these are the largest there are.
    pub images: Option<ImageCount>,
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
    /// The study's axes.
    pub axes: Axes,
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
    fix_epochs(&mut left, selection)?;
    if variable != Variable::Blocks {
        let blocks = fix(&mut left, "blocks", selection.blocks, |row| row.blocks)?;
        fixed.push(("blocks".to_owned(), blocks.to_string()));
    }
    if variable != Variable::Images {
        let images = fix_images(&mut left, selection)?;
        fixed.push(("images".to_owned(), images.to_string()));
    }
    if variable != Variable::Epoch {
        left.retain(|row| row.epoch == row.epochs);
    }
    let epochs: BTreeSet<usize> = left.iter().map(|row| row.epochs).collect();
    let epochs: Vec<String> = epochs.iter().map(usize::to_string).collect();
    fixed.insert(0, ("epochs".to_owned(), epochs.join(" or ")));
    Ok((left, fixed))
}

/// Keeps the rows with the epochs asked for; with those of their number of images, or the largest of the others.
fn fix_epochs(rows: &mut Vec<&Row>, selection: &Selection) -> Result<()> {
    let own = |row: &Row| match selection.epochs {
        None => selection.axes.epochs(&row.target, row.images),
        Some(_) => None,
    };
    let (mut others, mut rest): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| own(row).is_some());
    others.retain(|row| own(row) == Some(row.epochs));
    if !rest.is_empty() || others.is_empty() {
        fix(&mut rest, "epochs", selection.epochs, |row| row.epochs)?;
    }
    rest.append(&mut others);
    *rows = rest;
    Ok(())
}

/// Keeps the rows with the number of images asked for, or with the largest: all of every set, where some runs are on these.
fn fix_images(rows: &mut Vec<&Row>, selection: &Selection) -> Result<ImageCount> {
    let all = &selection.axes.all_images;
    let is_all = |row: &&Row| all.get(&row.target) == Some(&row.images);
    let asked = match selection.images {
        None if rows.iter().any(is_all) => Some(ImageCount::All),
        asked => asked,
    };
    if asked == Some(ImageCount::All) && rows.iter().any(is_all) {
        rows.retain(is_all);
        return Ok(ImageCount::All);
    }
    fix(rows, "images", asked, |row| ImageCount::Number(row.images))
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
