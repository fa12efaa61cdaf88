//! Scores relative to the size of what they measure.
//!
//! Images with large gradients dominate every query's ranking. RelatIF (Barshan et al. 2020) divides by the size of the change
//! that an image makes: θ-RelatIF by ‖A⁻¹∇ℓ‖, the length of its effect on the parameters; ℓ-RelatIF by (∇ℓᵀA⁻¹∇ℓ)^½, a cosine in
//! the metric of A⁻¹ but for the query's own length. The cosine of two gradients is the same without curvature, divided by
//! both lengths. The factor 1/n stays in ℓ-RelatIF; that of θ-RelatIF is in the change of the parameters too.
//!
//! With the leverage correction the gradient of an image that is left out has y in the place of r ([`super::leverage`]), and both
//! lengths are of the change that this makes: ‖A⁻¹(y ⊗ a)‖ and (yᵀKy)^½. The self-influence is then rᵀKy/n, another number.

use crate::operator::Vectors;
use crate::solve::Method;
use crate::{Error, Result};

/// What scores are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Nothing: nats.
    #[default]
    None,
    /// The lengths of both gradients and 1/n: with --solver identity, a number from −1 to 1
    Cosine,
    /// The length of the training image's effect on the parameters, which has the factor 1/n too (θ-RelatIF)
    ThetaRelatif,
    /// The root of n times the training image's self-influence; with --correction, of what that makes of its gradient (ℓ-RelatIF)
    LRelatif,
}

impl Normalise {
    /// The unit of scores so divided.
    pub fn unit(self) -> &'static str {
        match self {
            Self::None => super::NATS,
            Self::Cosine => "cosine",
            Self::ThetaRelatif => "nats per unit length of the parameter change",
            Self::LRelatif => "root nats",
        }
    }

    /// Whether only solutions for the training images give the divisor.
    pub fn needs_training_solves(self) -> bool {
        matches!(self, Self::ThetaRelatif | Self::LRelatif)
    }

    /// Refuses combinations that mean nothing.
    ///
    /// # Errors
    /// A cosine with another solver than identity.
    pub fn check(self, method: Method) -> Result<()> {
        if self == Self::Cosine && method != Method::Identity {
            return Err(Error::config(
                "normalise",
                "cosine is of gradients without curvature: add --solver identity, or choose l-relatif",
            ));
        }
        Ok(())
    }

    /// The factor of each training image, from its gradient and solution.
    pub(super) fn training_factors(
        self,
        gradients: &Vectors,
        solutions: &Vectors,
        count: usize,
    ) -> Result<Vec<f64>> {
        let lengths = match self {
            Self::None => return Ok(vec![1.0; gradients.count()]),
            Self::Cosine => gradients.norms()?,
            Self::ThetaRelatif => solutions.norms()?,
            Self::LRelatif => {
                let squares = gradients.dot(solutions)?;
                squares
                    .iter()
                    .map(|square| square.max(0.0).sqrt())
                    .collect()
            }
        };
        let scale = match self {
            Self::Cosine | Self::ThetaRelatif => count as f64,
            _ => 1.0,
        };
        Ok(lengths
            .iter()
            .map(|&length| scale * reciprocal(length))
            .collect())
    }

    /// The factor of each query, from its gradient.
    pub(super) fn query_factors(self, gradients: &Vectors) -> Result<Option<Vec<f64>>> {
        match self {
            Self::Cosine => Ok(Some(
                gradients.norms()?.into_iter().map(reciprocal).collect(),
            )),
            _ => Ok(None),
        }
    }
}

/// An image without a gradient has score 0 with and without division.
fn reciprocal(length: f64) -> f64 {
    if length > 0.0 { length.recip() } else { 0.0 }
}
