//! Predictions too sure for a precision: the smaller a loss, the smaller its gradient, until hardly a number is left for it.

use super::Progress;
use crate::Result;
use crate::operator::Vectors;
use candle_core::{DType, Tensor};

/// Whether the gradients that belong to `residuals` `[n, C]`, π − e_y, are too small for a precision; one that is `divided` by its
/// length needs no more room than its own numbers.
pub(super) fn faint(residuals: &Tensor, precision: DType, divided: bool) -> Result<Vec<bool>> {
    let least = match (precision, divided) {
        (DType::F32, false) => 1e-30,
        (DType::F32, true) => 1e-36,
        (_, false) => 1e-290,
        (_, true) => 1e-306,
    };
    let largest = Vectors::new(residuals.clone())?.largest_elements()?;
    Ok(largest.iter().map(|&size| size < least).collect())
}

/// So many things with gradients that are too small.
pub(super) struct FaintCount {
    /// What the record calls their number.
    pub(super) name: &'static str,
    /// One of them, in words.
    pub(super) one: &'static str,
    /// How many.
    pub(super) count: usize,
    /// Which of their scores are meant: all, or those of a file.
    pub(super) scores: &'static str,
}

impl FaintCount {
    /// Says what their scores in `precision` are worth; their number for the record. Nothing where there are none.
    pub(super) fn told(
        &self,
        precision: DType,
        progress: &mut dyn Progress,
    ) -> Option<(&'static str, f64)> {
        let Self {
            name,
            one,
            count,
            scores,
        } = *self;
        let whose = match count {
            0 => return None,
            1 => format!("1 {one} has a loss"),
            _ => format!("{count} {one}s have losses"),
        };
        let remedy = match precision {
            DType::F32 => "; --precision f64 has room for them",
            _ => "",
        };
        progress.note(&format!(
            "{whose} so near 0 that {scores} are 0 or in no order{remedy}"
        ));
        Some((name, count as f64))
    }
}
