//! Where sources and block counts lie along an axis.

use crate::model::Blocks;
use crate::study::Row;
use crate::train::Norm;

/// Sources along the axis, in order: what each is called there.
pub(super) type Places = Vec<(String, String)>;

/// By norm, then ε, then name; labelled by ε and norm, or by name where two sources have the same.
pub(super) fn source_places(rows: &[Row]) -> Places {
    let norm = |row: &Row| match row.norm {
        None => 0,
        Some(Norm::L2) => 1,
        Some(Norm::Linf) => 2,
    };
    let mut all: Vec<&Row> = Vec::new();
    for row in rows {
        if !all.iter().any(|other| other.source == row.source) {
            all.push(row);
        }
    }
    all.sort_by(|a, b| {
        (norm(a).cmp(&norm(b)))
            .then(a.epsilon.total_cmp(&b.epsilon))
            .then(a.source.cmp(&b.source))
    });
    let label = |row: &Row| match row.norm {
        None => format!("{}", row.epsilon),
        Some(Norm::L2) => format!("L2 {}", radius(row.epsilon)),
        Some(Norm::Linf) => format!("L∞ {}", radius(row.epsilon)),
    };
    let mut labels: Vec<String> = all.iter().map(|row| label(row)).collect();
    labels.sort_unstable();
    labels.dedup();
    let unique = labels.len() == all.len();
    let named = |row: &Row| {
        if unique {
            label(row)
        } else {
            row.source.clone()
        }
    };
    (all.into_iter())
        .map(|row| (row.source.clone(), named(row)))
        .collect()
}

/// As short as it can be told: radii of pictures are often so many of 255 steps.
pub(super) fn radius(epsilon: f64) -> String {
    let written = epsilon.to_string();
    let steps = 255.0 * epsilon;
    match written.len() > 6 {
        false => written,
        true if (steps - steps.round()).abs() < 1e-5 => format!("{steps:.0}/255"),
        true => format!("{epsilon:.3e}")
            .parse::<f64>()
            .unwrap_or(epsilon)
            .to_string(),
    }
}

/// The first source with ε = 0.
pub(super) fn natural(rows: &[&Row], sources: &Places) -> Option<usize> {
    let natural = |(name, _): &(String, String)| {
        let mut of_it = rows.iter().filter(|row| row.source == *name);
        of_it.any(|row| row.epsilon == 0.0)
    };
    sources.iter().position(natural)
}

/// Fewest first, all last.
pub(super) fn block_places(rows: &[&Row]) -> Vec<Blocks> {
    let mut blocks: Vec<Blocks> = Vec::new();
    for row in rows {
        if !blocks.contains(&row.blocks) {
            blocks.push(row.blocks);
        }
    }
    blocks.sort_unstable();
    blocks
}
