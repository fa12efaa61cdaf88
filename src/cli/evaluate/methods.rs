//! Estimators by name.

use crate::data::HeadFile;
use crate::derivative::head::SoftmaxHead;
use crate::evaluate::{
    Estimator, FeatureCosine, NearestNeighbours, Ranked, RepresenterPoints, TracIn, Trak,
};
use crate::influence::{Correction, Normalise, RankOptions};
use crate::solve::{Method, Settings};
use crate::{Error, Result};
use clap::ValueEnum;
use std::path::PathBuf;

/// An estimator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Name {
    /// Influence by a Cholesky factor
    Direct,
    /// Influence by conjugate gradients
    Cg,
    /// Direct, with the curvature of the image that is left out taken away (one Newton step)
    Leverage,
    /// Division by the diagonal in the Kronecker axes
    Ekfac,
    /// The largest eigenvectors alone
    Arnoldi,
    /// A Neumann series
    Lissa,
    /// The paper's truncated pseudo-inverse (the run's --rcond)
    Pinv,
    /// Gradient dot product
    Identity,
    /// Cosine of gradients
    GradientCosine,
    /// Influence divided by the length of its effect on the parameters
    ThetaRelatif,
    /// Influence divided by the root of the self-influence
    LRelatif,
    /// Cosine of features
    FeatureCosine,
    /// k nearest neighbours (KNN-Shapley, k = 5)
    Knn,
    /// Representer points
    Representer,
    /// Random projections (512 dimensions)
    Trak,
    /// Gradient dot products over --checkpoints
    Tracin,
}

impl Name {
    /// The estimator, with the run's options where they apply.
    pub(super) fn estimator(
        self,
        run: &RankOptions,
        checkpoints: &[PathBuf],
        certify: Option<usize>,
        seed: u64,
    ) -> Result<Box<dyn Estimator>> {
        Ok(match self {
            Self::FeatureCosine => Box::new(FeatureCosine),
            Self::Knn => Box::new(NearestNeighbours::default()),
            Self::Representer => Box::new(RepresenterPoints),
            Self::Trak => Box::new(Trak {
                seed,
                ..Trak::default()
            }),
            Self::Tracin => return tracin(checkpoints),
            _ => Box::new(Ranked {
                name: self.name(),
                options: self.options(run, certify).unwrap_or_else(|| run.clone()),
            }),
        })
    }

    /// As on the command line.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// How `ascribe rank` computes it, for those that it computes.
    pub(super) fn options(self, run: &RankOptions, certify: Option<usize>) -> Option<RankOptions> {
        let plain = |method: Method| RankOptions {
            solver: Settings {
                method,
                ..run.solver.clone()
            },
            normalise: Normalise::None,
            correction: Correction::None,
            certify: certify.filter(|_| method.is_exact() && run.l2 + run.damping > 0.0),
            ..run.clone()
        };
        let relative = |normalise| RankOptions {
            normalise,
            certify: None,
            ..plain(Method::Direct)
        };
        Some(match self {
            Self::Direct => plain(Method::Direct),
            Self::Cg => plain(Method::Cg),
            Self::Ekfac => plain(Method::Ekfac),
            Self::Arnoldi => plain(Method::Arnoldi),
            Self::Lissa => plain(Method::Lissa),
            Self::Pinv => plain(Method::Pinv),
            Self::Identity => plain(Method::Identity),
            Self::Leverage => RankOptions {
                correction: Correction::Leverage,
                certify: None,
                ..plain(Method::Direct)
            },
            Self::GradientCosine => RankOptions {
                normalise: Normalise::Cosine,
                ..plain(Method::Identity)
            },
            Self::ThetaRelatif => relative(Normalise::ThetaRelatif),
            Self::LRelatif => relative(Normalise::LRelatif),
            _ => return None,
        })
    }
}

fn tracin(checkpoints: &[PathBuf]) -> Result<Box<dyn Estimator>> {
    if checkpoints.is_empty() {
        let reason = "tracin sums over checkpoints of the head: give them with --checkpoints";
        return Err(Error::config("compare", reason));
    }
    let open = |path: &PathBuf| {
        let file = HeadFile::open(path)?;
        SoftmaxHead::new(&file.weight, &file.bias)
    };
    Ok(Box::new(TracIn {
        checkpoints: checkpoints.iter().map(open).collect::<Result<_>>()?,
    }))
}
