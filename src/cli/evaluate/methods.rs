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

#[cfg(test)]
mod tests {
    use super::*;

    /// A name, and what of a run's options it replaces.
    type Replaced = (Name, Method, Normalise, Correction, Option<usize>);

    /// Those that `ascribe rank` computes, asked for three certified ranks.
    const RANKED: [Replaced; 11] = [
        plain(Name::Direct, Method::Direct, Some(3)),
        plain(Name::Cg, Method::Cg, Some(3)),
        plain(Name::Ekfac, Method::Ekfac, None),
        plain(Name::Arnoldi, Method::Arnoldi, None),
        plain(Name::Lissa, Method::Lissa, None),
        plain(Name::Pinv, Method::Pinv, None),
        plain(Name::Identity, Method::Identity, None),
        (
            Name::Leverage,
            Method::Direct,
            Normalise::None,
            Correction::Leverage,
            None,
        ),
        divided(Name::GradientCosine, Method::Identity, Normalise::Cosine),
        divided(Name::ThetaRelatif, Method::Direct, Normalise::ThetaRelatif),
        divided(Name::LRelatif, Method::Direct, Normalise::LRelatif),
    ];

    const OTHERS: [Name; 5] = [
        Name::FeatureCosine,
        Name::Knn,
        Name::Representer,
        Name::Trak,
        Name::Tracin,
    ];

    const fn plain(name: Name, method: Method, certify: Option<usize>) -> Replaced {
        (name, method, Normalise::None, Correction::None, certify)
    }

    const fn divided(name: Name, method: Method, normalise: Normalise) -> Replaced {
        (name, method, normalise, Correction::None, None)
    }

    /// Options that no name leaves as they are.
    fn run() -> RankOptions {
        RankOptions {
            solver: Settings {
                method: Method::Astra,
                rcond: 0.2,
                ..Settings::default()
            },
            l2: 0.01,
            damping: 0.0,
            certify: Some(7),
            normalise: Normalise::LRelatif,
            correction: Correction::Leverage,
            ..RankOptions::default()
        }
    }

    #[test]
    fn each_name_stands_for_its_own_method_divisor_and_correction() {
        for (name, method, normalise, correction, certify) in RANKED {
            let found = name.options(&run(), Some(3)).unwrap();
            assert_eq!(
                (found.solver.method, found.normalise, found.correction),
                (method, normalise, correction),
                "{name:?}"
            );
            assert_eq!(found.certify, certify, "{name:?}");
            // What is no part of the method is the run's.
            assert_eq!((found.solver.rcond, found.l2), (0.2, 0.01), "{name:?}");
            found.check().unwrap();
        }
        for name in OTHERS {
            assert!(name.options(&run(), Some(3)).is_none(), "{name:?}");
        }
        assert_eq!(RANKED.len() + OTHERS.len(), Name::value_variants().len());
    }

    #[test]
    fn nothing_is_certified_where_nothing_bounds_the_inverse() {
        let certified = |l2: f64, damping: f64| {
            let run = RankOptions {
                l2,
                damping,
                ..run()
            };
            Name::Direct.options(&run, Some(3)).unwrap().certify
        };
        assert_eq!(certified(0.0, 0.0), None);
        assert_eq!(certified(0.0, 1e-3), Some(3));
        assert_eq!(Name::Direct.options(&run(), None).unwrap().certify, None);
    }

    #[test]
    fn an_estimator_is_called_what_it_was_asked_for_by() {
        for &name in Name::value_variants() {
            let estimator = name.estimator(&run(), &[], None, 0);
            match name {
                // It has no checkpoints.
                Name::Tracin => assert!(estimator.is_err()),
                _ => assert_eq!(estimator.unwrap().name(), name.name()),
            }
        }
    }
}
