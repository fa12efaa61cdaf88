//! Self-influence: the scores of the training images on themselves, (1/n) ∇ℓᵢᵀ (H + λI)⁻¹ ∇ℓᵢ ≥ 0 in nats.
//!
//! A large value means that the image's own loss would rise much without it: memorised, rare or mislabelled.

use super::scores::shared;
use super::{
    Examples, ExtremeBlock, ExtremeSink, Kept, Provenance, ScoreBlock, ScoreHeader, ScoreSink,
    SinkState, table,
};
use crate::Result;
use crate::artefact::Columns;
use std::path::Path;

/// Keeps the diagonal where the queries are the training images themselves.
#[derive(Debug, Default)]
pub struct Diagonal {
    /// One score per training image, in nats.
    pub values: Vec<f64>,
}

impl ScoreSink for Diagonal {
    fn begin(&mut self, header: &ScoreHeader) -> Result<()> {
        self.values = vec![0.0; header.queries.len()];
        Ok(())
    }

    fn write(&mut self, block: &ScoreBlock) -> Result<()> {
        for position in shared(&block.queries, &block.training) {
            let (row, column) = (
                position - block.queries.start,
                position - block.training.start,
            );
            self.values[position] = block.scores[[row, column]];
        }
        Ok(())
    }

    fn save(&mut self) -> Result<Option<SinkState>> {
        Ok(Some(SinkState {
            integers: Vec::new(),
            numbers: self.values.clone(),
        }))
    }

    fn restore(&mut self, state: &SinkState) -> Result<bool> {
        let fits = state.numbers.len() == self.values.len() && state.integers.is_empty();
        if fits {
            self.values.clone_from(&state.numbers);
        }
        Ok(fits)
    }

    fn as_extremes(&mut self) -> Option<&mut dyn ExtremeSink> {
        Some(self)
    }
}

impl ExtremeSink for Diagonal {
    fn kept(&self) -> Kept {
        Kept {
            own: true,
            ..Kept::NONE
        }
    }

    fn write_extremes(&mut self, block: &ExtremeBlock) -> Result<()> {
        let positions = shared(&block.queries, &block.training);
        for (position, &score) in positions.zip(&block.own) {
            self.values[position] = score;
        }
        Ok(())
    }
}

/// Writes `self_influence.parquet`: train, label, self_influence and loss, both in nats.
///
/// # Errors
/// The file cannot be written.
pub fn write_self_influence(
    path: &Path,
    training: &Examples,
    diagonal: &Diagonal,
    provenance: &Provenance,
) -> Result<()> {
    let columns = Columns::of(0..training.count())
        .integers("train", |at| training.ids()[at] as i64)
        .narrow_integers("label", |at| training.labels()[at] as i32)
        .numbers("self_influence", |at| diagonal.values[at])
        .numbers("loss", |at| training.outputs().losses[at]);
    table::write(path, provenance, columns.done())
}

/// Reads what [`write_self_influence`] wrote: each training image's id and its self-influence in nats.
///
/// # Errors
/// The file cannot be read or is not such a table.
pub fn read_self_influence(path: &Path) -> Result<Vec<(usize, f64)>> {
    let batch = table::read(path)?;
    let ids = table::ids(path, &batch, "train")?.values().iter();
    let values = table::numbers(path, &batch, "self_influence")?;
    Ok(ids
        .map(|&id| id as usize)
        .zip(values.values().iter().copied())
        .collect())
}
