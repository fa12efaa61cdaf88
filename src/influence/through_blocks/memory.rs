//! What `--memory` is spent on in a run through blocks on the processor: cut up once, so that all parts are there at the same time.
//!
//! Beside it stand the program, the model and the images as they were read. Every part has at least what it cannot do without (a
//! vector, an image, a query, and the layers' factors for `ekfac`); what is left goes to
//!
//! | part | share | |
//! |---|---|---|
//! | `kept` | 3/8 | passes that stay between products, or root gradients with the matrix between their rows |
//! | `solutions` | 1/4 | a block of queries with all that a solver and scoring make of it |
//! | `pass` | 1/8 | a pass on its way, or gradients that are written out with all that is made of them |
//! | `vectors` | 1/8 | the vectors of a product in the kernels' form |
//! | `low_rank` | 1/8 | rows that `cg` and `astra` divide by; to `kept` for `direct`, to `pass` for `ekfac` |
//!
//! The vectors of Krylov spaces (`arnoldi`, `pinv`) do not come in blocks, and are not counted; nor are the gradients of a single
//! image, a row for each class but one at the most, where they are more than their share.

use super::NetworkOptions;
use super::part::FineTunedPart;
use crate::artefact::gib;
use crate::derivative::network::{Beside, Curvature, KroneckerLayer, Network, WrittenGradients};
use crate::operator::{COPIES_OF_GRADIENTS, NetworkCurvature, RootPasses, SquareMatrix, root_rows};
use crate::solve::Method;
use crate::{Error, Result};
use std::num::NonZero;

/// Vectors as long as θ that are alive for each query while it is solved and scored.
pub(super) const VECTORS_OF_QUERY: u64 = 10;
/// Copies of a low rank's rows while it is made.
const COPIES_OF_ROWS: u64 = 4;

/// Bytes of each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryPlan {
    pub(super) kept: u64,
    /// Of the layers, for `ekfac`.
    factors: u64,
    pub(super) solutions: u64,
    pub(super) pass: u64,
    pub(super) vectors: u64,
    pub(super) low_rank: u64,
}

impl MemoryPlan {
    /// Of `options.memory`, for the method that they name.
    pub(super) fn of(network: &Network, options: &NetworkOptions) -> Self {
        let method = options.solver.method;
        let least = Self::least(network, method);
        let free = options.memory.saturating_sub(least.sum());
        Self {
            kept: match method {
                Method::Direct => free / 2,
                _ => free / 8 * 3,
            },
            // Where `direct` finds no factor, `cg` in its place has the room of the matrix.
            low_rank: match method {
                Method::Ekfac => 0,
                _ => free / 8,
            },
            solutions: least.solutions + free / 4,
            pass: match method {
                Method::Ekfac => least.pass + free / 4,
                _ => least.pass + free / 8,
            },
            vectors: least.vectors + free / 8,
            factors: least.factors,
        }
    }

    /// What there is no doing without: a query, an image and a vector, and factors where these are the method.
    fn least(network: &Network, method: Method) -> Self {
        Self {
            kept: 0,
            factors: match method {
                Method::Ekfac => factor_bytes(network),
                _ => 0,
            },
            solutions: of_queries(network, 1),
            pass: network.image_bytes_beside(Beside::Gradients) as u64,
            vectors: network.product_bytes() as u64,
            low_rank: 0,
        }
    }

    /// Without the low rank.
    fn sum(&self) -> u64 {
        self.kept + self.factors + self.solutions + self.pass + self.vectors
    }

    /// The least memory for the method of `options` with so many training images, and what takes it.
    fn needed(network: &Network, options: &NetworkOptions, images: usize) -> (u64, String) {
        let least = Self::least(network, options.solver.method);
        if least.factors > 0 {
            return (least.sum(), " with its layers' factors".to_owned());
        }
        let least = least.sum();
        match kept_by_rows(network, options, images) {
            0 => (least, String::new()),
            // Half of what is left is kept.
            kept => {
                let rows = root_rows(images, network.class_count());
                let what = format!(" with the products of {rows} gradients with each other");
                (least + 2 * kept, what)
            }
        }
    }

    /// Refuses a memory that is less than that.
    ///
    /// # Errors
    /// Says how much is needed.
    pub(super) fn check(network: &Network, options: &NetworkOptions, images: usize) -> Result<()> {
        let (needed, what) = Self::needed(network, options, images);
        if options.memory >= needed {
            return Ok(());
        }
        let other = match what.is_empty() {
            true => "fewer --blocks",
            false => "--solver cg",
        };
        let reason = format!(
            "{}{what} takes at least {} GiB, and {} are left for it; raise it, or choose {other}",
            options.solver.method,
            gib(needed as f64),
            gib(options.memory as f64)
        );
        Err(Error::config("memory", reason))
    }

    /// The most that a run is reckoned to take at once, with so many training images and queries.
    pub(super) fn peak(
        network: &Network,
        options: &NetworkOptions,
        (images, queries): (usize, usize),
    ) -> u64 {
        let plan = Self::of(network, options);
        let method = options.solver.method;
        let root_gradients =
            images as u64 * network.linearisation_bytes(Beside::RootGradients) as u64;
        let beside = match options.curvature {
            Curvature::Hessian => Beside::Gradients,
            Curvature::GaussNewton => Beside::RootGradients,
        };
        let kept = match method {
            Method::Direct => {
                let rows = root_rows(images, network.class_count());
                root_gradients + SquareMatrix::<f64>::bytes(rows)
            }
            _ => images as u64 * network.linearisation_bytes(beside) as u64,
        };
        let low_rank = match method {
            Method::Cg | Method::Astra => {
                NetworkCurvature::low_rank_rows(network, plan.low_rank).min(images)
            }
            _ => 0,
        };
        let low_rank = low_rank as u64 * bytes_of_vector(network);
        let at_once = network.queries_at_once(options).unwrap_or(1).min(queries);
        let pass = network.pass_images().min(images);
        let pass = plan
            .pass
            .min((pass * network.image_bytes_beside(Beside::Gradients)) as u64);
        let copies = match method {
            Method::Cg | Method::Astra => 1,
            Method::Ekfac => COPIES_OF_GRADIENTS,
            _ => 0,
        };
        let written = network.gradient_bytes(copies).unwrap_or(0) as u64;
        let rows = root_rows(images, network.class_count()) as u64;
        let written = copies as u64 * written.min(rows * bytes_of_vector(network));
        let vectors = plan.vectors.min((at_once * network.product_bytes()) as u64);
        let solving = kept.min(plan.kept) + low_rank + of_queries(network, at_once) + vectors;
        pass.max(written.min(plan.pass)) + plan.factors + solving.max(COPIES_OF_ROWS * low_rank)
    }
}

/// What `direct` keeps at the least; 0 where solves do not go by rows.
fn kept_by_rows(network: &Network, options: &NetworkOptions, images: usize) -> u64 {
    let by_rows =
        options.curvature == Curvature::GaussNewton && options.solver.method == Method::Direct;
    if by_rows && RootPasses::serve(network, images) {
        return RootPasses::least_bytes(network, images);
    }
    match by_rows {
        true => SquareMatrix::<f64>::bytes(root_rows(images, network.class_count())),
        false => 0,
    }
}

/// The layers' factors, their eigenvectors, and twice those of the largest, a layer for each core, while these are found.
fn factor_bytes(network: &Network) -> u64 {
    let of_layer = |layer: &KroneckerLayer| {
        SquareMatrix::<f64>::bytes(layer.outputs) + SquareMatrix::<f64>::bytes(layer.inputs)
    };
    let mut layers: Vec<u64> = network.kronecker_layers().iter().map(of_layer).collect();
    layers.sort_unstable_by(|a, b| b.cmp(a));
    let cores = std::thread::available_parallelism().map_or(2, NonZero::get);
    let at_work = layers.iter().take(cores);
    2 * (layers.iter().sum::<u64>() + at_work.sum::<u64>())
}

fn of_queries(network: &Network, queries: usize) -> u64 {
    VECTORS_OF_QUERY * queries as u64 * bytes_of_vector(network)
}

fn bytes_of_vector(network: &Network) -> u64 {
    (network.size() * network.dtype().size_in_bytes()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derivative::network::small_problem::small_problem;
    use crate::model::Blocks;
    use crate::solve::Settings;
    use std::time::Duration;

    const IMAGES: usize = 40;

    fn options(method: Method, memory: u64) -> NetworkOptions {
        NetworkOptions {
            curvature: Curvature::GaussNewton,
            l2: 1e-2,
            damping: 1e-2,
            solver: Settings {
                method,
                ..Settings::default()
            },
            top: 5,
            bottom: 0,
            query_groups: None,
            groups_only: false,
            train_groups: None,
            scores: false,
            shares: false,
            query_rank: None,
            memory,
            record_every: Duration::ZERO,
        }
    }

    #[test]
    fn parts_are_no_more_than_there_is_and_no_less_than_is_needed() {
        let (network, _) = small_problem(Blocks::Last(1), IMAGES);
        for method in [
            Method::Cg,
            Method::Direct,
            Method::Identity,
            Method::Astra,
            Method::Ekfac,
        ] {
            let (needed, _) = MemoryPlan::needed(&network, &options(method, 0), IMAGES);
            for memory in [needed, 2 * needed, 1 << 30] {
                let options = options(method, memory);
                let plan = MemoryPlan::of(&network, &options);
                let low_rank = if method == Method::Direct {
                    0
                } else {
                    plan.low_rank
                };
                let sum = plan.sum() + low_rank;
                assert!(sum <= memory && sum > memory - 64);
                let peak = MemoryPlan::peak(&network, &options, (IMAGES, 5));
                assert!(peak <= memory, "{method}: {peak} of {memory}");
                assert!(network.queries_at_once(&options).unwrap() >= 1);
                MemoryPlan::check(&network, &options, IMAGES).unwrap();
            }
            let refused = MemoryPlan::check(&network, &options(method, needed - 1), IMAGES);
            let message = refused.unwrap_err().to_string();
            assert!(message.contains("at least"), "{message}");
        }
    }

    /// What is refused has no room indeed, and what is not has.
    #[test]
    fn direct_needs_what_its_rows_do() {
        let (network, _) = small_problem(Blocks::Last(1), IMAGES);
        let kept = |memory| MemoryPlan::of(&network, &options(Method::Direct, memory)).kept;
        let (needed, what) = MemoryPlan::needed(&network, &options(Method::Direct, 0), IMAGES);
        assert!(what.contains("120 gradients"), "{what}");
        assert!(RootPasses::within(&network, IMAGES, kept(needed)).is_some());
        assert!(RootPasses::within(&network, IMAGES, kept(needed - 64)).is_none());
        let (of_cg, what) = MemoryPlan::needed(&network, &options(Method::Cg, 0), IMAGES);
        assert!(of_cg < needed && what.is_empty());
    }
}
