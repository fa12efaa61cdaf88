//! Where the way back begins: the head and the cross-entropy.
//!
//! On the processor by candle's own way back: the tensors are small. On a CUDA device so many small launches cost more than a
//! layer of a small network; there it is three products and two launches.
//!
//! With e_y of the label, the gradient in the logits is π − e_y = (1 − π_y)(σ − e_y), σ the softmax among the other classes. Where
//! only its direction is wanted the factor is left out, which rounding makes 0 from a margin of about 104 on in f32.

use super::{LossGradients, LossGradientsOf, OfInput, missing};
use crate::Result;
use crate::model::ResNet;
#[cfg(feature = "cuda")]
use crate::model::op::cuda::{CrossEntropy, cross_entropy};
use candle_core::{D, DType, Tensor, Var};
use std::collections::BTreeMap;

/// The loss of `features` `[B, d]` with labels `[B]` and, where they are not all 1, weights `[B]`. The input of the result is the features.
pub(super) fn at_the_head(
    model: &ResNet,
    features: &Tensor,
    (labels, weights): (&Tensor, Option<&Tensor>),
    wanted: LossGradientsOf,
) -> Result<LossGradients> {
    let head = model.head_parameters()?;
    let mut found = of_cross_entropy(features, &head, (labels, weights), wanted)?;
    if wanted.input == OfInput::Direction {
        let ascent = ascent(&found.logits, labels)?.to_dtype(head.0.dtype())?;
        found.input = Some(ascent.matmul(&head.0)?);
    }
    Ok(found)
}

/// σ − e_y, `[B, C]`, in f64 where the logits are and else in f32.
fn ascent(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let logits = match logits.dtype() {
        DType::F64 => logits.clone(),
        _ => logits.to_dtype(DType::F32)?,
    };
    let own = labels.unsqueeze(1)?;
    let ones = Tensor::ones(own.shape(), logits.dtype(), logits.device())?;
    let label = logits.zeros_like()?.scatter_add(&own, &ones, 1)?;
    let others = (&logits - (&label * 1e30)?)?;
    Ok((candle_nn::ops::softmax(&others, D::Minus1)? - label)?)
}

fn of_cross_entropy(
    features: &Tensor,
    head: &(Tensor, Tensor),
    (labels, weights): (&Tensor, Option<&Tensor>),
    wanted: LossGradientsOf,
) -> Result<LossGradients> {
    #[cfg(feature = "cuda")]
    if features.device().is_cuda() && weights.is_none() {
        return on_device(features, head, labels, wanted);
    }
    let (weight, bias) = (Var::from_tensor(&head.0)?, Var::from_tensor(&head.1)?);
    let features = Var::from_tensor(features)?;
    let logits = features.matmul(&weight.t()?)?.broadcast_add(&bias)?;
    let loss = match weights {
        None => candle_nn::loss::cross_entropy(&logits, labels)?,
        Some(weights) => weighted_cross_entropy(&logits, labels, weights)?,
    };
    let mut gradients = loss.backward()?;
    let mut parameters = BTreeMap::new();
    if wanted.parameters_from.is_some() {
        for (name, variable) in [("fc.weight", &weight), ("fc.bias", &bias)] {
            let gradient = gradients.remove(variable).ok_or_else(|| missing(name))?;
            parameters.insert(name.to_owned(), gradient);
        }
    }
    let logits = logits.detach();
    let right = logits.argmax(D::Minus1)?.eq(labels)?;
    let right = right.to_dtype(DType::F64)?.sum_all()?;
    let loss = loss.detach().to_dtype(DType::F64)?;
    Ok(LossGradients {
        loss_and_right: Tensor::stack(&[loss, right], 0)?,
        logits,
        parameters,
        input: gradients.remove(&features),
    })
}

/// Σ w_i ℓ_i / B.
fn weighted_cross_entropy(logits: &Tensor, labels: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let likelihoods = candle_nn::ops::log_softmax(logits, D::Minus1)?;
    let own = likelihoods.gather(&labels.unsqueeze(1)?, 1)?.squeeze(1)?;
    let weights = weights.to_dtype(logits.dtype())?;
    Ok((own * weights)?.mean_all()?.neg()?)
}

#[cfg(feature = "cuda")]
fn on_device(
    features: &Tensor,
    (weight, bias): &(Tensor, Tensor),
    labels: &Tensor,
    wanted: LossGradientsOf,
) -> Result<LossGradients> {
    let CrossEntropy {
        logits,
        gradient,
        bias_gradient,
        loss_and_right,
    } = cross_entropy(&features.matmul(&weight.t()?)?, bias, labels)?;
    let mut parameters = BTreeMap::new();
    if wanted.parameters_from.is_some() {
        let weight_gradient = gradient.t()?.matmul(features)?;
        parameters.insert("fc.weight".to_owned(), weight_gradient);
        parameters.insert("fc.bias".to_owned(), bias_gradient);
    }
    let of_gradient = wanted.input != OfInput::Direction;
    let input = of_gradient.then(|| gradient.matmul(weight));
    Ok(LossGradients {
        loss_and_right,
        logits,
        parameters,
        input: input.transpose()?,
    })
}
