//! The curvature through the fine-tuned blocks as an operator: mean, L2 term, batches, kept passes, indefiniteness.

use crate::network::small_network::{examples, images, labels, model, numbers};
use ascribe::derivative::network::{
    Beside, Curvature, DeviceExamples, DeviceNetwork, Examples, Keeping, Network,
};
use ascribe::model::Blocks;
use ascribe::operator::{
    Damped, DeviceCurvature, LinearOperator, NetworkCurvature, Structure, Vectors,
};
use ascribe::solve::{Cg, Lissa, Outcome, Solver, smallest_eigenvalue};
use candle_core::{DType, Device};

const IMAGES: usize = 70;
const BLOCKS: Blocks = Blocks::Last(1);

struct Problem {
    examples: Examples,
    network: Network,
}

/// More images than one pass takes.
fn problem() -> Problem {
    problem_of(IMAGES)
}

fn problem_of(images: usize) -> Problem {
    let model = model();
    let examples = examples(&model, BLOCKS, 0.4, images);
    let network = Network::new(&model, BLOCKS, &examples).unwrap();
    Problem { examples, network }
}

impl Problem {
    fn operator(&self, curvature: Curvature, l2: f64, memory: u64) -> NetworkCurvature<'_> {
        NetworkCurvature::new(&self.network, &self.examples, curvature, l2, memory).unwrap()
    }

    fn vectors(&self, count: usize) -> Vectors {
        Vectors::new(numbers(0.3, &[count, self.network.size()])).unwrap()
    }
}

fn values(vectors: &Vectors) -> Vec<f64> {
    vectors.tensor().flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= tolerance * largest,
            "{found}, {expected}"
        );
    }
}

/// Nothing, one pass of two, and everything.
#[test]
fn what_is_kept_and_how_vectors_are_blocked_changes_nothing() {
    let problem = problem();
    assert!(problem.network.pass_images() < IMAGES);
    for (curvature, beside, tolerance) in [
        (Curvature::Hessian, Beside::Gradients, 0.0),
        // Root gradients are kept where those of all images fit, and sum in another order than tangents.
        (Curvature::GaussNewton, Beside::Nothing, 1e-13),
    ] {
        let pass = problem.network.linearisation_bytes(beside) * problem.network.pass_images();
        let [nothing, one, all] =
            [0, pass as u64, u64::MAX].map(|memory| problem.operator(curvature, 0.1, memory));
        // No more than the rows of a root: three classes have two.
        let vectors = problem.vectors(2);
        let expected = values(&nothing.apply(&vectors).unwrap());
        for (operator, kept) in [(&nothing, 0), (&one, 1), (&all, 2)] {
            let found = values(&operator.apply(&vectors).unwrap());
            assert_eq!(operator.kept_passes(), kept);
            assert_close(&found, &expected, tolerance);
            assert_eq!(values(&operator.apply(&vectors).unwrap()), found);
            let single = operator.apply(&vectors.narrow(1..2).unwrap()).unwrap();
            let place = problem.network.size()..2 * problem.network.size();
            assert_close(&values(&single), &expected[place], tolerance);
        }
        // More of them have root gradients made for them.
        let more = problem.vectors(5);
        let [expected, found] = [&all, &one].map(|it| values(&it.apply(&more).unwrap()));
        assert_close(&found, &expected, tolerance);
        assert_eq!(one.kept_passes(), 1);
    }
}

/// Of ten passes of 16 images one, seven or, then three larger ones, all stay for solves by rows.
#[test]
fn root_gradients_that_do_not_stay_are_made_anew() {
    const MANY: usize = 150;
    let problem = problem_of(MANY);
    let pass = (problem.network).linearisation_bytes(Beside::RootGradients)
        * problem.network.pass_images_beside(Beside::RootGradients);
    // Three classes: two rows an image, and the matrix between them.
    let matrix = 8 * (2 * MANY) * (2 * MANY);
    let vectors = problem.vectors(2);
    let operator = |passes: usize| {
        let memory = (matrix + passes * pass) as u64;
        problem.operator(Curvature::GaussNewton, 0.1, memory)
    };
    let whole = operator(3);
    let root = whole.root().unwrap().unwrap();
    let gram = root.gram().unwrap();
    let products = root.products(vectors.tensor()).unwrap();
    let sums = Vectors::new(root.sums(&products).unwrap()).unwrap();
    let products = Vectors::new(products).unwrap();
    assert_eq!((root.count(), whole.kept_passes()), (2 * MANY, 3));
    // Without room for anything nothing stays where solves do not go by rows.
    let none = problem.operator(Curvature::GaussNewton, 0.1, 0);
    for (operator, kept) in [
        (operator(0).solved_by_rows(), 1),
        (operator(2).solved_by_rows(), 7),
        (operator(3).solved_by_rows(), 3),
        (none, 0),
    ] {
        let root = operator.root().unwrap().unwrap();
        let found = root.gram().unwrap();
        for column in 0..2 * MANY {
            for row in column..2 * MANY {
                let (found, expected) = (found[(row, column)], gram[(row, column)]);
                assert!(
                    (found - expected).abs() < 1e-13 * gram[(0, 0)],
                    "{found} {expected}"
                );
            }
        }
        let found = Vectors::new(root.products(vectors.tensor()).unwrap()).unwrap();
        assert_close(&values(&found), &values(&products), 1e-13);
        let found = Vectors::new(root.sums(products.tensor()).unwrap()).unwrap();
        assert_close(&values(&found), &values(&sums), 1e-13);
        assert_eq!(operator.kept_passes(), kept);
        // Products with few vectors and with many.
        for vectors in [problem.vectors(1), problem.vectors(5)] {
            let [found, expected] = [&operator, &whole].map(|it| it.apply(&vectors).unwrap());
            assert_close(&values(&found), &values(&expected), 1e-13);
        }
    }
}

#[test]
fn it_is_a_mean_with_the_l2_term_and_batches_are_means_of_theirs() {
    let problem = problem();
    let vectors = problem.vectors(2);
    for curvature in [Curvature::Hessian, Curvature::GaussNewton] {
        let whole = problem.operator(curvature, 0.0, 0);
        let with_l2 = values(
            &problem
                .operator(curvature, 0.25, 0)
                .apply(&vectors)
                .unwrap(),
        );
        let sum = (whole.apply(&vectors).unwrap()).add_scaled(&[0.25; 2], &vectors);
        assert_close(&with_l2, &values(&sum.unwrap()), 1e-14);

        // Two batches make up the whole.
        let positions: Vec<u32> = (0..IMAGES as u32).collect();
        let (left, right) = positions.split_at(21);
        let part = |positions: &[u32]| {
            let batch = whole.on_images(positions).unwrap();
            assert_eq!(batch.image_count(), positions.len());
            batch.apply(&vectors).unwrap()
        };
        let share = |count: usize| [count as f64 / IMAGES as f64; 2];
        let sum = (part(left).scaled(&share(21)).unwrap())
            .add_scaled(&share(IMAGES - 21), &part(right))
            .unwrap();
        assert_close(
            &values(&sum),
            &values(&whole.apply(&vectors).unwrap()),
            1e-12,
        );
        assert!(whole.on_images(&[IMAGES as u32]).is_err() && whole.on_images(&[]).is_err());
        // A batch of a batch counts within the batch.
        let outer = whole.on_images(right).unwrap();
        let inner = outer.on_images(&[0, 3]).unwrap();
        let direct = whole.on_images(&[21, 24]).unwrap();
        assert_eq!(
            values(&inner.apply(&vectors).unwrap()),
            values(&direct.apply(&vectors).unwrap())
        );
    }
}

#[test]
fn the_dense_form_is_symmetric_and_has_the_diagonal_that_is_computed_apart() {
    let problem = problem();
    let operator = problem.operator(Curvature::GaussNewton, 0.01, u64::MAX);
    assert_eq!(operator.structure(), Structure::PositiveDefinite);
    let dense = operator.dense(DType::F64).unwrap().to_array().unwrap();
    let diagonal: Vec<f64> = dense.diag().to_vec();
    assert_close(&operator.diagonal().unwrap(), &diagonal, 1e-12);
    let vectors = problem.vectors(1);
    let expected = dense.dot(&ndarray::Array1::from(values(&vectors)));
    assert_close(
        &values(&operator.apply(&vectors).unwrap()),
        &expected.to_vec(),
        1e-12,
    );

    let hessian = problem.operator(Curvature::Hessian, 0.0, u64::MAX);
    let message = hessian.diagonal().unwrap_err().to_string();
    assert!(message.contains("gauss-newton"), "{message}");
}

#[test]
fn an_indefinite_hessian_is_reported_and_the_advised_damping_suffices() {
    let problem = problem();
    let hessian = problem.operator(Curvature::Hessian, 0.0, u64::MAX);
    assert_eq!(hessian.structure(), Structure::Symmetric);
    let smallest = smallest_eigenvalue(&hessian, 5).unwrap();
    assert!(smallest.is_negative(), "{smallest:?}");

    let cg = Cg {
        tolerance: 1e-6,
        iterations: 2000,
        preconditioned: false,
    };
    let right = problem.vectors(1);
    let solve = |damping: f64| {
        let damped = Damped::new(&hessian, damping).unwrap();
        let solution = cg.prepare(&damped).unwrap().solve(&right).unwrap();
        solution.reports[0]
    };
    assert_eq!(solve(0.0).outcome, Outcome::NegativeCurvature);
    let report = solve(smallest.missing_damping());
    assert_eq!(report.outcome, Outcome::Converged, "{report:?}");

    let gauss_newton = problem.operator(Curvature::GaussNewton, 0.0, u64::MAX);
    assert_eq!(gauss_newton.structure(), Structure::PositiveSemidefinite);
    assert!(!smallest_eigenvalue(&gauss_newton, 5).unwrap().is_negative());
}

#[test]
fn solvers_agree_on_the_gauss_newton_matrix() {
    let problem = problem();
    let operator = problem.operator(Curvature::GaussNewton, 0.0, u64::MAX);
    let damped = Damped::new(&operator, 0.05).unwrap();
    let right = problem.vectors(2);
    let cg = |preconditioned: bool| {
        let cg = Cg {
            tolerance: 1e-9,
            iterations: 2000,
            preconditioned,
        };
        let solution = cg.prepare(&damped).unwrap().solve(&right).unwrap();
        assert_eq!(solution.reports[1].outcome, Outcome::Converged);
        values(&solution.value)
    };
    let plain = cg(false);
    assert_close(&cg(true), &plain, 1e-7);
    let lissa = Lissa {
        tolerance: 1e-8,
        ..Lissa::default()
    };
    let solution = lissa.prepare(&damped).unwrap().solve(&right).unwrap();
    assert_eq!(solution.reports[0].outcome, Outcome::Converged);
    assert_close(&values(&solution.value), &plain, 1e-6);
    // Batches of images: the same solution but for their scatter.
    let lissa = Lissa {
        batch: Some(20),
        depth: 400,
        ..Lissa::default()
    };
    let solution = lissa.prepare(&damped).unwrap().solve(&right).unwrap();
    assert_close(&values(&solution.value), &plain, 0.5);
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let problem = problem();
    for l2 in [-1.0, f64::NAN] {
        let (network, examples) = (&problem.network, &problem.examples);
        let refused = NetworkCurvature::new(network, examples, Curvature::Hessian, l2, 0);
        assert!(refused.err().unwrap().to_string().starts_with("--l2:"));
    }
    let short = Vectors::new(numbers(0.1, &[1, 4])).unwrap();
    let operator = problem.operator(Curvature::Hessian, 0.0, 0);
    assert!(
        operator
            .apply(&short)
            .unwrap_err()
            .to_string()
            .contains("found 4")
    );
}

/// By graphs of tensors, here on the processor.
#[test]
fn the_operator_of_a_device_is_the_same_matrix() {
    let problem = problem();
    let (model, keeping) = (model(), Keeping::default());
    let of = (&model, BLOCKS, &Device::Cpu);
    let there =
        DeviceExamples::of_images(of, &images(0.4, IMAGES), &labels(IMAGES), &keeping).unwrap();
    let network = DeviceNetwork::new(&model, BLOCKS, &there).unwrap();
    let vectors = problem.vectors(3);
    let some: Vec<u32> = (0..IMAGES as u32).step_by(3).collect();
    for curvature in [Curvature::Hessian, Curvature::GaussNewton] {
        for l2 in [0.0, 0.25] {
            let here = problem.operator(curvature, l2, 0);
            let there = DeviceCurvature::new(&network, &there, curvature, l2).unwrap();
            assert_eq!(there.structure(), here.structure());
            assert_eq!(there.image_count(), IMAGES);
            let product =
                |operator: &dyn LinearOperator| values(&operator.apply(&vectors).unwrap());
            assert_close(&product(&there), &product(&here), 1e-10);
            let here = here.on_images(&some).unwrap();
            let batch = there.on_images(&some).unwrap();
            assert_close(&product(&*batch), &product(&*here), 1e-10);
            assert!(there.on_images(&[IMAGES as u32]).is_err() && there.on_images(&[]).is_err());
        }
    }
    assert!(DeviceCurvature::new(&network, &there, Curvature::Hessian, -1.0).is_err());
    let operator = DeviceCurvature::new(&network, &there, Curvature::Hessian, 0.0).unwrap();
    let short = Vectors::new(numbers(0.3, &[1, 7])).unwrap();
    assert!(operator.apply(&short).is_err());
    let error = operator.diagonal().unwrap_err().to_string();
    assert!(error.contains("choose a solver without it"), "{error}");
    let written_out = |operator: &dyn LinearOperator| -> Vec<f64> {
        let matrix = operator.dense(DType::F64).unwrap().to_array().unwrap();
        matrix.into_iter().collect()
    };
    let here = problem.operator(Curvature::Hessian, 0.0, 0);
    assert_close(&written_out(&operator), &written_out(&here), 1e-10);
}

/// The low rank that conjugate gradients divide by on a device: fewer products, and the same solutions.
#[test]
fn a_preconditioner_on_a_device_saves_products() {
    let (model, keeping, blocks) = (model(), Keeping::default(), Blocks::Last(2));
    let of = (&model, blocks, &Device::Cpu);
    let there =
        DeviceExamples::of_images(of, &images(0.4, IMAGES), &labels(IMAGES), &keeping).unwrap();
    let network = DeviceNetwork::new(&model, blocks, &there).unwrap();
    for curvature in [Curvature::GaussNewton, Curvature::Hessian] {
        let operator = DeviceCurvature::new(&network, &there, curvature, 1e-4).unwrap();
        let damping = match curvature {
            Curvature::GaussNewton => 1e-4,
            Curvature::Hessian => 1.0,
        };
        let damped = Damped::new(&operator, damping).unwrap();
        let right = network.example_gradients(&there, &[3, 8, 21]).unwrap();
        let right = Vectors::new(right).unwrap();
        let solve = |preconditioned| {
            let cg = Cg {
                tolerance: 1e-9,
                iterations: 5000,
                preconditioned,
            };
            let inverse = cg.prepare(&damped).unwrap();
            let solution = inverse.solve(&right).unwrap();
            let converged = |outcome| outcome == Outcome::Converged;
            assert!(
                solution
                    .reports
                    .iter()
                    .all(|report| converged(report.outcome))
            );
            (solution, inverse.notes())
        };
        let ((plain, _), (found, notes)) = (solve(false), solve(true));
        let rank = notes
            .iter()
            .find(|(name, _)| *name == "low_rank")
            .unwrap()
            .1;
        assert!(rank > 1.0 && rank <= IMAGES as f64, "{rank}");
        assert_close(&values(&found.value), &values(&plain.value), 1e-5);
        let saved = match curvature {
            Curvature::GaussNewton => 3 * found.products <= plain.products,
            Curvature::Hessian => found.products <= plain.products,
        };
        assert!(saved, "{} {}", found.products, plain.products);
    }
}
