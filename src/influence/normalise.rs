//! Scores relative to the size of what they measure.
//!
//! Images with large gradients dominate every query's ranking. RelatIF (Barshan et al. 2020) divides by the size of the change
//! that an image makes: θ-RelatIF by ‖A⁻¹∇ℓ‖, the length of its effect on the parameters; ℓ-RelatIF by (∇ℓᵀA⁻¹∇ℓ)^½, a cosine in
//! the metric of A⁻¹ but for the query's own length. The cosine of two gradients is the same without curvature, divided by
//! both lengths. The factor 1/n stays in ℓ-RelatIF; that of θ-RelatIF is in the change of the parameters too.
//!
//! With the leverage correction the gradient of an image that is left out has y in the place of r ([`super::leverage`]), and both
//! lengths are of the change that this makes: ‖A⁻¹(y ⊗ a)‖ and (yᵀKy)^½. The self-influence is then rᵀKy/n, another number.
//!
//! A factor of an image's gradient is no factor of such a score. Images are therefore taken with longer gradients before they are
//! solved for: those of the surest predictions are so short that their products vanish in f32, and their squares in f64.

use super::Examples;
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

    /// The training images with residuals that nothing is too small for: what scores are divided by makes up for the length of their
    /// gradients, whatever that is. `None`: as they are.
    pub(super) fn training(self, images: &Examples) -> Result<Option<Examples>> {
        match self {
            Self::None => Ok(None),
            Self::Cosine => images.of_gradient_length(images.count() as f64).map(Some),
            Self::ThetaRelatif | Self::LRelatif => images.of_unit_residuals().map(Some),
        }
    }

    /// Queries whose gradients are divided by their lengths; `None`: as they are.
    pub(super) fn queries(self, images: &Examples) -> Result<Option<Examples>> {
        match self {
            Self::Cosine => images.of_gradient_length(1.0).map(Some),
            _ => Ok(None),
        }
    }

    /// What the solutions of training images are multiplied with, from these and the gradients of [`Normalise::training`]; `None`: 1.
    pub(super) fn factors(
        self,
        gradients: &Vectors,
        solutions: &Vectors,
        count: usize,
    ) -> Result<Option<Vec<f64>>> {
        let (lengths, scale): (Vec<f64>, f64) = match self {
            Self::None | Self::Cosine => return Ok(None),
            Self::ThetaRelatif => (solutions.norms()?, count as f64),
            Self::LRelatif => {
                let squares = gradients.dot(solutions)?.into_iter();
                (squares.map(|square| square.max(0.0).sqrt()).collect(), 1.0)
            }
        };
        // An image without a gradient has score 0 with and without division.
        let factor = |length: f64| if length > 0.0 { scale / length } else { 0.0 };
        Ok(Some(lengths.into_iter().map(factor).collect()))
    }
}
