//! Influence of the head against a dense f64 oracle that shares no code with it, on real digits and on made-up data;
//! the numbers of leave-one-out retraining; and what must not change a score.

use crate::rank::agreement::{pearson, ranks, relative_error, slope, spearman};
use crate::rank::head_scores::{BLOCKS, Settings};
use crate::sets::{Set, digits, made_up};
use ascribe::derivative::head::SoftmaxHead;
use ascribe::influence::{BlockSizes, Correction, Normalise, RankJob, RankOptions};
use ascribe::operator::{HeadHessian, LinearOperator};
use ascribe::solve::{Cg, Direct, Identity, Newton, Solver};
use candle_core::{DType, Device};
use ndarray::{Array1, Array2, ArrayView1, Axis, concatenate, s};
use std::collections::BTreeMap;
use std::sync::LazyLock;

const DIGITS_L2: f64 = 0.01;

struct Digits {
    train: Set,
    test: Set,
    head: SoftmaxHead,
}

static DIGITS: LazyLock<Digits> = LazyLock::new(|| {
    let (train, test) = digits();
    let head = fit(&train, 10, DIGITS_L2);
    Digits { train, test, head }
});

fn fit(set: &Set, classes: usize, l2: f64) -> SoftmaxHead {
    let start = set.zeros(classes);
    Newton::new(l2).fit(&set.inputs(), start).unwrap().head
}

fn without(set: &Set, row: usize) -> Set {
    let others = (0..set.labels.len()).filter(|&other| other != row);
    set.part(&others.collect::<Vec<_>>())
}

/// Per-example gradients and the Hessian by definition, all in plain loops, inverted by Gauss–Jordan elimination.
mod oracle {
    use super::*;

    fn probabilities(parameters: &Array2<f64>, input: ArrayView1<f64>) -> Array1<f64> {
        let exponentials = parameters.dot(&input).mapv(f64::exp);
        let sum = exponentials.sum();
        exponentials / sum
    }

    fn inputs(set: &Set) -> Array2<f64> {
        concatenate![Axis(1), set.features, Array2::ones((set.labels.len(), 1))]
    }

    fn gradients(parameters: &Array2<f64>, set: &Set) -> Array2<f64> {
        let inputs = inputs(set);
        let columns = inputs.ncols();
        let mut gradients = Array2::zeros((set.labels.len(), parameters.len()));
        for (row, input) in inputs.rows().into_iter().enumerate() {
            let mut residual = probabilities(parameters, input);
            residual[set.labels[row]] -= 1.0;
            for class in 0..parameters.nrows() {
                let part = &input * residual[class];
                gradients
                    .slice_mut(s![row, class * columns..(class + 1) * columns])
                    .assign(&part);
            }
        }
        gradients
    }

    pub fn hessian(parameters: &Array2<f64>, set: &Set, l2: f64) -> Array2<f64> {
        let (inputs, classes) = (inputs(set), parameters.nrows());
        let (count, columns) = inputs.dim();
        let mut hessian = Array2::eye(parameters.len()) * l2;
        for input in inputs.rows() {
            let p = probabilities(parameters, input);
            let outer = input.insert_axis(Axis(1)).dot(&input.insert_axis(Axis(0)));
            for c in 0..classes {
                for k in 0..classes {
                    let weight = p[c] * (f64::from(u8::from(c == k)) - p[k]) / count as f64;
                    let block = s![
                        c * columns..(c + 1) * columns,
                        k * columns..(k + 1) * columns
                    ];
                    hessian.slice_mut(block).scaled_add(weight, &outer);
                }
            }
        }
        hessian
    }

    /// Gauss–Jordan elimination with row pivoting.
    pub fn inverse(matrix: &Array2<f64>) -> Array2<f64> {
        let size = matrix.nrows();
        let mut work = concatenate![Axis(1), *matrix, Array2::eye(size)];
        for column in 0..size {
            let larger = |a: &usize, b: &usize| {
                work[[*a, column]]
                    .abs()
                    .total_cmp(&work[[*b, column]].abs())
            };
            let pivot = (column..size).max_by(larger).unwrap();
            for entry in 0..2 * size {
                work.swap([column, entry], [pivot, entry]);
            }
            let scaled = &work.row(column) / work[[column, column]];
            work.row_mut(column).assign(&scaled);
            for row in (0..size).filter(|&row| row != column) {
                let factor = work[[row, column]];
                work.row_mut(row).scaled_add(-factor, &scaled);
            }
        }
        work.slice(s![.., size..]).to_owned()
    }

    /// The largest eigenvalue of a symmetric positive definite matrix, by power iteration.
    pub fn largest_eigenvalue(matrix: &Array2<f64>) -> f64 {
        let mut vector = Array1::from_shape_fn(matrix.nrows(), |i| 1.0 + (i as f64).sin());
        let mut value = 0.0;
        for _ in 0..1000 {
            let product = matrix.dot(&vector);
            value = product.dot(&product).sqrt();
            vector = product / value;
        }
        value
    }

    pub fn scores(
        head: &SoftmaxHead,
        train: &Set,
        queries: &Set,
        l2: f64,
        damping: f64,
    ) -> Array2<f64> {
        let parameters = parameters(head);
        let curvature = hessian(&parameters, train, l2 + damping);
        let inverse = inverse(&curvature);
        gradients(&parameters, queries)
            .dot(&inverse)
            .dot(&gradients(&parameters, train).t())
            / train.labels.len() as f64
    }

    /// Divided by the length of the training image's effect on the parameters, and by the root of its own score: g_q A⁻¹g / ‖A⁻¹g‖, and
    /// g_q A⁻¹g / (n √(gᵀA⁻¹g)).
    pub fn divided(
        head: &SoftmaxHead,
        train: &Set,
        queries: &Set,
        curvature: f64,
    ) -> [Array2<f64>; 2] {
        let parameters = parameters(head);
        let inverse = inverse(&hessian(&parameters, train, curvature));
        let training = gradients(&parameters, train);
        let effects = training.dot(&inverse);
        let products = gradients(&parameters, queries).dot(&effects.t());
        let lengths = (&effects * &effects).sum_axis(Axis(1)).mapv(f64::sqrt);
        let own = (&effects * &training).sum_axis(Axis(1)).mapv(f64::sqrt);
        let count = train.labels.len() as f64;
        [&products / &lengths, &products / &(own * count)]
    }

    /// Plain and divided scores where an image's own curvature leaves with it. As (A − W_i ⊗ a_i a_iᵀ/n)⁻¹g_i is A⁻¹(y_i ⊗ a_i), its
    /// length and its length in the metric of A are the divisors.
    pub fn leverage(
        head: &SoftmaxHead,
        train: &Set,
        queries: &Set,
        curvature: f64,
    ) -> [Array2<f64>; 3] {
        let parameters = parameters(head);
        let whole = hessian(&parameters, train, curvature);
        let effects = removals(&parameters, train, curvature);
        let products = gradients(&parameters, queries).dot(&effects.t());
        let lengths = (&effects * &effects).sum_axis(Axis(1)).mapv(f64::sqrt);
        let own = (&effects * &effects.dot(&whole)).sum_axis(Axis(1));
        let own = own.mapv(f64::sqrt);
        let count = train.labels.len() as f64;
        [
            &products / count,
            &products / &lengths,
            &products / &(own * count),
        ]
    }

    /// The Newton step of each image's removal times n, one in a row, with the curvature of the other images written out.
    fn removals(parameters: &Array2<f64>, train: &Set, curvature: f64) -> Array2<f64> {
        let training = gradients(parameters, train);
        let count = train.labels.len() as f64;
        let share = (count - 1.0) / count;
        let mut effects = Array2::zeros(training.dim());
        for (row, gradient) in training.rows().into_iter().enumerate() {
            // The divisor n stays, the whole of the added curvature too.
            let rest = hessian(parameters, &without(train, row), curvature / share) * share;
            effects.row_mut(row).assign(&inverse(&rest).dot(&gradient));
        }
        effects
    }

    /// Of z_a − z_b of one query each, `(query, a, b)`: its gradient is (e_a − e_b) ⊗ [x; 1].
    pub fn margins(
        head: &SoftmaxHead,
        train: &Set,
        queries: &Set,
        margins: &[(usize, usize, usize)],
        curvature: f64,
    ) -> Array2<f64> {
        let parameters = parameters(head);
        let (inputs, columns) = (inputs(queries), parameters.ncols());
        let mut directions = Array2::<f64>::zeros((margins.len(), parameters.len()));
        for (row, &(query, a, b)) in margins.iter().enumerate() {
            for (class, sign) in [(a, 1.0), (b, -1.0)] {
                let part = &inputs.row(query) * sign;
                directions
                    .slice_mut(s![row, class * columns..(class + 1) * columns])
                    .assign(&part);
            }
        }
        let inverse = inverse(&hessian(&parameters, train, curvature));
        directions
            .dot(&inverse)
            .dot(&gradients(&parameters, train).t())
            / train.labels.len() as f64
    }

    pub fn parameters(head: &SoftmaxHead) -> Array2<f64> {
        let values = head.parameters().flatten_all().unwrap().to_vec1().unwrap();
        Array2::from_shape_vec((head.class_count(), head.feature_count() + 1), values).unwrap()
    }
}

/// The share of `expected`'s `top` highest that are among `found`'s.
fn overlap(found: ArrayView1<f64>, expected: ArrayView1<f64>, top: usize) -> f64 {
    let first = |values| ranks(values).mapv(|rank| rank >= (values.len() - top) as f64);
    let both = first(found)
        .iter()
        .zip(&first(expected))
        .filter(|(a, b)| **a && **b)
        .count();
    both as f64 / top as f64
}

const TIGHT: Cg = Cg {
    tolerance: 1e-12,
    iterations: 2000,
    preconditioned: true,
};

#[test]
fn f64_scores_equal_the_oracle() {
    let (train, queries) = (made_up(90, 7, 4, 0.0), made_up(40, 7, 4, 0.5));
    let head = fit(&train, 4, 0.02);
    for damping in [0.0, 0.05] {
        let expected = oracle::scores(&head, &train, &queries, 0.02, damping);
        for (solver, by_training) in [
            (&Direct as &dyn Solver, false),
            (&Direct, true),
            (&TIGHT, false),
            (&TIGHT, true),
        ] {
            let settings = Settings {
                by_training,
                ..Settings::new(solver, DType::F64, 0.02, damping)
            };
            let found = settings.scores(&head, &train, &queries);
            let error = relative_error(&found, &expected);
            assert!(error < 1e-11, "damping {damping}: {error:e}");
        }
    }
}

#[test]
fn divided_scores_equal_the_oracle() {
    let (train, queries) = (made_up(90, 7, 4, 0.0), made_up(40, 7, 4, 0.5));
    let head = fit(&train, 4, 0.02);
    let expected = oracle::divided(&head, &train, &queries, 0.07);
    let divisors = [Normalise::ThetaRelatif, Normalise::LRelatif];
    for solver in [&Direct as &dyn Solver, &TIGHT] {
        for (normalise, expected) in divisors.into_iter().zip(&expected) {
            let settings = Settings {
                by_training: true,
                normalise,
                ..Settings::new(solver, DType::F64, 0.02, 0.05)
            };
            let found = settings.scores(&head, &train, &queries);
            let error = relative_error(&found, expected);
            assert!(error < 1e-11, "{normalise:?}: {error:e}");
        }
    }
}

/// Of four classes the curvature of an image's outputs and its leverages do not commute.
#[test]
fn scores_with_leverage_equal_the_oracle_without_each_image() {
    let (train, queries) = (made_up(90, 7, 4, 0.0), made_up(40, 7, 4, 0.5));
    let head = fit(&train, 4, 0.02);
    let expected = oracle::leverage(&head, &train, &queries, 0.07);
    let divisors = [
        Normalise::None,
        Normalise::ThetaRelatif,
        Normalise::LRelatif,
    ];
    for solver in [&Direct as &dyn Solver, &TIGHT] {
        for (normalise, expected) in divisors.into_iter().zip(&expected) {
            let settings = Settings {
                by_training: true,
                normalise,
                correction: Correction::Leverage,
                ..Settings::new(solver, DType::F64, 0.02, 0.05)
            };
            let found = settings.scores(&head, &train, &queries);
            let error = relative_error(&found, expected);
            assert!(error < 1e-10, "{normalise:?}: {error:e}");
        }
    }
}

#[test]
fn scores_of_margins_equal_the_oracle() {
    let (train, queries) = (made_up(90, 7, 4, 0.0), made_up(6, 7, 4, 0.5));
    let head = fit(&train, 4, 0.02);
    let job = RankJob {
        train: train.set(),
        test: queries.set(),
        head: &head,
        classes: Vec::new(),
        options: RankOptions {
            l2: 0.02,
            damping: 0.05,
            precision: DType::F64,
            ..RankOptions::default()
        },
        digests: BTreeMap::new(),
        device: Device::Cpu,
    };
    let asked = [(0, 1, 3), (2, 3, 0), (2, 0, 3), (5, 0, 2)];
    let folder = tempfile::tempdir().unwrap();
    let found = job.prepared(folder.path(), |prepared| prepared.margins(&asked));
    let found = found.unwrap();
    let expected = oracle::margins(&head, &train, &queries, &asked, 0.07);
    let error = relative_error(&found, &expected);
    assert!(error < 1e-11, "{error:e}");
}

#[test]
fn digits_scores_equal_the_oracle_in_both_precisions() {
    let Digits { train, test, head } = &*DIGITS;
    let queries = test.part(&(0..200).collect::<Vec<_>>());
    let expected = oracle::scores(head, train, &queries, DIGITS_L2, 1e-3);
    let loose = Cg {
        tolerance: 1e-5,
        iterations: 500,
        preconditioned: true,
    };
    let cases: [(&dyn Solver, DType); 4] = [
        (&Direct, DType::F64),
        (&TIGHT, DType::F64),
        (&Direct, DType::F32),
        (&loose, DType::F32),
    ];
    for (solver, dtype) in cases {
        let found = Settings::new(solver, dtype, DIGITS_L2, 1e-3).scores(head, train, &queries);
        let error = relative_error(&found, &expected);
        let rows = || found.rows().into_iter().zip(expected.rows());
        let lowest = rows()
            .map(|(found, expected)| spearman(found, expected))
            .fold(1.0, f64::min);
        let shared = rows()
            .map(|(found, expected)| overlap(found, expected, 100))
            .sum::<f64>()
            / 200.0;
        println!(
            "{dtype:?}: relative error {error:e}, lowest Spearman {lowest}, top-100 overlap {shared}"
        );
        assert!(error < if dtype == DType::F64 { 1e-10 } else { 1e-4 });
        assert!(lowest >= 0.9999 && shared >= 0.999);
    }
}

#[test]
fn identity_is_the_dot_product_of_the_gradients_on_either_side() {
    let (train, queries) = (made_up(90, 7, 4, 0.0), made_up(40, 7, 4, 0.5));
    let head = fit(&train, 4, 0.02);
    // With all curvature in λ = 1e9 the damped inverse is the identity divided by it.
    let expected = oracle::scores(&head, &train, &queries, 0.0, 1e9) * 1e9;
    for by_training in [false, true] {
        let settings = Settings {
            by_training,
            ..Settings::new(&Identity, DType::F64, 0.02, 0.1)
        };
        let error = relative_error(&settings.scores(&head, &train, &queries), &expected);
        assert!(error < 1e-8, "{error:e}");
    }
}

#[test]
fn digits_loss_accuracy_and_condition_number_are_the_published_ones() {
    let Digits { train, test, head } = &*DIGITS;
    let outputs = head.outputs(&train.inputs()).unwrap();
    assert!(
        (outputs.mean_loss() - 0.395219).abs() < 5e-7,
        "{}",
        outputs.mean_loss()
    );
    let outputs = head.outputs(&test.inputs()).unwrap();
    let accuracy = outputs.accuracy(&test.labels);
    assert!((accuracy - 0.9184).abs() < 5e-5, "{accuracy}");
    let hessian = HeadHessian::new(head, &train.inputs(), DIGITS_L2)
        .unwrap()
        .dense(DType::F64)
        .unwrap()
        .to_array()
        .unwrap();
    assert!(
        relative_error(
            &hessian,
            &oracle::hessian(&oracle::parameters(head), train, DIGITS_L2)
        ) < 1e-13
    );
    let condition = oracle::largest_eigenvalue(&hessian)
        * oracle::largest_eigenvalue(&oracle::inverse(&hessian));
    assert!((condition - 92.9).abs() < 0.05, "{condition}");
}

/// The 50 training digits with the largest |score| for the test digit with the largest loss, each left out (the divisor
/// n kept) and the head fitted anew: predicted against actual rise of the loss, the slope that of a least-squares line.
#[test]
fn digits_leave_one_out_agrees_as_published() {
    let Digits { train, test, head } = &*DIGITS;
    let losses = head.outputs(&test.inputs()).unwrap().losses;
    let worst = (0..losses.len()).fold(0, |worst, row| {
        if losses[row] > losses[worst] {
            row
        } else {
            worst
        }
    });
    assert_eq!(worst, 660);
    assert!((losses[worst] - 3.918858).abs() < 5e-7, "{}", losses[worst]);
    let query = test.part(&[worst]);
    let scores = Settings::new(&Direct, DType::F64, DIGITS_L2, 0.0).scores(head, train, &query);
    let mut order: Vec<usize> = (0..train.labels.len()).collect();
    order.sort_by(|a, b| scores[[0, *b]].abs().total_cmp(&scores[[0, *a]].abs()));
    let predicted: Array1<f64> = order[..50].iter().map(|&row| scores[[0, row]]).collect();
    let refit = |&row: &usize| refitted_loss(train, row, head, DIGITS_L2, &query) - losses[worst];
    let actual: Array1<f64> = order[..50].iter().map(refit).collect();
    let (predicted, actual) = (predicted.view(), actual.view());
    let slope = slope(predicted, actual);
    let (pearson, spearman) = (pearson(predicted, actual), spearman(predicted, actual));
    println!("Pearson {pearson}, Spearman {spearman}, slope {slope}");
    assert!((pearson - 0.99963).abs() < 5e-6);
    assert!((spearman - 0.9953).abs() < 5e-5);
    assert!((slope - 0.9397).abs() < 5e-5);
}

/// The loss of `query` at the minimiser of (1/n) Σ_{j≠row} ℓ_j + l2/2·‖θ‖².
fn refitted_loss(train: &Set, row: usize, start: &SoftmaxHead, l2: f64, query: &Set) -> f64 {
    let count = train.labels.len() as f64;
    // Dividing by n − 1 instead of n is the same minimiser at an l2 larger by n / (n − 1).
    let refitted = Newton::new(l2 * count / (count - 1.0))
        .fit(&without(train, row).inputs(), start.clone())
        .unwrap()
        .head;
    refitted.outputs(&query.inputs()).unwrap().losses[0]
}

#[test]
fn a_positive_score_means_that_leaving_the_image_out_raises_the_loss() {
    let (train, query) = (made_up(30, 3, 3, 0.0), made_up(1, 3, 3, 0.5));
    let head = fit(&train, 3, 0.1);
    let before = head.outputs(&query.inputs()).unwrap().losses[0];
    let scores = Settings::new(&Direct, DType::F64, 0.1, 0.0).scores(&head, &train, &query);
    let largest = scores
        .iter()
        .fold(0.0f64, |largest, score| largest.max(score.abs()));
    let (mut helpful, mut harmful) = (0, 0);
    for row in 0..30 {
        let rise = refitted_loss(&train, row, &head, 0.1, &query) - before;
        let score = scores[[0, row]];
        if score.abs() > 0.05 * largest {
            assert!(
                rise.signum() == score.signum() && (rise / score - 1.0).abs() < 0.5,
                "{row}: {rise} {score}"
            );
            if score > 0.0 {
                helpful += 1
            } else {
                harmful += 1
            }
        }
    }
    assert!(helpful >= 3 && harmful >= 3);
}

/// Tolerances: 1e-13 relative in f64 and 1e-5 in f32 where a sum is taken in another order; threads change nothing.
#[test]
fn scores_do_not_depend_on_blocks_chunks_or_threads() {
    let (train, queries) = (made_up(150, 20, 5, 0.0), made_up(90, 20, 5, 0.5));
    let head = fit(&train, 5, 0.02);
    let loose = Cg {
        tolerance: 1e-6,
        iterations: 500,
        preconditioned: true,
    };
    let cases: [(&dyn Solver, DType, f64); 4] = [
        (&Direct, DType::F64, 1e-13),
        (&TIGHT, DType::F64, 1e-10),
        (&Direct, DType::F32, 1e-5),
        (&loose, DType::F32, 1e-4),
    ];
    for (solver, dtype, tolerance) in cases {
        let run = |blocks: BlockSizes, row_chunk: usize, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let settings = Settings {
                blocks,
                row_chunk,
                ..Settings::new(solver, dtype, 0.02, 0.01)
            };
            pool.install(|| settings.scores(&head, &train, &queries))
        };
        let reference = run(BLOCKS, 1024, 2);
        assert_eq!(run(BLOCKS, 1024, 1), reference, "threads");
        for (query_block, train_block, row_chunk) in
            [(1, 150, 1024), (90, 1, 1024), (17, 23, 1024), (64, 128, 37)]
        {
            let found = run(
                BlockSizes {
                    solved: query_block,
                    gradients: train_block,
                },
                row_chunk,
                2,
            );
            let error = relative_error(&found, &reference);
            println!("{dtype:?} {query_block} {train_block} {row_chunk}: {error:e}");
            assert!(
                error <= tolerance,
                "{dtype:?} {query_block} {train_block} {row_chunk}: {error:e}"
            );
        }
    }
}
