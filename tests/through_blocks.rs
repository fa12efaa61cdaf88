//! Influence through the fine-tuned blocks: scores against a dense solve in f64, shares, the head as a special case, and the
//! command on the shipped digits.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use ascribe::derivative::head::SoftmaxHead;
use ascribe::derivative::network::{Curvature, Examples, Keeping, Network};
use ascribe::influence::{
    FeatureSet, NetworkImages, NetworkJob, NetworkOptions, Progress, RankJob, RankOptions,
    RankSummary, read_rankings,
};
use ascribe::model::{Blocks, Normalisation, ResNet};
use ascribe::operator::{Damped, LinearOperator, NetworkCurvature, Vectors};
use ascribe::solve::{Cg, Method, Outcome, Report, Settings, Solver};
use assert_cmd::cargo::CommandCargoExt;
use candle_core::{DType, Device, Tensor};
use ndarray::{Array2, Axis};
use ndarray_linalg::SolveH;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const TRAIN: usize = 70;
const QUERIES: usize = 5;
const L2: f64 = 1e-2;
const DAMPING: f64 = 1e-2;

struct Silent;

impl Progress for Silent {
    fn stage(&mut self, _: &'static str) -> ascribe::Result<()> {
        Ok(())
    }

    fn scores(&mut self, _: &str, _: usize, _: usize) {}
}

struct Problem {
    model: ResNet,
    blocks: Blocks,
    train: Examples,
    test: Examples,
}

fn numbers(phase: f64, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|i| (phase + 1.7 * i as f64 + 0.003 * ((i * i) % 7919) as f64).sin())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn labels(count: usize) -> Vec<usize> {
    (0..count).map(|i| (i * 7 + i / 5) % 3).collect()
}

fn images(phase: f64, count: usize) -> Tensor {
    ((numbers(phase, &[count, 3, 8, 8]) + 1.0).unwrap() * 0.5).unwrap()
}

fn problem(blocks: Blocks) -> Problem {
    let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
    let normalisation = Normalisation {
        mean: [0.5; 3],
        deviation: [0.25; 3],
    };
    let architecture = "cifar-resnet8-w1".parse().unwrap();
    let model = ResNet::initialise(architecture, classes, normalisation, 8, 3, &Device::Cpu)
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap();
    let examples = |phase, count| {
        let keeping = Keeping::default();
        let images = images(phase, count);
        Examples::of_images((&model, blocks), &images, &labels(count), &keeping).unwrap()
    };
    Problem {
        train: examples(0.4, TRAIN),
        test: examples(2.9, QUERIES),
        model: model.clone(),
        blocks,
    }
}

fn options(method: Method, curvature: Curvature) -> NetworkOptions {
    NetworkOptions {
        curvature,
        l2: L2,
        damping: DAMPING,
        solver: Settings {
            method,
            tolerance: Some(1e-12),
            ..Settings::default()
        },
        top: TRAIN,
        bottom: 0,
        scores: false,
        shares: false,
        memory: 1 << 30,
    }
}

impl Problem {
    fn network(&self) -> Network {
        Network::new(&self.model, self.blocks, &self.train).unwrap()
    }

    /// Runs `options` for the first `queries` queries; scores `[query, train]` come from the rankings, which keep all images.
    fn run(&self, options: NetworkOptions, folder: &Path) -> (Array2<f64>, RankSummary) {
        let (train, test): (Vec<usize>, Vec<usize>) =
            ((0..TRAIN).collect(), (0..QUERIES).collect());
        let network = self.network();
        let job = NetworkJob {
            network: &network,
            train: NetworkImages {
                examples: &self.train,
                ids: &train,
            },
            test: NetworkImages {
                examples: &self.test,
                ids: &test,
            },
            options,
            digests: BTreeMap::new(),
        };
        let summary = job.run(folder, &mut Silent).unwrap();
        (ranked(folder), summary)
    }

    /// Written out and solved by LAPACK.
    fn oracle(&self, curvature: Curvature) -> Array2<f64> {
        let network = self.network();
        let operator = NetworkCurvature::new(&network, &self.train, curvature, L2, 0).unwrap();
        let mut matrix = operator.dense(DType::F64).unwrap().to_array();
        (0..network.size()).for_each(|i| matrix[[i, i]] += DAMPING);
        let gradients = |examples: &Examples, count: usize| {
            let positions: Vec<u32> = (0..count as u32).collect();
            let rows = network.example_gradients(examples, &positions).unwrap();
            let values = rows.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            Array2::from_shape_vec((count, network.size()), values).unwrap()
        };
        let train = gradients(&self.train, TRAIN);
        let mut scores = Array2::zeros((QUERIES, TRAIN));
        for (row, query) in (gradients(&self.test, QUERIES).rows().into_iter()).enumerate() {
            let solution = matrix.solveh(&query.to_owned()).unwrap();
            scores
                .row_mut(row)
                .assign(&(train.dot(&solution) / TRAIN as f64));
        }
        scores
    }
}

fn ranked(folder: &Path) -> Array2<f64> {
    let mut scores = Array2::from_elem((QUERIES, TRAIN), f64::NAN);
    for query in read_rankings(&folder.join("rankings.parquet")).unwrap() {
        for image in query.helpful {
            scores[[query.query, image.train]] = image.score;
        }
    }
    scores
}

fn assert_close(found: &Array2<f64>, expected: &Array2<f64>, tolerance: f64) {
    let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs();
        assert!(error <= tolerance * largest, "{found} {expected}");
    }
}

#[test]
fn scores_are_those_of_a_dense_solve() {
    let problem = problem(Blocks::Last(1));
    let expected = problem.oracle(Curvature::GaussNewton);
    for method in [Method::Auto, Method::Cg, Method::Direct] {
        let folder = tempfile::tempdir().unwrap();
        let (found, summary) = problem.run(options(method, Curvature::GaussNewton), folder.path());
        assert!(summary.solves[0].first_failure().is_none(), "{method:?}");
        assert_close(&found, &expected, 1e-9);
    }
}

/// The low rank that conjugate gradients divide by changes how many products a solve takes, not where it ends.
#[test]
fn a_preconditioner_saves_products_and_changes_no_solution() {
    let problem = problem(Blocks::Last(2));
    let network = problem.network();
    let curvature = Curvature::GaussNewton;
    let operator = NetworkCurvature::new(&network, &problem.train, curvature, 1e-4, 1 << 30);
    let operator = operator.unwrap();
    let damped = Damped::new(&operator, 1e-4).unwrap();
    let queries: Vec<u32> = (0..QUERIES as u32).collect();
    let gradients = network.example_gradients(&problem.test, &queries).unwrap();
    let gradients = Vectors::new(gradients).unwrap();
    let solve = |preconditioned| {
        let cg = Cg {
            tolerance: 1e-9,
            iterations: 5000,
            preconditioned,
        };
        let inverse = cg.prepare(&damped).unwrap();
        let solution = inverse.solve(&gradients).unwrap();
        let converged = |report: &Report| report.outcome == Outcome::Converged;
        assert!(solution.reports.iter().all(converged));
        (solution, inverse.notes())
    };
    let ((plain, none), (found, notes)) = (solve(false), solve(true));
    assert!(none.is_empty());
    assert!(
        notes
            .iter()
            .any(|&(name, value)| name == "low_rank" && value > 1.0)
    );
    let difference = found
        .value
        .add_scaled(&[-1.0; QUERIES], &plain.value)
        .unwrap();
    let norms = plain.value.norms().unwrap();
    for (error, norm) in difference.norms().unwrap().iter().zip(norms) {
        assert!(error / norm < 1e-5, "{error} {norm}");
    }
    assert!(
        3 * found.products <= plain.products,
        "{} {}",
        found.products,
        plain.products
    );
}

/// A Gauss–Newton low rank serves the Hessian too, where that is definite.
#[test]
fn a_damped_hessian_is_solved_through_the_same_preconditioner() {
    let problem = problem(Blocks::Last(1));
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(Method::Cg, Curvature::Hessian);
    options.damping = 1.0;
    let (_, summary) = problem.run(options, folder.path());
    assert!(summary.solves[0].first_failure().is_none());
    assert!(summary.notes["low_rank"] > 0.0);
}

#[test]
fn no_damping_at_all_is_refused() {
    let problem = problem(Blocks::Last(1));
    for method in [Method::Cg, Method::Ekfac] {
        let mut options = options(method, Curvature::GaussNewton);
        (options.l2, options.damping) = (0.0, 0.0);
        let network = problem.network();
        let (train, test): (Vec<usize>, Vec<usize>) =
            ((0..TRAIN).collect(), (0..QUERIES).collect());
        let side = |examples, ids| NetworkImages { examples, ids };
        let job = NetworkJob {
            network: &network,
            train: side(&problem.train, &train),
            test: side(&problem.test, &test),
            options,
            digests: BTreeMap::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        let error = job
            .run(folder.path(), &mut Silent)
            .err()
            .unwrap()
            .to_string();
        assert!(error.starts_with("--damping"), "{error}");
    }
}

#[test]
fn lissa_and_arnoldi_come_to_the_same_with_enough_work() {
    let problem = problem(Blocks::Last(1));
    let expected = problem.oracle(Curvature::GaussNewton);
    for method in [Method::Lissa, Method::Arnoldi] {
        let mut options = options(method, Curvature::GaussNewton);
        options.solver.tolerance = Some(1e-6);
        options.solver.depth = 100_000;
        options.solver.rank = problem.network().size();
        let folder = tempfile::tempdir().unwrap();
        let (found, _) = problem.run(options, folder.path());
        assert_close(&found, &expected, 1e-3);
    }
}

#[test]
fn an_indefinite_hessian_says_so_and_what_damping_is_missing() {
    let problem = problem(Blocks::Last(1));
    let folder = tempfile::tempdir().unwrap();
    let mut little = options(Method::Cg, Curvature::Hessian);
    (little.l2, little.damping) = (0.0, 1e-6);
    let (_, summary) = problem.run(little.clone(), folder.path());
    assert!(summary.solves[0].first_failure().is_some());
    let missing = summary.notes["missing_damping"];
    assert!(missing > 0.0 && summary.notes["smallest_eigenvalue"] < 0.0);
    let folder = tempfile::tempdir().unwrap();
    little.damping += missing;
    let (_, summary) = problem.run(little, folder.path());
    assert!(summary.solves[0].first_failure().is_none());
    assert_eq!(summary.notes["missing_damping"], 0.0);
}

#[test]
fn shares_of_head_and_blocks_add_up_to_the_scores() {
    let problem = problem(Blocks::Last(2));
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(Method::Cg, Curvature::GaussNewton);
    options.shares = true;
    let (found, _) = problem.run(options, folder.path());
    assert_close(&found, &problem.oracle(Curvature::GaussNewton), 1e-9);
    let file = std::fs::File::open(folder.path().join("shares.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let mut rows = 0;
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let schema = batch.schema();
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| &field.name()[..])
            .collect();
        assert_eq!(
            names,
            ["query", "rank", "train", "layer2.0", "layer3.0", "head"]
        );
        let ids = |column: usize| batch.column(column).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let parts = (3..6).map(|c| batch.column(c).as_primitive::<Float64Type>().value(row));
            let parts: Vec<f64> = parts.collect();
            let (query, train) = (ids(0).value(row) as usize, ids(2).value(row) as usize);
            assert!((parts.iter().sum::<f64>() - found[[query, train]]).abs() < 1e-12);
            assert!(parts.iter().all(|part| *part != 0.0));
            rows += 1;
        }
    }
    assert_eq!(rows, QUERIES * TRAIN);
}

/// A single query goes by tangents, several by gradients written out.
#[test]
fn one_query_alone_scores_as_it_does_among_others() {
    let problem = problem(Blocks::Last(1));
    let expected = problem.oracle(Curvature::GaussNewton);
    let network = problem.network();
    let keeping = Keeping::default();
    let image = images(2.9, QUERIES).narrow(0, 3, 1).unwrap();
    let label = &labels(QUERIES)[3..4];
    let alone =
        Examples::of_images((&problem.model, problem.blocks), &image, label, &keeping).unwrap();
    let train: Vec<usize> = (0..TRAIN).collect();
    let job = NetworkJob {
        network: &network,
        train: NetworkImages {
            examples: &problem.train,
            ids: &train,
        },
        test: NetworkImages {
            examples: &alone,
            ids: &[3],
        },
        options: options(Method::Cg, Curvature::GaussNewton),
        digests: BTreeMap::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    job.run(folder.path(), &mut Silent).unwrap();
    let found = ranked(folder.path());
    let row = |scores: &Array2<f64>| scores.row(3).to_owned().insert_axis(Axis(0));
    assert_close(&row(&found), &row(&expected), 1e-9);
}

/// Without blocks the two ways, which share no derivative, agree.
#[test]
fn the_head_alone_is_what_the_closed_form_gives() {
    let problem = problem(Blocks::Last(0));
    let folder = tempfile::tempdir().unwrap();
    let (found, summary) = problem.run(options(Method::Cg, Curvature::GaussNewton), folder.path());
    let (weight, bias) = problem.model.head_parameters().unwrap();
    let head = SoftmaxHead::new(&weight, &bias).unwrap();
    let last = problem.model.head_segment();
    let features = |phase, count| {
        let mut pass = ascribe::model::Pass::evaluation();
        problem
            .model
            .prefix(last, &images(phase, count), &mut pass)
            .unwrap()
    };
    let (train, test) = (features(0.4, TRAIN).into(), features(2.9, QUERIES).into());
    let ids: Vec<usize> = (0..TRAIN).collect();
    let set = |features, labels, count| FeatureSet {
        features,
        labels,
        ids: &ids[..count],
    };
    let (train_labels, test_labels) = (labels(TRAIN), labels(QUERIES));
    let job = RankJob {
        train: set(&train, &train_labels, TRAIN),
        test: set(&test, &test_labels, QUERIES),
        head: &head,
        classes: Vec::new(),
        options: RankOptions {
            l2: L2,
            damping: DAMPING,
            precision: DType::F64,
            top: TRAIN,
            train_queries: false,
            ..RankOptions::default()
        },
        digests: BTreeMap::new(),
    };
    let closed = tempfile::tempdir().unwrap();
    let expected = job.run(closed.path(), &mut Silent).unwrap();
    assert_close(&found, &ranked(closed.path()), 1e-9);
    for (one, other) in [
        (summary.train_loss, expected.train_loss),
        (summary.test_accuracy, expected.test_accuracy),
        (summary.gradient_norm, expected.gradient_norm),
    ] {
        assert!((one - other).abs() < 1e-10, "{one} {other}");
    }
}

fn ascribe(folder: &Path, words: &str) -> std::process::Output {
    let mut command = Command::cargo_bin("ascribe").unwrap();
    let words = words.split_whitespace();
    command.args(words).current_dir(folder).output().unwrap()
}

#[test]
fn the_command_ranks_through_the_blocks_of_a_transfer() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &str| {
        let output = ascribe(folder.path(), words);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        (
            output.status.code(),
            message,
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let digits = "--train builtin:digits-train --test builtin:digits-test";
    let (code, message, _) = run(&format!(
        "train {digits} --architecture cifar-resnet8-w4 --side 8 --images 200 --epochs 4 --out source"
    ));
    assert_eq!(code, Some(0), "{message}");
    let (code, message, _) = run(&format!(
        "transfer --source source {digits} --images 100 --blocks 1 --epochs 4 --out model"
    ));
    assert_eq!(code, Some(0), "{message}");
    let rank = "rank --model model --blocks 1 --queries 4 --damping 1e-1 --tolerance 1e-3";
    let (code, message, plan) = run(&format!("{rank} --dry-run --out run"));
    assert_eq!(code, Some(0), "{message}");
    assert!(plan.contains("4 queries, each a solve"), "{plan}");
    assert!(plan.contains("a low rank of up to 100 rows"), "{plan}");
    let (code, message, _) = run(&format!("{rank} --top 7 --shares --scores --out run"));
    assert_eq!(code, Some(0), "{message}");
    let rankings = read_rankings(&folder.path().join("run/rankings.parquet")).unwrap();
    assert_eq!(rankings.len(), 4);
    assert!(rankings.iter().all(|query| query.helpful.len() == 7));
    for file in ["shares.parquet", "scores.npy", "solves.parquet", "run.json"] {
        assert!(folder.path().join("run").join(file).exists(), "{file}");
    }
    let (code, message, _) = run(&format!("{rank} --solver ekfac --out quick"));
    assert_eq!(code, Some(0), "{message}");
    let record = std::fs::read_to_string(folder.path().join("quick/run.json")).unwrap();
    for note in ["curvature_gradients", "curvature_share", "\"seed\""] {
        assert!(record.contains(note), "{note}");
    }
    for (extra, expected) in [
        ("--certify 5", "--certify: is for the head alone"),
        ("--damping-path", "--damping-path: is for the head alone"),
        ("--queries 0", "--queries: 0 is not between 1 and"),
        ("--blocks 9", "--blocks: 9 blocks asked for"),
    ] {
        let rank = match extra {
            "--queries 0" => rank.replace("--queries 4", ""),
            "--blocks 9" => rank.replace("--blocks 1", ""),
            _ => rank.to_owned(),
        };
        let (code, message, _) = run(&format!("{rank} {extra} --out refused"));
        assert_eq!(code, Some(1), "{extra}: {message}");
        assert!(message.contains(expected), "{message}");
    }
    let (code, message, _) = run("rank --model model --shares --out refused");
    assert_eq!(code, Some(1), "{message}");
    assert!(
        message.contains("--shares: needs --blocks 1 or more"),
        "{message}"
    );
}
