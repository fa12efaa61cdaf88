//! Influence through the fine-tuned blocks: scores against a dense solve in f64, shares, the head as a special case, and the
//! command on the shipped digits.

use crate::command_line::{refused, run};
use crate::network::small_network::{examples, images, labels, model, model_of};
use crate::parquet_table::{batches, numbers};
use ascribe::derivative::head::SoftmaxHead;
use ascribe::derivative::network::{
    Beside, Curvature, DeviceExamples, DeviceNetwork, Examples, Keeping, Network, Way,
};
use ascribe::influence::{
    FeatureSet, FineTunedPart, Grouping, NetworkImages, NetworkJob, NetworkOptions, Progress,
    RankError, RankJob, RankOptions, RankSummary, read_helpful_shares, read_rankings,
};
use ascribe::model::{Blocks, ResNet};
use ascribe::operator::{Damped, LinearOperator, NetworkCurvature, Vectors};
use ascribe::solve::{Cg, Method, Outcome, Report, Settings, Solver};
use candle_core::{DType, Device, Tensor};
use ndarray::{Array2, Axis};
use ndarray_linalg::SolveH;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub(crate) const TRAIN: usize = 70;
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

pub(crate) struct Problem {
    model: ResNet,
    blocks: Blocks,
    train: Examples,
    test: Examples,
}

pub(crate) fn problem(blocks: Blocks) -> Problem {
    problem_of(model(), blocks)
}

fn problem_of(model: ResNet, blocks: Blocks) -> Problem {
    Problem {
        train: examples(&model, blocks, 0.4, TRAIN),
        test: examples(&model, blocks, 2.9, QUERIES),
        model,
        blocks,
    }
}

pub(crate) fn options(method: Method, curvature: Curvature) -> NetworkOptions {
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
        query_groups: None,
        groups_only: false,
        train_groups: None,
        scores: false,
        shares: false,
        query_rank: None,
        memory: 1 << 30,
        record_every: Duration::from_secs(5),
    }
}

impl Problem {
    fn network(&self) -> Network {
        Network::new(&self.model, self.blocks, &self.train).unwrap()
    }

    /// Runs `options`; scores `[query, train]` come from the rankings, which keep all images.
    fn run(&self, options: NetworkOptions, folder: &Path) -> (Array2<f64>, RankSummary) {
        let summary = self.run_into(options, folder).unwrap();
        (ranked(folder), summary)
    }

    pub(crate) fn run_into(
        &self,
        options: NetworkOptions,
        folder: &Path,
    ) -> ascribe::Result<RankSummary> {
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
            classes: &[],
            digests: BTreeMap::new(),
        };
        job.run(folder, &mut Silent)
    }

    /// Written out and solved by LAPACK.
    pub(crate) fn oracle(&self, curvature: Curvature) -> Array2<f64> {
        let network = self.network();
        let operator = NetworkCurvature::new(&network, &self.train, curvature, L2, 0).unwrap();
        let mut matrix = operator.dense(DType::F64).unwrap().to_array().unwrap();
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

/// A run that stopped after its last queries is there for the same images, and for no others.
#[test]
fn what_was_scored_for_other_images_is_not_taken_up() {
    let same = problem(Blocks::Last(1));
    let [mut train, mut test] = [(); 2].map(|()| problem(Blocks::Last(1)));
    train.train = examples(&train.model, train.blocks, 0.5, TRAIN);
    test.test = examples(&test.model, test.blocks, 3.0, QUERIES);
    for (other, expected) in [(&same, QUERIES), (&train, 0), (&test, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(Method::Direct, Curvature::GaussNewton);
        options.record_every = Duration::ZERO;
        // No file can be written where a folder stands.
        let in_the_way = folder.path().join("rankings.parquet");
        std::fs::create_dir(&in_the_way).unwrap();
        same.run_into(options.clone(), folder.path()).unwrap_err();
        std::fs::remove_dir(&in_the_way).unwrap();
        let summary = other.run_into(options, folder.path()).unwrap();
        assert_eq!(summary.resumed, expected);
    }
}

#[test]
fn scores_are_those_of_a_dense_solve() {
    let problem = problem(Blocks::Last(1));
    let expected = problem.oracle(Curvature::GaussNewton);
    // With and without room for root gradients.
    let methods = [Method::Auto, Method::Cg, Method::Direct];
    for (method, memory) in methods
        .map(|method| [(method, 1 << 30), (method, 0)])
        .as_flattened()
    {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(*method, Curvature::GaussNewton);
        options.memory = *memory;
        let (found, summary) = problem.run(options, folder.path());
        assert!(summary.solves[0].first_failure().is_none(), "{method:?}");
        assert_close(&found, &expected, 1e-9);
        // Few images are solved directly where their root gradients fit.
        let direct = match method {
            Method::Auto => *memory > 0,
            method => *method == Method::Direct,
        };
        let rows = summary.notes.contains_key("curvature_rows");
        assert_eq!(rows, direct, "{method:?} {memory}");
    }
}

/// Images that are nearly equal have nearly dependent rows: with next to no damping, f32 leaves their matrix without a factor.
#[test]
fn auto_goes_on_where_rounding_leaves_no_factor() {
    let mut problem = problem_of(model().to_dtype(DType::F32).unwrap(), Blocks::Last(1));
    let image = images(0.4, 1).repeat((TRAIN, 1, 1, 1)).unwrap();
    let images = (image + (images(0.7, TRAIN) * 1e-5).unwrap()).unwrap();
    let (of, keeping) = ((&problem.model, problem.blocks), Keeping::default());
    problem.train = Examples::of_images(of, &images, &labels(TRAIN), &keeping).unwrap();
    let mut options = options(Method::Direct, Curvature::GaussNewton);
    (options.l2, options.damping, options.solver.iterations) = (0.0, 1e-18, 5);
    let network = problem.network();
    let curvature = network.curvature(&problem.train, &options, 0.0).unwrap();
    let damped = Damped::new(&*curvature, options.damping).unwrap();
    let direct = options.solver.solver(network.dtype()).prepare(&damped);
    assert!(direct.err().unwrap().to_string().starts_with("--damping: "));

    options.solver.method = Method::Auto;
    let folder = tempfile::tempdir().unwrap();
    let (scores, summary) = problem.run(options, folder.path());
    assert!(scores.iter().all(|score| score.is_finite()));
    assert!(summary.notes.contains_key("low_rank"));
    assert_eq!(summary.method, Method::Cg);
}

#[test]
fn auto_is_direct_where_that_is_sooner_done() {
    let problem = problem(Blocks::Last(1));
    let network = problem.network();
    let auto = options(Method::Auto, Curvature::GaussNewton);
    let hessian = options(Method::Auto, Curvature::Hessian);
    let mut little = auto.clone();
    little.memory = 1 << 10;
    for (options, counts, expected) in [
        (&auto, (TRAIN, QUERIES), Method::Direct),
        // The matrix between the rows of all images grows with their square, and those of more have no room.
        (&auto, (4_000, 1), Method::Cg),
        (&auto, (1_000_000, 1_000_000), Method::Cg),
        (&little, (TRAIN, QUERIES), Method::Cg),
        (&hessian, (TRAIN, QUERIES), Method::Cg),
    ] {
        let found = network.auto_method(options, counts);
        assert_eq!(found, expected, "{counts:?}");
    }
    // Root gradients of some images are made anew, where there is room for the matrix and two passes.
    let wider = problem_of(model_of("cifar-resnet8-w4"), Blocks::Last(1));
    let network = wider.network();
    let image = network.linearisation_bytes(Beside::RootGradients);
    let mut some = auto.clone();
    // Half is kept of what a query, a product and an image leave.
    let least = 10 * 8 * network.size()
        + network.product_bytes()
        + network.image_bytes_beside(Beside::Gradients);
    some.memory = (least + 2 * (8 * 300 * 300 + 130 * image)) as u64;
    assert!(network.pass_images_beside(Beside::RootGradients) == 64 && network.size() > 600);
    for (images, expected) in [(150, Method::Direct), (300, Method::Cg)] {
        let found = network.auto_method(&some, (images, 10_000));
        assert_eq!(found, expected, "{images}");
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
    for method in [Method::Cg, Method::Lissa, Method::Astra, Method::Ekfac] {
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
            classes: &[],
            digests: BTreeMap::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        let error = job
            .run(folder.path(), &mut Silent)
            .err()
            .unwrap()
            .to_string();
        let expected = match method {
            Method::Ekfac => "--damping: an eigenvalue of the curvature's Kronecker form is ",
            _ => "--damping: 0 without an L2 term leaves a singular curvature: its 140 gradients",
        };
        assert!(error.starts_with(expected), "{error}");
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
fn astra_solves_through_the_blocks_and_says_how_far_it_came() {
    let problem = problem(Blocks::Last(1));
    let expected = problem.oracle(Curvature::GaussNewton);
    let mut options = options(Method::Astra, Curvature::GaussNewton);
    options.solver.tolerance = Some(1e-6);
    options.solver.steps = 3000;
    let folder = tempfile::tempdir().unwrap();
    let (found, summary) = problem.run(options.clone(), folder.path());
    assert!(summary.solves[0].first_failure().is_none());
    assert_close(&found, &expected, 1e-4);
    // The low rank has room in what the run may take.
    let largest = summary.notes["largest preconditioned eigenvalue"];
    assert!(largest < 2.0, "{largest}");
    // Batches of a third of the images leave some scatter, of which the outcome tells.
    options.solver.batch_size = Some(24);
    options.solver.steps = 400;
    let folder = tempfile::tempdir().unwrap();
    let (found, summary) = problem.run(options, folder.path());
    let (_, report) = summary.solves[0].first_failure().unwrap();
    assert_eq!(report.outcome, ascribe::solve::Outcome::LimitReached);
    assert!(report.residual < 0.5, "{report:?}");
    assert_close(&found, &expected, 0.3);
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
    let (_, summary) = problem.run(little.clone(), folder.path());
    assert!(summary.solves[0].first_failure().is_none());
    assert_eq!(summary.notes["missing_damping"], 0.0);
    // The paper's estimator is of the data term alone; what is said of the damped Hessian is not.
    let folder = tempfile::tempdir().unwrap();
    little.solver.method = Method::Pinv;
    let (_, undamped) = problem.run(little, folder.path());
    let smallest = |summary: &RankSummary| summary.notes["smallest_eigenvalue"];
    assert!((smallest(&undamped) - smallest(&summary)).abs() < 1e-9);
}

#[test]
fn shares_of_head_and_blocks_add_up_to_the_scores() {
    let problem = problem(Blocks::Last(2));
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(Method::Cg, Curvature::GaussNewton);
    options.shares = true;
    let (found, _) = problem.run(options, folder.path());
    assert_close(&found, &problem.oracle(Curvature::GaussNewton), 1e-9);
    let file = folder.path().join("shares.parquet");
    let schema = batches(&file)[0].schema();
    let names: Vec<&str> = (schema.fields().iter())
        .map(|field| &field.name()[..])
        .collect();
    let blocks = ["layer2.0", "layer3.0", "head"];
    assert_eq!(names, [&["query", "rank", "train"], &blocks[..]].concat());
    let (queries, images) = (numbers(&file, "query"), numbers(&file, "train"));
    let shares = blocks.map(|block| numbers(&file, block));
    assert_eq!(queries.len(), QUERIES * TRAIN);
    for (row, (query, train)) in queries.iter().zip(&images).enumerate() {
        let parts = shares.each_ref().map(|share| share[row]);
        let score = found[[*query as usize, *train as usize]];
        assert!((parts.iter().sum::<f64>() - score).abs() < 1e-12);
        assert!(parts.iter().all(|part| *part != 0.0));
    }
}

impl Problem {
    /// Runs `options` by graphs of tensors, here on the processor.
    pub(crate) fn run_on_device(
        &self,
        options: NetworkOptions,
        folder: &Path,
    ) -> ascribe::Result<RankSummary> {
        let examples = |phase, count| {
            let of = (&self.model, self.blocks, &Device::Cpu);
            let keeping = Keeping::default();
            DeviceExamples::of_images(of, &images(phase, count), &labels(count), &keeping).unwrap()
        };
        let (train, test): (Vec<usize>, Vec<usize>) =
            ((0..TRAIN).collect(), (0..QUERIES).collect());
        let sides = [examples(0.4, TRAIN), examples(2.9, QUERIES)];
        let network = DeviceNetwork::new(&self.model, self.blocks, &sides[0]).unwrap();
        let job = NetworkJob {
            network: &network,
            train: NetworkImages {
                examples: &sides[0],
                ids: &train,
            },
            test: NetworkImages {
                examples: &sides[1],
                ids: &test,
            },
            options,
            classes: &[],
            digests: BTreeMap::new(),
        };
        job.run(folder, &mut Silent)
    }
}

#[test]
fn graphs_of_tensors_give_the_same_scores() {
    let problem = problem(Blocks::Last(1));
    for (method, curvature, damping) in [
        (Method::Cg, Curvature::GaussNewton, DAMPING),
        (Method::Cg, Curvature::Hessian, 1.0),
        (Method::Identity, Curvature::GaussNewton, DAMPING),
        (Method::Direct, Curvature::GaussNewton, DAMPING),
        (Method::Ekfac, Curvature::GaussNewton, DAMPING),
        (Method::Ekfac, Curvature::Hessian, 1.0),
        (Method::Lissa, Curvature::GaussNewton, DAMPING),
        (Method::Astra, Curvature::GaussNewton, DAMPING),
        (Method::Arnoldi, Curvature::GaussNewton, DAMPING),
        (Method::Pinv, Curvature::GaussNewton, DAMPING),
    ] {
        println!("{method} {curvature:?}");
        let mut options = options(method, curvature);
        (options.damping, options.shares) = (damping, true);
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (expected, here) = problem.run(options.clone(), folders[0].path());
        let there = problem.run_on_device(options, folders[1].path()).unwrap();
        assert_close(&ranked(folders[1].path()), &expected, 1e-8);
        let shares = |folder: &tempfile::TempDir| {
            read_helpful_shares(&folder.path().join("shares.parquet")).unwrap()
        };
        assert_eq!(shares(&folders[0]).len(), shares(&folders[1]).len());
        for ((one, here), (other, there)) in shares(&folders[0]).iter().zip(shares(&folders[1])) {
            assert!(*one == other && (here - there).abs() < 1e-8 * here.abs());
        }
        let reports = |summary: &RankSummary| summary.solves[0].reports.clone();
        assert_eq!(
            (reports(&here).len(), reports(&there).len()),
            (QUERIES, QUERIES)
        );
        for (here, there) in reports(&here).iter().zip(reports(&there)) {
            assert_eq!(here.outcome, there.outcome);
        }
        for (one, other) in [
            (here.train_loss, there.train_loss),
            (here.test_loss, there.test_loss),
            (here.test_accuracy, there.test_accuracy),
            (here.gradient_norm, there.gradient_norm),
        ] {
            assert!((one - other).abs() < 1e-10, "{one} {other}");
        }
        let smallest = |summary: &RankSummary| summary.notes.get("smallest_eigenvalue").copied();
        if let (Some(one), Some(other)) = (smallest(&here), smallest(&there)) {
            assert!((one - other).abs() < 1e-8, "{one} {other}");
        }
        assert_eq!(smallest(&here).is_some(), smallest(&there).is_some());
    }
}

#[test]
fn what_is_for_the_processor_alone_is_refused_on_a_device() {
    let problem = problem(Blocks::Last(1));
    let ranked = NetworkOptions {
        query_rank: Some(4),
        ..options(Method::Cg, Curvature::GaussNewton)
    };
    let folder = tempfile::tempdir().unwrap();
    let error = problem.run_on_device(ranked, folder.path()).err().unwrap();
    let error = error.to_string();
    for part in ["--query-rank", "leave it out", "not supported"] {
        assert!(error.contains(part), "{error}");
    }
}

/// A head that gives its first class e¹⁰⁰ times the odds: f32 has hardly a number for the gradients of the two queries of that class.
#[test]
fn queries_that_are_predicted_all_but_surely_are_told_of() {
    let model = model();
    let (weight, _) = model.head_parameters().unwrap();
    let bias = Tensor::new(&[100.0, 0.0, 0.0], &Device::Cpu).unwrap();
    let classes = model.classes().to_vec();
    let model = model.with_head(classes, weight, bias).unwrap();
    for (precision, groups_only, expected) in [
        (DType::F32, false, Some(("queries_too_faint", 2.0))),
        (DType::F32, true, Some(("groups_too_faint", 1.0))),
        (DType::F64, false, None),
    ] {
        let problem = problem_of(model.to_dtype(precision).unwrap(), Blocks::Last(1));
        let mut options = options(Method::Cg, Curvature::GaussNewton);
        options.solver.tolerance = None;
        (options.query_groups, options.groups_only) = (Some(Grouping::Class), groups_only);
        let folder = tempfile::tempdir().unwrap();
        let notes = problem.run_into(options, folder.path()).unwrap().notes;
        let told = notes.into_iter().find(|(name, _)| name.ends_with("faint"));
        assert_eq!(told, expected);
    }
}

/// A single query meets the images in other ways than several do.
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
        classes: &[],
        digests: BTreeMap::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    let summary = job.run(folder.path(), &mut Silent).unwrap();
    let layers = summary.scoring.unwrap().plan.layers;
    assert!(!layers.is_empty());
    let has_a_choice =
        |name: &str| name.contains("conv") || name.contains("downsample.0") || name == "fc";
    assert!(
        layers.iter().all(|layer| has_a_choice(&layer.layer)),
        "{layers:?}"
    );
    let found = ranked(folder.path());
    let row = |scores: &Array2<f64>| scores.row(3).to_owned().insert_axis(Axis(0));
    assert_close(&row(&found), &row(&expected), 1e-9);
}

/// In a network wide enough for it to be cheaper.
#[test]
fn low_rank_is_exact_at_full_rank_and_its_error_is_measured_below() {
    let problem = problem_of(model_of("cifar-resnet8-w4"), Blocks::Last(1));
    let with = |query_rank| {
        let folder = tempfile::tempdir().unwrap();
        let options = NetworkOptions {
            query_rank,
            ..options(Method::Cg, Curvature::GaussNewton)
        };
        let (scores, summary) = problem.run(options, folder.path());
        (scores, summary.scoring.unwrap())
    };
    let (exact, record) = with(None);
    assert!(record.rank_errors.is_empty());
    let multiplications = record.plan.multiplications;
    let (full, record) = with(Some(4096));
    let none = |error: &RankError| error.solution == 0.0 && error.scores == 0.0;
    assert!(record.rank_errors.len() == QUERIES && record.rank_errors.iter().all(none));
    assert_close(&full, &exact, 1e-12);
    let (low, record) = with(Some(1));
    let is_low = |way: Way| way == Way::LowRank(1);
    assert!(record.plan.layers.iter().any(|layer| is_low(layer.way)));
    assert!(record.plan.multiplications < multiplications);
    assert_eq!(record.rank_errors.len(), QUERIES);
    for (query, error) in record.rank_errors.iter().enumerate() {
        assert!(error.solution > 1e-3 && error.solution < 1.0, "{error:?}");
        // 64 of the 70 images, evenly spaced.
        let images = (0..64).map(|place| place * TRAIN / 64);
        let pairs = images.map(|image| (low[[query, image]], exact[[query, image]]));
        let (off, scale) = pairs.fold((0.0f64, 0.0f64), |(off, scale), (low, exact)| {
            (off.max((low - exact).abs()), scale.max(exact.abs()))
        });
        assert!(off > 1e-4 * scale, "{off} {scale}");
        assert!((error.scores - off / scale).abs() < 1e-6, "{error:?}");
    }
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
        device: Device::Cpu,
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

#[test]
fn the_command_ranks_through_the_blocks_of_a_transfer() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let digits = "--train builtin:digits-train --test builtin:digits-test";
    run(
        folder,
        &format!(
            "train {digits} --architecture cifar-resnet8-w4 --side 8 --images 200 --epochs 4 --out source"
        ),
    );
    run(
        folder,
        &format!(
            "transfer --source source {digits} --images 100 --blocks 1 --epochs 4 --out model"
        ),
    );
    let rank = "rank --model model --blocks 1 --queries 4 --damping 1e-1 --tolerance 1e-3";
    let planned = |solver: &str| {
        let words = format!("{rank} --solver {solver} --dry-run --out run");
        run(folder, &words)
    };
    let plan = planned("cg");
    assert!(plan.contains("4 queries, each a solve"), "{plan}");
    assert!(plan.contains("for 4 queries at once"), "{plan}");
    assert!(plan.contains("a low rank of up to 100 rows"), "{plan}");
    assert!(plan.contains(" GiB of memory beside the program"), "{plan}");
    let plan = planned("astra");
    assert!(plan.contains("astra divides by a low rank"), "{plan}");
    let plan = planned("direct");
    assert!(plan.contains("each a solve by direct"), "{plan}");
    assert!(plan.contains("of up to 900 gradients"), "{plan}");
    assert!(!plan.contains("iteration"), "{plan}");
    // 250 images on their way through the frozen layers are 1,664 numbers each.
    let memory = |words: &str| {
        let all = "--query-groups all --groups-only --solver identity --damping 1e-1";
        let rank = format!("rank --model model --blocks 1 {all} {words}");
        let plan = run(folder, &format!("{rank} --dry-run --json --out run"));
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        plan["memory_bytes"].as_u64().unwrap()
    };
    let usual = memory("");
    assert!(usual >= 250 * 1664 * 4);
    for gib in [0.0008, 0.003] {
        let planned = memory(&format!("--memory {gib}")) as f64;
        assert!(planned < gib * f64::from(1 << 30), "{gib}: {planned}");
    }
    run(
        folder,
        &format!("{rank} --top 7 --shares --scores --out run"),
    );
    let rankings = read_rankings(&folder.join("run/rankings.parquet")).unwrap();
    assert_eq!(rankings.len(), 4);
    assert!(rankings.iter().all(|query| query.helpful.len() == 7));
    for file in ["shares.parquet", "scores.npy", "solves.parquet", "run.json"] {
        assert!(folder.join("run").join(file).exists(), "{file}");
    }
    run(folder, &format!("{rank} --solver ekfac --out quick"));
    let record = std::fs::read_to_string(folder.join("quick/run.json")).unwrap();
    for note in ["curvature_gradients", "curvature_share", "\"seed\""] {
        assert!(record.contains(note), "{note}");
    }
    for (extra, expected) in [
        ("--certify 5", "--certify: is for the head alone"),
        ("--damping-path", "--damping-path: is for the head alone"),
        ("--queries 0", "--queries: 0 is not between 1 and"),
        ("--query-rank 0", "--query-rank: 0 leaves nothing"),
        ("--blocks 9", "--blocks: 9 blocks asked for"),
        #[cfg(not(feature = "cuda"))]
        ("--device cuda", "--device: cuda:0: this ascribe was built"),
    ] {
        let rank = match extra {
            "--queries 0" => rank.replace("--queries 4", ""),
            "--blocks 9" => rank.replace("--blocks 1", ""),
            _ => rank.to_owned(),
        };
        let message = refused(folder, &format!("{rank} {extra} --out refused"));
        assert!(message.contains(expected), "{message}");
    }
    for (option, expected) in [
        ("--shares", "--shares: needs --blocks 1 or more"),
        ("--query-rank 4", "--query-rank: needs --blocks"),
    ] {
        let words = format!("rank --model model {option} --out refused");
        let message = refused(folder, &words);
        assert!(message.contains(expected), "{message}");
    }
}
