//! Certificates the hard way: over thousands of random problems, with duplicated images, tiny gaps and loosened solvers, a
//! certified rank is the rank that an independent f64 oracle gives, and every score is within its bound.

use crate::rank::head_scores::examples;
use crate::sets::{Set, tensor};
use ascribe::derivative::head::{HeadCoordinates, SoftmaxHead};
use ascribe::influence::{
    BlockSizes, Certification, CertifiedRanks, EqualImages, Examples, Provenance, Queries,
    RankedQueries, ScoreMatrix,
};
use ascribe::operator::{Damped, HeadHessian};
use ascribe::solve::{Cg, Direct, Ekfac, Method, Refinement, Settings, Solver};
use candle_core::{DType, Device};
use double_double::DoubleDouble;
use ndarray::{Array1, Array2, s};
use ndarray_linalg::SolveH;
use proptest::prelude::*;

mod double_double;

struct Problem {
    classes: usize,
    head: Array2<f64>,
    train: Set,
    queries: Set,
}

/// Made from a seed: some training images repeated exactly, some moved by a hair.
fn problem(seed: u64, train: usize, classes: usize, dimension: usize, gap: f64) -> Problem {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    let mut set = |count: usize| {
        let features = Array2::from_shape_simple_fn((count, dimension), || 4.0 * random());
        let labels = (0..count)
            .map(|row| (row * 7 + row / 3) % classes)
            .collect();
        (features, labels)
    };
    let (mut features, mut labels): (Array2<f64>, Vec<usize>) = set(train);
    let queries = set(4);
    let queries = Set::new(queries.0, queries.1);
    for copy in 0..train / 4 {
        let (from, to) = (copy, train - 1 - copy);
        let mut row = features.row(from).to_owned();
        if copy % 2 == 1 {
            row[0] += gap;
        }
        features.row_mut(to).assign(&row);
        labels[to] = labels[from];
    }
    let head = set(classes).0;
    let head = Array2::from_shape_fn((classes, dimension + 1), |(class, column)| {
        if column < dimension {
            0.4 * head[[class, column]]
        } else {
            0.1 * class as f64
        }
    });
    Problem {
        classes,
        head,
        train: Set::new(features, labels),
        queries,
    }
}

/// By definition in all classes, solved by LAPACK.
fn oracle(problem: &Problem, shift: f64) -> Array2<f64> {
    let columns = problem.head.ncols();
    let parameters = problem.head.len();
    let gradients = |set: &Set| {
        let count = set.labels.len();
        let mut rows = Array2::<f64>::zeros((count, parameters));
        let mut probabilities = Array2::<f64>::zeros((count, problem.classes));
        for row in 0..count {
            let mut input = Array1::<f64>::ones(columns);
            input
                .slice_mut(s![..columns - 1])
                .assign(&set.features.row(row));
            let weights = problem.head.dot(&input).mapv(f64::exp);
            let softmax = &weights / weights.sum();
            for class in 0..problem.classes {
                let residual = softmax[class] - f64::from(u8::from(class == set.labels[row]));
                let part = &input * residual;
                rows.slice_mut(s![row, class * columns..(class + 1) * columns])
                    .assign(&part);
            }
            probabilities.row_mut(row).assign(&softmax);
        }
        (rows, probabilities)
    };
    let (train, probabilities) = gradients(&problem.train);
    let count = train.nrows() as f64;
    let mut curvature = Array2::<f64>::eye(parameters) * shift;
    for (row, softmax) in probabilities.rows().into_iter().enumerate() {
        let mut input = Array1::<f64>::ones(columns);
        input
            .slice_mut(s![..columns - 1])
            .assign(&problem.train.features.row(row));
        for i in 0..parameters {
            for j in 0..parameters {
                let (c, k) = (i / columns, j / columns);
                let weight = softmax[c] * (f64::from(u8::from(c == k)) - softmax[k]) / count;
                curvature[[i, j]] += weight * input[i % columns] * input[j % columns];
            }
        }
    }
    let (queries, _) = gradients(&problem.queries);
    let mut scores = Array2::zeros((queries.nrows(), train.nrows()));
    for (row, query) in queries.rows().into_iter().enumerate() {
        let solution = curvature.solveh(&query.to_owned()).unwrap();
        scores.row_mut(row).assign(&(train.dot(&solution) / count));
    }
    scores
}

struct Found {
    scores: Array2<f64>,
    ranks: CertifiedRanks,
}

#[derive(Debug, Clone, Copy)]
enum Inner {
    Direct,
    LooseCg,
    Ekfac,
}

fn certified(problem: &Problem, l2: f64, damping: f64, inner: Inner, by_training: bool) -> Found {
    certified_along(
        HeadCoordinates::accurately,
        problem,
        (l2, damping),
        inner,
        by_training,
    )
}

/// The same with coordinates as `changed` makes them.
fn certified_along(
    changed: fn(HeadCoordinates) -> HeadCoordinates,
    problem: &Problem,
    (l2, damping): (f64, f64),
    inner: Inner,
    by_training: bool,
) -> Found {
    let head = SoftmaxHead::from_parameters(&tensor(&problem.head)).unwrap();
    let (train64, queries64) = (
        examples(&problem.train, &head, DType::F64),
        examples(&problem.queries, &head, DType::F64),
    );
    let coordinates = HeadCoordinates::of(train64.inputs(), train64.outputs()).unwrap();
    let coordinates = changed(coordinates);
    let train64 = train64.in_coordinates(&coordinates).unwrap();
    let queries64 = queries64.in_coordinates(&coordinates).unwrap();
    let train32 = examples(&problem.train, &head, DType::F32)
        .in_coordinates(&coordinates)
        .unwrap();
    let hessian = |examples: &Examples| {
        let inputs = examples.axes_inputs();
        HeadHessian::in_coordinates(&coordinates, inputs, examples.outputs(), l2).unwrap()
    };
    let (exact, single) = (hessian(&train64), hessian(&train32));
    let (exact, single) = (
        Damped::new(&exact, damping).unwrap(),
        Damped::new(&single, damping).unwrap(),
    );
    let loose = Cg {
        tolerance: 1e-2,
        iterations: 6,
        preconditioned: true,
    };
    let solver: &dyn Solver = match inner {
        Inner::Direct => &Direct,
        Inner::LooseCg => &loose,
        Inner::Ekfac => &Ekfac,
    };
    let inverse = solver.prepare(&single).unwrap();
    let smallest = l2 + damping;
    // So loose that ranks alone decide when to stop.
    let settings = Settings {
        method: Method::Cg,
        tolerance: Some(1e-2),
        ..Settings::default()
    };
    let solved_by = (&settings, DType::F32);
    let certification = Certification {
        refinement: Refinement::new(&exact, &*inverse, solved_by, smallest).unwrap(),
        ranks: 6,
        equal: EqualImages::among(&problem.train.set()).unwrap(),
        weights: head.longest_row().unwrap(),
        coordinates: coordinates.error(&Device::Cpu).unwrap(),
        blocks: BlockSizes {
            solved: 3,
            gradients: 5,
        },
    };
    let mut scores = ScoreMatrix::default();
    let queries = RankedQueries {
        queries: Queries {
            examples: &queries64,
            sinks: &mut [&mut scores],
        },
        kept: 6,
    };
    let none = Provenance::default();
    let mut found = if by_training {
        certification.score_by_training(&train64, vec![queries], &none)
    } else {
        certification.score_by_queries(&train64, queries, &none)
    }
    .unwrap();
    Found {
        scores: scores.scores,
        ranks: found.ranks.remove(0),
    }
}

/// Checks one problem; returns how many of how many ranks were certified.
fn check(
    problem: &Problem,
    l2: f64,
    damping: f64,
    inner: Inner,
    by_training: bool,
) -> (usize, usize) {
    let exact = oracle(problem, l2 + damping);
    check_against(&exact, problem, (l2, damping), inner, by_training)
}

/// The same with scores that are known otherwise.
fn check_against(
    exact: &Array2<f64>,
    problem: &Problem,
    (l2, damping): (f64, f64),
    inner: Inner,
    by_training: bool,
) -> (usize, usize) {
    let found = certified(problem, l2, damping, inner, by_training);
    let scale = exact
        .iter()
        .fold(0.0f64, |largest, score| largest.max(score.abs()));
    // What the oracle itself may be off by.
    let slack = 1e-11 * scale;
    let (mut certified, mut all) = (0, 0);
    for query in 0..exact.nrows() {
        let row = exact.row(query);
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        for (rank, (image, score, certificate)) in found.ranks.ranks(query).iter().enumerate() {
            let error = (score - row[*image]).abs();
            assert!(
                error <= certificate.bound + slack,
                "{inner:?} query {query} image {image}: off by {error:e}, bound {:e}",
                certificate.bound
            );
            // The scores of all pairs are f32 products of a gradient and a solution, which is up to 1/(l2 + damping) times as long
            // as its gradient; those of equal images are the same.
            let rough = (found.scores[[query, *image]] - score).abs();
            let allowed = 1e-5 * scale + 1e-6 / (l2 + damping);
            assert!(rough <= allowed, "{inner:?}: {rough:e} of {scale:e}");
            all += 1;
            if certificate.certified {
                certified += 1;
                // The image of this rank, or one equal to it.
                let difference = (row[order[rank]] - row[*image]).abs();
                assert!(
                    difference <= slack
                        && (order[rank] == *image || certificate.tied || difference == 0.0),
                    "{inner:?} query {query} rank {rank}: {image} certified, the oracle has {}",
                    order[rank]
                );
            }
        }
    }
    (certified, all)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_certified_rank_is_never_wrong(
        seed in 1u64..1 << 40,
        train in 8usize..20,
        classes in 2usize..5,
        dimension in 1usize..5,
        gap in prop_oneof![Just(1e-3), Just(1e-7), Just(1e-10), Just(1e-14)],
        l2 in prop_oneof![Just(0.0), Just(1e-3)],
        damping in prop_oneof![Just(1e-1), Just(1e-3), Just(1e-5)],
        inner in prop_oneof![Just(Inner::Direct), Just(Inner::LooseCg), Just(Inner::Ekfac)],
        by_training in any::<bool>(),
    ) {
        check(&problem(seed, train, classes, dimension, gap), l2, damping, inner, by_training);
    }
}

#[test]
fn an_accurate_solver_certifies_nearly_everything_and_ties_are_reported() {
    let (mut certified_ranks, mut all, mut tied) = (0, 0, 0);
    for seed in 1..60 {
        let problem = problem(seed, 16, 3, 3, 1e-3);
        let (certified_here, all_here) = check(&problem, 1e-3, 1e-3, Inner::Direct, true);
        certified_ranks += certified_here;
        all += all_here;
        let found = certified(&problem, 1e-3, 1e-3, Inner::Direct, true);
        for query in 0..4 {
            let ranks = found.ranks.ranks(query).iter();
            for (image, score, certificate) in ranks.clone() {
                // Copies with an even number are exact: images 0 and 15, 2 and 13.
                assert_eq!(certificate.tied, [0, 15, 2, 13].contains(image), "{image}");
                if certificate.tied {
                    tied += 1;
                    let twin = 15 - image;
                    if let Some((_, other, _)) = ranks.clone().find(|rank| rank.0 == twin) {
                        assert_eq!(other, score);
                    }
                }
            }
        }
    }
    assert!(
        tied > 100 && certified_ranks as f64 > 0.97 * all as f64,
        "{certified_ranks} of {all}"
    );
}

/// A sample of the queries says when the training images are solved for well enough; the others may need more.
#[test]
fn queries_beyond_the_sample_are_proven_too() {
    let mut problem = problem(5, 60, 3, 4, 0.5);
    let count = 4000;
    problem.queries = self::problem(6, count, 3, 4, 0.5).train;
    let found = certified(&problem, 1e-2, 0.0, Inner::LooseCg, true);
    let open: Vec<usize> = (0..count)
        .filter(|&query| !found.ranks.is_certified(query, 6))
        .collect();
    assert!(open.is_empty(), "{open:?}");
    let exact = oracle(&problem, 1e-2);
    for query in 0..count {
        for (image, score, certificate) in found.ranks.ranks(query) {
            let error = (score - exact[[query, *image]]).abs();
            assert!(error <= certificate.bound + 1e-11, "{query}: {error:e}");
        }
    }
}

#[test]
fn a_poor_solver_certifies_less_but_says_so() {
    let problem = problem(5, 16, 3, 3, 1e-3);
    let (direct, all) = check(&problem, 1e-3, 1e-4, Inner::Direct, false);
    let (rough, _) = check(&problem, 1e-3, 1e-4, Inner::Ekfac, false);
    assert!(direct == all && rough < all, "{direct} {rough} {all}");
}

/// The same bias in every class changes no score, but its size is in what the logits round.
#[test]
fn logits_that_cancel_prove_less_and_nothing_wrong() {
    let (mut plain, mut large, mut all) = (0, 0, 0);
    for seed in 1..40 {
        let mut problem = problem(seed, 16, 3, 3, 1e-9);
        // So that sums with the bias are exact.
        let quarters = |class: usize| 0.25 * class as f64;
        (problem.head.column_mut(3).iter_mut().zip(0..))
            .for_each(|(bias, class)| *bias = quarters(class));
        let (l2, damping) = (1e-3, 1e-2);
        let exact = oracle(&problem, l2 + damping);
        for by_training in [true, false] {
            let (found, of) =
                check_against(&exact, &problem, (l2, damping), Inner::Direct, by_training);
            plain += found;
            all += of;
        }
        problem
            .head
            .column_mut(3)
            .mapv_inplace(|bias| bias + f64::from(1 << 22));
        for by_training in [true, false] {
            large += check_against(&exact, &problem, (l2, damping), Inner::Direct, by_training).0;
        }
    }
    assert!(
        large < plain && plain > all / 2,
        "{large}, {plain} of {all}"
    );
}

/// A query whose residual leaves f64: nothing is known of the order of its scores.
#[test]
fn nothing_is_proven_of_a_query_that_is_beyond_doubt() {
    let mut problem = problem(3, 16, 3, 3, 1e-3);
    let features = problem.queries.features.mapv(|feature| 2e3 * feature);
    let most = |query: usize| {
        let logits =
            |class: usize| (problem.head.row(class).slice(s![..3])).dot(&features.row(query));
        let most = (0..3).max_by(|&a, &b| logits(a).total_cmp(&logits(b)));
        most.unwrap()
    };
    let labels = (0..4).map(most).collect();
    problem.queries = Set::new(features, labels);
    for by_training in [true, false] {
        let found = certified(&problem, 1e-3, 1e-3, Inner::Direct, by_training);
        let head = SoftmaxHead::from_parameters(&tensor(&problem.head)).unwrap();
        let losses = examples(&problem.queries, &head, DType::F64);
        let mut seen = 0;
        for (query, loss) in losses.outputs().losses.iter().enumerate() {
            if *loss < 1e-170 {
                seen += 1;
                let ranks = found.ranks.ranks(query).iter();
                assert!(
                    ranks
                        .clone()
                        .all(|rank| rank.2.bound > 0.0 && !rank.2.certified)
                );
            }
        }
        assert!(seen > 0);
    }
}

/// As many features as 5 times the images, images that are equal but for their last bits, and a head of zeros: a product of 40 terms
/// that is summed as f64 sums it orders the scores of such twins wrongly.
fn twins(seed: u64, scale: f64) -> Problem {
    let (count, dimension) = (8, 40);
    let mut problem = problem(seed, 2 * count, 2, dimension, 0.0);
    problem.head.fill(0.0);
    let mut features = problem.train.features.slice(s![..count, ..]).to_owned() * scale;
    for twin in count / 2..count {
        for column in 0..dimension {
            let own = features[[twin - count / 2, column]];
            let steps = ((twin * 31 + column * 17 + seed as usize) % 3) as f64 - 1.0;
            features[[twin, column]] = own * (1.0 + 4.0 * steps * f64::EPSILON);
        }
    }
    let mut labels = problem.train.labels[..count].to_vec();
    labels.copy_within(..count / 2, count / 2);
    problem.train = Set::new(features, labels);
    problem
}

/// Scores with twice the digits of f64. With two classes of probability ½ the curvature is that of ½ a aᵀ, and with X the images as rows
/// (H + λI)⁻¹ Xᵀ = Xᵀ (X Xᵀ/2n + λI)⁻¹, n equations.
fn exact_scores_at_a_head_of_zeros(problem: &Problem, damping: f64) -> Vec<Vec<DoubleDouble>> {
    let inputs = |features: &Array2<f64>| -> Vec<Vec<f64>> {
        let rows = features.rows().into_iter();
        rows.map(|row| row.iter().copied().chain([1.0]).collect())
            .collect()
    };
    let (train, queries) = (
        inputs(&problem.train.features),
        inputs(&problem.queries.features),
    );
    let count = train.len();
    let products = |one: &[Vec<f64>], other: &[Vec<f64>]| -> Vec<Vec<DoubleDouble>> {
        let row = |a: &Vec<f64>| other.iter().map(|b| DoubleDouble::product(a, b)).collect();
        one.iter().map(row).collect()
    };
    let mut matrix = products(&train, &train);
    for (place, row) in matrix.iter_mut().enumerate() {
        for value in row.iter_mut() {
            *value = *value * DoubleDouble::from(0.5 / count as f64);
        }
        row[place] = row[place] + DoubleDouble::from(damping);
    }
    let mut solutions = products(&queries, &train);
    double_double::solve_symmetric(matrix, &mut solutions);
    for (row, query) in solutions.iter_mut().zip(&problem.queries.labels) {
        for (value, label) in row.iter_mut().zip(&problem.train.labels) {
            let sign = if label == query { 1.0 } else { -1.0 };
            *value = *value * DoubleDouble::from(0.5 * sign / count as f64);
        }
    }
    solutions
}

#[test]
fn certificates_are_of_the_features_themselves_down_to_their_last_bits() {
    let (mut certified_ranks, mut all) = (0, 0);
    for seed in 1..30 {
        for (scale, damping) in [(1.0, 4e-10), (150.0, 1e-3)] {
            let problem = twins(seed, scale);
            let exact = exact_scores_at_a_head_of_zeros(&problem, damping);
            // Coordinates that are summed as f64 sums are larger errors, not wrong certificates.
            let ways = [(true, false), (true, true), (false, false), (false, true)];
            for (accurate, by_training) in ways {
                let changed = match accurate {
                    true => HeadCoordinates::accurately,
                    false => |coordinates| coordinates,
                };
                let (terms, inner) = ((0.0, damping), Inner::Direct);
                let found = certified_along(changed, &problem, terms, inner, by_training);
                for (query, row) in exact.iter().enumerate() {
                    for (rank, (image, score, certificate)) in
                        found.ranks.ranks(query).iter().enumerate()
                    {
                        let error = (row[*image] - DoubleDouble::from(*score)).to_f64().abs();
                        assert!(
                            error <= certificate.bound,
                            "seed {seed} damping {damping:e} query {query} image {image}: {error:e} above {:e}",
                            certificate.bound
                        );
                        let counted = usize::from(accurate && scale > 1.0 && !by_training);
                        all += counted;
                        if certificate.certified {
                            certified_ranks += counted;
                            let above =
                                |other: &&DoubleDouble| (**other - row[*image]).to_f64() > 0.0;
                            assert_eq!(row.iter().filter(above).count(), rank, "seed {seed}");
                        }
                    }
                }
            }
        }
    }
    // Elsewhere the factor in f32 leaves larger bounds.
    assert!(
        certified_ranks as f64 > 0.7 * all as f64,
        "{certified_ranks} of {all}"
    );
}
