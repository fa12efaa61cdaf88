//! How the systems of a path are solved, and how many at once, in the memory there is for it.
//!
//! With `--solver direct` the curvature is written out once and factorised for each damping, where that takes fewer
//! operations than iterating and fits. Else, with `--solver cg`, and where a factorisation fails, preconditioned conjugate
//! gradients go from the largest damping to the smallest, each from the solutions of the one before, to the tolerance of
//! the run. With D dampings, k queries, n images and p parameters:
//!
//! | way | operations | bytes |
//! |---|---|---|
//! | factors | n·p²/2 + D·(p³/3 + 6k·p²) | 32p² |
//! | iterations | D·20·4k·n·p: 243 for 13 dampings on the job of `analysis/speed`, 3 at the largest and 75 at 1e-6 | 80kp |
//! | scores, with either | D·2k·n·p | |
//!
//! One pass for all dampings is dearer. An eigendecomposition takes as long as 16 factors (OpenBLAS, p = 2,313), and
//! conjugate gradients whose shifted systems share a Krylov space (Frommer 2003) allow no preconditioner: on the same
//! job they take 378 iterations for damping 1e-3 and more than 1,000 below 1e-4.

use super::DAMPINGS;
use crate::artefact::gib;
use crate::solve::Method;
use crate::{Error, Result};

/// Bytes of queries while they are solved for, where nothing limits them.
const USUAL: f64 = (256u64 << 20) as f64;
/// Vectors of a query that are alive at once in conjugate gradients.
const VECTORS: f64 = 10.0;
/// Matrices that are alive at once: the curvature, its copy with the damping, its factor, and what is turned into these.
const MATRICES: f64 = 4.0;
/// The share of the memory for matrices.
const SHARE: f64 = 0.75;
/// Iterations of a solve, the mean over the dampings.
const ITERATIONS: f64 = 20.0;
/// The largest number of parameters that is written out: 512 MiB in f64.
const WRITTEN_OUT: f64 = 8192.0;
/// Bytes of a number.
const DOUBLE: f64 = 8.0;

/// The systems of a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::influence) struct Systems {
    /// Whether factors are made, rather than iterations.
    pub(super) factorised: bool,
    /// Queries solved for at once.
    pub(super) solved: usize,
    /// Most gradients of training images held at once.
    pub(super) gradients: usize,
    /// What all of it takes.
    pub(in crate::influence) bytes: f64,
}

impl Systems {
    /// Of `queries` queries, `images` training images and `parameters` in `room` bytes.
    ///
    /// # Errors
    /// Too little room for a query.
    pub(in crate::influence) fn plan(
        method: Method,
        queries: usize,
        images: usize,
        parameters: f64,
        room: Option<f64>,
    ) -> Result<Self> {
        let matrices = MATRICES * DOUBLE * parameters * parameters;
        let fits = room.is_none_or(|room| matrices <= SHARE * room);
        let cheaper = is_cheaper(queries as f64, images as f64, parameters);
        let factorised = method == Method::Direct && fits && cheaper;
        let matrices = if factorised { matrices } else { 0.0 };
        let row = DOUBLE * parameters;
        let least = (VECTORS + 2.0) * row;
        let room = room.map(|room| room - matrices);
        if let Some(room) = room.filter(|&room| room < least) {
            let reason = format!(
                "leaves {} GiB for --damping-path, which needs {}; give more",
                gib(room.max(0.0)),
                gib(least)
            );
            return Err(Error::config("memory", reason));
        }
        let vectors = room.map_or(USUAL, |room| USUAL.min(SHARE * room));
        let gradients = room.map_or(USUAL, |room| USUAL.min((1.0 - SHARE) * room));
        let at_least_one = |rows: f64| (rows as usize).max(1);
        let solved = at_least_one(vectors / (VECTORS * row)).min(queries.max(1));
        let gradients = at_least_one(gradients / (2.0 * row)).min(images.max(1));
        Ok(Self {
            factorised,
            solved,
            gradients,
            bytes: matrices + row * (VECTORS * solved as f64 + 2.0 * gradients as f64),
        })
    }

    /// Operations in f64, scores included, for as many queries, images and parameters as were planned.
    pub(in crate::influence) fn operations(
        &self,
        queries: usize,
        images: usize,
        parameters: f64,
    ) -> f64 {
        let (queries, images) = (queries as f64, images as f64);
        let solving = match self.factorised {
            true => by_factors(queries, images, parameters),
            false => by_iterations(queries, images, parameters),
        };
        solving + f64::from(DAMPINGS) * 2.0 * queries * images * parameters
    }
}

/// Whether factors are possible and take fewer operations than iterations.
fn is_cheaper(queries: f64, images: f64, size: f64) -> bool {
    size <= WRITTEN_OUT && by_factors(queries, images, size) <= by_iterations(queries, images, size)
}

/// Operations of the curvature written out, factorised for each damping, and of the solves.
fn by_factors(queries: f64, images: f64, size: f64) -> f64 {
    let factor = size.powi(3) / 3.0 + 6.0 * queries * size * size;
    images * size * size / 2.0 + f64::from(DAMPINGS) * factor
}

/// Operations of conjugate gradients for all dampings.
fn by_iterations(queries: f64, images: f64, size: f64) -> f64 {
    f64::from(DAMPINGS) * ITERATIONS * 4.0 * queries * images * size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factorised(parameters: f64, queries: usize, room: Option<f64>) -> bool {
        let systems = Systems::plan(Method::Direct, queries, 3200, parameters, room);
        systems.unwrap().factorised
    }

    /// Few queries are iterated even with `--solver direct`, many are not, and large matrices never written out.
    #[test]
    fn factors_are_made_where_they_are_cheaper_and_fit() {
        for (parameters, queries) in [(500.0, 10), (2313.0, 100), (8000.0, 200)] {
            assert!(factorised(parameters, queries, None), "{parameters}");
        }
        for (parameters, queries) in [(2313.0, 1), (8000.0, 10), (8193.0, 10_000)] {
            assert!(!factorised(parameters, queries, None), "{parameters}");
        }
        // 4 · 8 · 2313² = 171 MB, three quarters of 228.
        assert!(factorised(2313.0, 100, Some(229e6)));
        assert!(!factorised(2313.0, 100, Some(228e6)));
        let iterated = Systems::plan(Method::Cg, 100, 3200, 500.0, None).unwrap();
        assert!(!iterated.factorised);
    }

    #[test]
    fn operations_are_those_of_the_way_that_is_taken() {
        let operations = |method: Method| {
            let systems = Systems::plan(method, 100, 3200, 2313.0, None).unwrap();
            systems.operations(100, 3200, 2313.0)
        };
        let scores = 13.0 * 2.0 * 100.0 * 3200.0 * 2313.0;
        let iterated = 13.0 * 20.0 * 4.0 * 100.0 * 3200.0 * 2313.0;
        assert_eq!(operations(Method::Cg), iterated + scores);
        let factor = 2313f64.powi(3) / 3.0 + 600.0 * 2313.0 * 2313.0;
        let factors = 1600.0 * 2313.0 * 2313.0 + 13.0 * factor;
        assert!((operations(Method::Direct) / (factors + scores) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn systems_keep_to_the_room_and_say_where_it_is_too_little() {
        for room in [3e6, 1e7, 1e8, 3e8, 1e9] {
            for method in [Method::Direct, Method::Cg] {
                let systems = Systems::plan(method, 500, 3200, 18_441.0, Some(room)).unwrap();
                assert!(systems.bytes <= room, "{room}: {systems:?}");
            }
        }
        let usual = Systems::plan(Method::Cg, 500, 3200, 18_441.0, None).unwrap();
        assert_eq!((usual.solved, usual.gradients), (181, 909));
        let refused = Systems::plan(Method::Cg, 500, 3200, 18_441.0, Some(1e6)).unwrap_err();
        let expected =
            "--memory: leaves 9.31e-4 GiB for --damping-path, which needs 1.65e-3; give more";
        assert_eq!(refused.to_string(), expected);
    }
}
