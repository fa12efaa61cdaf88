//! An oracle by another route: value and tangent as a graph of tensors (forward mode), and one reverse pass through the
//! tangent of the loss, whose gradient is H v. Slow, and sharing nothing with the layers under test but the parameters.

use crate::derivative::gradient;
use crate::model::op::{Convolution, convolve};
use crate::model::{BlockKind, EPSILON, ResNet, Stem};
use candle_core::{D, Result, Tensor, Var};
use std::collections::BTreeMap;

/// A value and its tangent, where it is not zero.
#[derive(Clone)]
struct Dual {
    value: Tensor,
    tangent: Option<Tensor>,
}

impl Dual {
    fn still(value: &Tensor) -> Self {
        Self {
            value: value.clone(),
            tangent: None,
        }
    }

    fn add(&self, other: &Self) -> Result<Self> {
        Ok(Self {
            value: (&self.value + &other.value)?,
            tangent: sum([self.tangent.clone(), other.tangent.clone()])?,
        })
    }

    /// A linear map of both.
    fn map(&self, map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self {
            value: map(&self.value)?,
            tangent: self.tangent.as_ref().map(map).transpose()?,
        })
    }

    /// A bilinear map of two.
    fn combine(
        &self,
        other: &Self,
        map: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        let left = self.tangent.as_ref().map(|t| map(t, &other.value));
        let right = other.tangent.as_ref().map(|t| map(&self.value, t));
        Ok(Self {
            value: map(&self.value, &other.value)?,
            tangent: sum([left.transpose()?, right.transpose()?])?,
        })
    }

    /// max(x, 0), with derivative 0 at 0.
    fn rectified(&self) -> Result<Self> {
        let open = self.value.detach().gt(0f64)?;
        let open = open.to_dtype(self.value.dtype())?;
        self.map(|x| x * &open)
    }
}

fn sum(terms: [Option<Tensor>; 2]) -> Result<Option<Tensor>> {
    match terms {
        [Some(a), Some(b)] => Ok(Some((a + b)?)),
        [a, b] => Ok(a.or(b)),
    }
}

/// The model with variables for parameters, and a direction.
pub(super) struct Oracle<'a> {
    pub(super) model: &'a ResNet,
    pub(super) first: usize,
    pub(super) variables: BTreeMap<String, Var>,
    /// By name; none: only values are needed.
    pub(super) direction: BTreeMap<String, Tensor>,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(model: &'a ResNet, first: usize) -> Self {
        let variables = model.clone().make_trainable(first).unwrap();
        Self {
            model,
            first,
            variables,
            direction: BTreeMap::new(),
        }
    }

    fn parameter(&self, name: &str) -> Dual {
        let value = match self.variables.get(name) {
            Some(variable) => variable.as_tensor().clone(),
            None => self.model.tensors()[name].clone(),
        };
        Dual {
            value,
            tangent: self.direction.get(name).cloned(),
        }
    }

    fn convolution(&self, name: &str, x: &Dual, (stride, padding): (usize, usize)) -> Result<Dual> {
        let weight = self.parameter(&format!("{name}.weight"));
        x.combine(&weight, |x, w| {
            convolve(x, w, Convolution { stride, padding })
        })
    }

    fn norm(&self, name: &str, x: &Dual) -> Result<Dual> {
        let column = |t: &Tensor| t.reshape((1, t.elem_count(), 1, 1));
        let statistic = |part: &str| column(&self.model.tensors()[&format!("{name}.{part}")]);
        let deviation = (statistic("running_var")? + EPSILON)?.sqrt()?;
        let mean = statistic("running_mean")?;
        let standard = Dual {
            value: x.value.broadcast_sub(&mean)?.broadcast_div(&deviation)?,
            tangent: (x.tangent.as_ref())
                .map(|t| t.broadcast_div(&deviation))
                .transpose()?,
        };
        let gamma = self.parameter(&format!("{name}.weight")).map(column)?;
        let beta = self.parameter(&format!("{name}.bias")).map(column)?;
        let shape = x.value.shape().clone();
        let beta = beta.map(|b| b.broadcast_as(&shape))?;
        standard
            .combine(&gamma, |x, gamma| x.broadcast_mul(gamma))?
            .add(&beta)
    }

    fn logits(&self, input: &Tensor) -> Result<Dual> {
        let mut x = Dual::still(input);
        let blocks = self.model.architecture().blocks();
        for segment in self.first..self.model.head_segment() {
            if segment == 0 {
                assert_eq!(self.model.architecture().stem(), Stem::Cifar);
                x = self
                    .norm("bn1", &self.convolution("conv1", &x, (1, 1))?)?
                    .rectified()?;
                continue;
            }
            let block = &blocks[segment - 1];
            let (name, stride) = (&block.name, block.stride);
            // (stride, padding) of the convolutions in turn.
            let steps: &[(usize, usize)] = match self.model.architecture().kind() {
                BlockKind::Basic => &[(stride, 1), (1, 1)],
                BlockKind::Bottleneck => &[(1, 0), (stride, 1), (1, 0)],
            };
            let mut h = x.clone();
            for (number, &step) in (1..).zip(steps) {
                h = self.convolution(&format!("{name}.conv{number}"), &h, step)?;
                h = self.norm(&format!("{name}.bn{number}"), &h)?;
                if number < steps.len() {
                    h = h.rectified()?;
                }
            }
            let shortcut = if block.projects() {
                let y = self.convolution(&format!("{name}.downsample.0"), &x, (stride, 0))?;
                self.norm(&format!("{name}.downsample.1"), &y)?
            } else {
                x
            };
            x = h.add(&shortcut)?.rectified()?;
        }
        if self.first < self.model.head_segment() {
            x = x.map(|x| x.flatten_from(2)?.mean(2))?;
        }
        let weight = self.parameter("fc.weight");
        let y = x.combine(&weight, |x, w| x.matmul(&w.t()?))?;
        let shape = y.value.shape().clone();
        let bias = self.parameter("fc.bias").map(|b| b.broadcast_as(&shape))?;
        y.add(&bias)
    }

    fn variables(&self) -> Vec<&Tensor> {
        self.variables.values().map(Var::as_tensor).collect()
    }

    fn gradient_of(&self, value: &Tensor) -> Vec<f64> {
        let parts = gradient(value, &self.variables()).unwrap();
        let part = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        parts.into_iter().flat_map(part).collect()
    }

    /// Σ ∇ℓ.
    pub(super) fn gradient(&self, input: &Tensor, labels: &[u32]) -> Vec<f64> {
        let logits = self.logits(input).unwrap().value;
        let labels = Tensor::new(labels, input.device()).unwrap();
        let mean = candle_nn::loss::cross_entropy(&logits, &labels).unwrap();
        let sum = (mean * labels.elem_count() as f64).unwrap();
        self.gradient_of(&sum)
    }

    /// Σ ∇²ℓ v for v the direction.
    pub(super) fn hessian_product(&self, input: &Tensor, labels: &[u32]) -> Vec<f64> {
        let logits = self.logits(input).unwrap();
        let probabilities = candle_nn::ops::softmax(&logits.value, D::Minus1).unwrap();
        let classes = logits.value.dims()[1] as u32;
        let wanted: Vec<f64> = (labels.iter())
            .flat_map(|&label| (0..classes).map(move |c| f64::from(u8::from(c == label))))
            .collect();
        let wanted = Tensor::from_vec(wanted, logits.value.shape(), input.device()).unwrap();
        let residuals = (probabilities - wanted).unwrap();
        let along = (residuals * logits.tangent.unwrap()).unwrap().sum_all();
        self.gradient_of(&along.unwrap())
    }

    /// The rows ∂z_c/∂θ of one image, and its probabilities.
    pub(super) fn jacobian(&self, input: &Tensor) -> (Vec<Vec<f64>>, Vec<f64>) {
        let logits = self.logits(input).unwrap().value;
        let row = |class: usize| {
            let logit = logits.narrow(1, class, 1).unwrap().sum_all().unwrap();
            self.gradient_of(&logit)
        };
        let probabilities = candle_nn::ops::softmax(&logits, D::Minus1).unwrap();
        let probabilities = probabilities.flatten_all().unwrap().to_vec1().unwrap();
        ((0..logits.dims()[1]).map(row).collect(), probabilities)
    }
}
