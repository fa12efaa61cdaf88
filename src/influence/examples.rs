//! One side of the scores, training images or queries: features, labels, ids, and what the head says about them.

use crate::derivative::head::{HeadInputs, HeadOutputs, SoftmaxHead};
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use std::ops::Range;

/// Labelled features whose rows are images of a larger data set.
#[derive(Debug, Clone, Copy)]
pub struct FeatureSet<'a> {
    /// `[n, d]`, f32 or f64.
    pub features: &'a Tensor,
    /// n labels.
    pub labels: &'a [usize],
    /// The image's id in its data set, row by row: a transfer uses a subset of it.
    pub ids: &'a [usize],
}

/// Images at a head: everything that their loss gradients need.
pub struct Examples {
    ids: Vec<usize>,
    inputs: HeadInputs,
    outputs: HeadOutputs,
}

impl Examples {
    /// Evaluates `head` on `set`, all in `dtype`.
    ///
    /// # Errors
    /// Features, labels, ids or head that do not fit together, or a row that is not finite.
    pub fn new(set: &FeatureSet, head: &SoftmaxHead, dtype: DType) -> Result<Self> {
        let inputs = HeadInputs::new(set.features, set.labels, dtype)?;
        if set.ids.len() != inputs.count() {
            return Err(Error::mismatch(
                "ids of the features",
                inputs.count(),
                set.ids.len(),
                "give one id for each row",
            ));
        }
        let outputs = head.to_dtype(dtype)?.outputs(&inputs)?;
        Ok(Self {
            ids: set.ids.to_vec(),
            inputs,
            outputs,
        })
    }

    /// How many images.
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// Ids in the data set, row by row.
    pub fn ids(&self) -> &[usize] {
        &self.ids
    }

    /// Labels, row by row.
    pub fn labels(&self) -> &[usize] {
        self.inputs.labels()
    }

    /// Features with a constant 1 appended, and labels.
    pub fn inputs(&self) -> &HeadInputs {
        &self.inputs
    }

    /// What the head says about them.
    pub fn outputs(&self) -> &HeadOutputs {
        &self.outputs
    }

    /// Loss gradients of the rows in `range`, `[range.len(), p]`.
    pub(super) fn gradients(&self, range: Range<usize>) -> Result<Tensor> {
        self.outputs.gradients(&self.inputs, range)
    }
}
