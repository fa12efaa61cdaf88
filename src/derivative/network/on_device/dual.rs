//! Values that all directions share beside their tangents, and the directions themselves.
//!
//! Tangents along k directions lie side by side, `[B, k, …]` beside a value `[B, …]`: at once a batch of B·k for what does not
//! depend on the direction, and a batch of B with k times the channels for what a direction does to a value.

use candle_core::{Result, Tensor, bail};

/// A value `[B, …]` and its tangents `[B, k, …]`; none where the value does not depend on the parameters.
#[derive(Clone, Copy)]
pub(super) struct Dual<'a> {
    pub(super) value: &'a Tensor,
    pub(super) tangent: Option<&'a Tensor>,
}

/// k directions in the parameters of a program.
pub(super) struct Directions {
    count: usize,
    /// `[k, …]`, by place.
    stacked: Vec<Tensor>,
    /// `[out, k·in, …]` for weights `[out, in, …]`, where they are wanted.
    turned: Vec<Option<Tensor>>,
}

impl Directions {
    /// From `[k, …]` by place. For the tangents of gradients weights are laid out in a second way.
    pub(super) fn new(stacked: Vec<Tensor>, of_gradients: bool) -> Result<Self> {
        let turned = |tensor: &Tensor| match (of_gradients, tensor.dims()) {
            (true, [_, _, _, ..]) => {
                let turned = tensor.transpose(0, 1)?.contiguous()?;
                turned.flatten(1, 2).map(Some)
            }
            _ => Ok(None),
        };
        let count = match stacked.first() {
            Some(first) => first.dims()[0],
            None => bail!("directions in no parameters"),
        };
        Ok(Self {
            count,
            turned: stacked.iter().map(turned).collect::<Result<_>>()?,
            stacked,
        })
    }

    /// k.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// `[k, …]`
    pub(super) fn of(&self, place: usize) -> &Tensor {
        &self.stacked[place]
    }

    /// A weight's as one of k times the outputs, `[k·out, in, …]`.
    pub(super) fn as_outputs(&self, place: usize) -> Result<Tensor> {
        self.stacked[place].flatten(0, 1)
    }

    /// A weight's as one of k times the inputs, `[out, k·in, …]`.
    pub(super) fn as_inputs(&self, place: usize) -> Result<&Tensor> {
        match &self.turned[place] {
            Some(turned) => Ok(turned),
            None => bail!("directions that were not made for the tangents of gradients"),
        }
    }
}

/// The sum of two tangents, where absent ones are zero.
pub(super) fn sum(left: Option<Tensor>, right: Option<Tensor>) -> Result<Option<Tensor>> {
    Ok(match (left, right) {
        (Some(left), Some(right)) => Some((left + right)?),
        (left, right) => left.or(right),
    })
}

/// As tangents `[B, k, …]` beside a value of these `dims` `[B, …]`.
pub(super) fn beside(tangents: &Tensor, dims: &[usize], directions: usize) -> Result<Tensor> {
    let mut shape = vec![dims[0], directions];
    shape.extend(&dims[1..]);
    tangents.reshape(shape)
}
