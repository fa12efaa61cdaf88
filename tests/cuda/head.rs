//! The head on a CUDA device against the processor and an f64 oracle.

use crate::command_line::run;
use crate::device;
use crate::run_record;
use ascribe::data::Rows;
use ascribe::derivative::head::{HeadCoordinates, SoftmaxHead};
use ascribe::influence::{
    BlockSizes, Diagonal, Examples, FeatureSet, Normalise, Provenance, Queries, ScoreMatrix,
    ScoreSink, Scoring, StoredGroups, TopRanks, read_rankings,
};
use ascribe::operator::{Damped, HeadHessian, LinearOperator, Vectors};
use ascribe::solve::{Cg, Direct, Ekfac, Identity, Outcome, Solver};
use candle_core::{DType, Device, Tensor};
use ndarray::{Array1, Array2, Axis};
use ndarray_npy::NpzWriter;
use std::fs::File;
use std::path::Path;

const DAMPING: f64 = 1e-3;
const CLASSES: usize = 4;
/// Spearman's correlation of rankings that are the same but for rounding.
pub(crate) const EQUAL: f64 = 0.9999;

/// Reproducible numbers in −1..1.
fn noise(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Features with a mean, classes apart, and labels.
fn set(count: usize, dimension: usize, seed: u64) -> (Array2<f64>, Vec<usize>) {
    let labels: Vec<usize> = (0..count)
        .map(|row| (row * 7 + row / 5) % CLASSES)
        .collect();
    let noise = noise(count * dimension, seed);
    let features = Array2::from_shape_fn((count, dimension), |(row, column)| {
        let class = ((labels[row] + 1) as f64 * (column as f64 + 0.5)).cos();
        0.5 + 0.6 * class / (1.0 + column as f64 / 20.0) + noise[row * dimension + column]
    });
    (features, labels)
}

fn tensor(array: &Array2<f64>) -> Tensor {
    let values: Vec<f64> = array.iter().copied().collect();
    Tensor::from_vec(values, array.dim(), &Device::Cpu).unwrap()
}

fn array(tensor: &Tensor) -> Array2<f64> {
    let shape = tensor.dims2().unwrap();
    let values = tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    Array2::from_shape_vec(shape, values.to_vec1::<f64>().unwrap()).unwrap()
}

pub(crate) fn distance(found: &Array2<f64>, expected: &Array2<f64>) -> f64 {
    let norm = |a: &Array2<f64>| a.mapv(|x| x * x).sum().sqrt();
    norm(&(found - expected)) / norm(expected)
}

/// A head, training images and queries of one problem, with diagonal blocks that are factorised in parts.
struct Problem {
    head: SoftmaxHead,
    train: (Array2<f64>, Vec<usize>),
    test: (Array2<f64>, Vec<usize>),
}

/// How the features of a problem come to their device.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Moved,
    Streamed,
}

impl Problem {
    fn new() -> Self {
        let dimension = 400;
        let head = noise(CLASSES * (dimension + 1), 5)
            .into_iter()
            .map(|w| 0.1 * w);
        let head = Array2::from_shape_vec((CLASSES, dimension + 1), head.collect()).unwrap();
        Self {
            head: SoftmaxHead::from_parameters(&tensor(&head)).unwrap(),
            train: set(500, dimension, 1),
            test: set(60, dimension, 2),
        }
    }

    fn examples(&self, test: bool, device: &Device, dtype: DType, way: Way) -> Examples {
        let (features, labels) = if test { &self.test } else { &self.train };
        let ids: Vec<usize> = (0..labels.len()).collect();
        let rows = Rows::from(tensor(features));
        let features = &match way {
            Way::Moved => rows.to_device(device).unwrap(),
            Way::Streamed => rows.streamed_to(device),
        };
        let set = FeatureSet {
            features,
            labels,
            ids: &ids,
        };
        Examples::new(&set, &self.head, dtype).unwrap()
    }
}

/// Both sides in the same axes, and the Hessian.
struct Sides {
    train: Examples,
    test: Examples,
    hessian: HeadHessian,
}

impl Sides {
    fn new(problem: &Problem, device: &Device, dtype: DType, way: Way) -> Self {
        let host = problem.examples(false, &Device::Cpu, DType::F64, Way::Moved);
        let coordinates = HeadCoordinates::of(host.inputs(), host.outputs()).unwrap();
        let side = |test| {
            let examples = problem.examples(test, device, dtype, way);
            examples.in_coordinates(&coordinates).unwrap()
        };
        let (train, test) = (side(false), side(true));
        let hessian =
            HeadHessian::in_coordinates(&coordinates, train.axes_inputs(), train.outputs(), 0.0);
        Self {
            hessian: hessian.unwrap(),
            train,
            test,
        }
    }

    fn damped(&self) -> Damped<'_> {
        Damped::new(&self.hessian, DAMPING).unwrap()
    }

    fn scores(&self, solver: &dyn Solver) -> Array2<f64> {
        let mut matrix = ScoreMatrix::default();
        self.score(solver, &self.test, &mut [&mut matrix]);
        matrix.scores
    }

    fn score(&self, solver: &dyn Solver, queries: &Examples, sinks: &mut [&mut dyn ScoreSink]) {
        let damped = self.damped();
        let scoring = Scoring {
            inverse: &*solver.prepare(&damped).unwrap(),
            training: &self.train,
            normalise: Normalise::None,
            blocks: BlockSizes {
                solved: 37,
                gradients: 64,
            },
            provenance: &Provenance::default(),
        };
        let queries = Queries {
            examples: queries,
            sinks,
        };
        let reports = scoring.by_queries(queries).unwrap();
        assert!(
            reports.iter().all(|report| report.outcome.is_success()),
            "{reports:?}"
        );
    }
}

fn right_hand_sides(size: usize, device: &Device, dtype: DType) -> Vectors {
    let values = Tensor::from_vec(noise(5 * size, 9), (5, size), &Device::Cpu).unwrap();
    let values = values.to_dtype(dtype).unwrap().to_device(device).unwrap();
    Vectors::new(values).unwrap()
}

fn cases() -> Vec<(DType, Way, f64)> {
    vec![
        (DType::F64, Way::Moved, 1e-12),
        (DType::F64, Way::Streamed, 1e-12),
        (DType::F32, Way::Moved, 2e-5),
        (DType::F32, Way::Streamed, 2e-5),
    ]
}

#[test]
fn products_matrices_and_diagonals_are_those_of_the_processor() {
    let problem = Problem::new();
    let host = Sides::new(&problem, &Device::Cpu, DType::F64, Way::Moved);
    let size = host.hessian.size();
    let vectors = |device: &Device, dtype| right_hand_sides(size, device, dtype);
    let product = host
        .damped()
        .apply(&vectors(&Device::Cpu, DType::F64))
        .unwrap();
    let matrix = host.damped().dense(DType::F64).unwrap().to_array().unwrap();
    for (dtype, way, tolerance) in cases() {
        let device = device();
        let found = Sides::new(&problem, &device, dtype, way);
        let damped = found.damped();
        assert!(damped.device().is_cuda());
        let applied = damped.apply(&vectors(&device, dtype)).unwrap();
        assert!(applied.tensor().device().is_cuda());
        let apart = distance(&array(applied.tensor()), &array(product.tensor()));
        assert!(apart < tolerance, "product, {dtype:?}: {apart:e}");
        let dense = damped.dense(dtype).unwrap().to_array().unwrap();
        let apart = distance(&dense, &matrix);
        assert!(apart < tolerance, "matrix, {dtype:?}: {apart:e}");
        let diagonals = |operator: &dyn LinearOperator| {
            let diagonal = operator.diagonal().unwrap();
            Array2::from_shape_vec((1, size), diagonal).unwrap()
        };
        let apart = distance(&diagonals(&damped), &diagonals(&host.damped()));
        assert!(apart < tolerance, "diagonal, {dtype:?}: {apart:e}");
        let block = |operator: &dyn LinearOperator| {
            let block = operator.principal_block(300).unwrap().unwrap();
            (block.positions, block.matrix.to_array().unwrap())
        };
        let (ours, expected) = (block(&damped), block(&host.damped()));
        assert_eq!(ours.0, expected.0);
        let apart = distance(&ours.1, &expected.1);
        assert!(apart < tolerance, "strong axes, {dtype:?}: {apart:e}");
    }
}

#[test]
fn solvers_give_the_solutions_of_the_processor() {
    let problem = Problem::new();
    let host = Sides::new(&problem, &Device::Cpu, DType::F64, Way::Moved);
    let size = host.hessian.size();
    let cg = |tolerance| Cg {
        tolerance,
        iterations: 500,
        preconditioned: true,
    };
    let plain = |tolerance| Cg {
        preconditioned: false,
        ..cg(tolerance)
    };
    for (dtype, way, _) in cases() {
        let (tolerance, near) = match dtype {
            DType::F64 => (1e-11, 1e-8),
            _ => (1e-5, 1e-2),
        };
        let solvers: [(&str, Box<dyn Solver>); 5] = [
            ("direct", Box::new(Direct)),
            ("cg", Box::new(cg(tolerance))),
            ("block cg", Box::new(plain(tolerance))),
            ("ekfac", Box::new(Ekfac)),
            ("identity", Box::new(Identity)),
        ];
        let device = device();
        let found = Sides::new(&problem, &device, dtype, way);
        for (name, solver) in solvers {
            let expected = host.damped();
            let expected = solver.prepare(&expected).unwrap();
            let expected = expected.solve(&right_hand_sides(size, &Device::Cpu, DType::F64));
            let expected = expected.unwrap();
            let damped = found.damped();
            let inverse = solver.prepare(&damped).unwrap();
            let solution = inverse
                .solve(&right_hand_sides(size, &device, dtype))
                .unwrap();
            assert!(solution.value.tensor().device().is_cuda());
            for report in &solution.reports {
                assert!(report.outcome.is_success(), "{name}, {dtype:?}: {report:?}");
            }
            let apart = distance(
                &array(solution.value.tensor()),
                &array(expected.value.tensor()),
            );
            assert!(apart < near, "{name}, {dtype:?}: {apart:e}");
        }
    }
}

#[test]
fn a_curvature_without_a_factor_is_refused() {
    let problem = Problem::new();
    let found = Sides::new(&problem, &device(), DType::F32, Way::Moved);
    // Four images and three outputs bend at most twelve of 1,203 directions.
    let few = found.hessian.on_images(&[0, 1, 2, 3]).unwrap();
    let message = Direct.prepare(&*few).err().unwrap().to_string();
    assert!(message.contains("not positive definite"), "{message}");
}

#[test]
fn scores_are_those_of_the_oracle() {
    let problem = Problem::new();
    let oracle = Sides::new(&problem, &Device::Cpu, DType::F64, Way::Moved).scores(&Direct);
    for (dtype, way, _) in cases() {
        let found = Sides::new(&problem, &device(), dtype, way).scores(&Direct);
        let apart = distance(&found, &oracle);
        let near = if dtype == DType::F64 { 1e-10 } else { 1e-3 };
        assert!(apart < near, "{dtype:?}: {apart:e}");
    }
}

/// Rankings alone, for which the device chooses, beside rankings of all scores; every training image is there twice, so that of
/// equal scores the one of the first image is to come first.
#[test]
fn ranks_chosen_on_the_device_are_those_of_all_scores() {
    let mut problem = Problem::new();
    let (features, labels) = &problem.train;
    let twice = ndarray::concatenate(Axis(0), &[features.view(), features.view()]).unwrap();
    problem.train = (twice, [labels.clone(), labels.clone()].concat());
    for (dtype, way, _) in cases() {
        let sides = Sides::new(&problem, &device(), dtype, way);
        for queries in [&sides.test, &sides.train] {
            let mut alone = (TopRanks::new(20, 7), Diagonal::default());
            sides.score(&Direct, queries, &mut [&mut alone.0, &mut alone.1]);
            let mut beside = (TopRanks::new(20, 7), Diagonal::default());
            let mut matrix = ScoreMatrix::default();
            let sinks: &mut [&mut dyn ScoreSink] = &mut [&mut beside.0, &mut beside.1, &mut matrix];
            sides.score(&Direct, queries, sinks);
            for query in 0..queries.count() {
                assert_eq!(alone.0.helpful(query), beside.0.helpful(query), "{dtype:?}");
                assert_eq!(alone.0.harmful(query), beside.0.harmful(query), "{dtype:?}");
            }
            assert_eq!(alone.1.values, beside.1.values);
            assert_eq!(
                alone.0.helpful(0)[0].1,
                matrix
                    .scores
                    .row(0)
                    .iter()
                    .copied()
                    .fold(f64::MIN, f64::max)
            );
        }
    }
}

fn write(path: &Path, (features, labels): &(Array2<f64>, Vec<usize>)) {
    let mut file = NpzWriter::new(File::create(path).unwrap());
    file.add_array("features", &features.mapv(|x| x as f32))
        .unwrap();
    let labels: Array1<i64> = labels.iter().map(|&label| label as i64).collect();
    file.add_array("labels", &labels).unwrap();
    file.finish().unwrap();
}

/// A folder with training images, queries and the head that a first run fitted.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("train.npz"), &set(300, 70, 11));
    write(&folder.path().join("test.npz"), &set(50, 70, 12));
    let fit = ["--l2", "1e-3", "--skip-train", "--out", "fit"];
    ranked(folder.path(), &fit);
    folder
}

fn ranked(folder: &Path, arguments: &[&str]) -> String {
    let words = arguments.join(" ");
    let fixed = "rank --train train.npz --test test.npz";
    run(folder, &format!("{fixed} {words}"))
}

/// Scores `[query, train]` of a run with the head of the first one.
fn scores(folder: &Path, out: &str, arguments: &[&str]) -> Array2<f64> {
    let fixed = [
        "--head",
        "fit/head.safetensors",
        "--l2",
        "1e-3",
        "--scores",
        "--out",
        out,
    ];
    ranked(folder, &[&fixed[..], arguments].concat());
    run_record::scores(folder, out)
}

/// Spearman's rank correlation of two rows without ties.
fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let ranks = |values: &[f64]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
        let mut ranks = vec![0.0; values.len()];
        for (rank, &place) in order.iter().enumerate() {
            ranks[place] = rank as f64;
        }
        ranks
    };
    let n = a.len() as f64;
    let square = |(x, y): (f64, f64)| (x - y).powi(2);
    let sum: f64 = ranks(a).into_iter().zip(ranks(b)).map(square).sum();
    1.0 - 6.0 * sum / (n * (n * n - 1.0))
}

pub(crate) fn agree(found: &Array2<f64>, expected: &Array2<f64>, least: f64, what: &str) {
    assert_eq!(found.dim(), expected.dim());
    for (query, (a, b)) in found.rows().into_iter().zip(expected.rows()).enumerate() {
        let agreement = spearman(&a.to_vec(), &b.to_vec());
        assert!(agreement >= least, "{what}, query {query}: {agreement}");
    }
}

#[test]
fn every_solver_ranks_as_on_the_processor() {
    let place = place();
    let folder = place.path();
    let choices: [(&[&str], f64); 15] = [
        (&[], EQUAL),
        (&["--solver", "direct"], EQUAL),
        (&["--solver", "direct", "--skip-train"], EQUAL),
        (&["--solver", "cg", "--skip-train"], EQUAL),
        (&["--solver", "cg"], EQUAL),
        (&["--solver", "ekfac"], EQUAL),
        (&["--solver", "identity"], EQUAL),
        // Rounding decides about the last of the eigenpairs that are kept.
        (&["--solver", "pinv", "--rcond", "1e-3"], 0.999),
        (&["--solver", "arnoldi"], 0.99),
        (&["--solver", "direct", "--correction", "leverage"], EQUAL),
        (&["--solver", "direct", "--normalise", "l-relatif"], EQUAL),
        (&["--solver", "identity", "--normalise", "cosine"], EQUAL),
        (
            &[
                "--solver",
                "direct",
                "--query-groups",
                "class",
                "--damping-path",
            ],
            EQUAL,
        ),
        (&["--solver", "astra", "--tolerance", "0.3"], EQUAL),
        (&["--solver", "lissa", "--tolerance", "1e-3"], EQUAL),
    ];
    for (run, (options, least)) in choices.iter().enumerate() {
        for precision in ["f32", "f64"] {
            let with = |device: &str| {
                let out = format!("{run}-{precision}-{device}");
                let fixed = ["--precision", precision, "--device", device];
                scores(folder, &out, &[*options, &fixed].concat())
            };
            let what = format!("{options:?} {precision}");
            agree(&with("cuda"), &with("cpu"), *least, &what);
        }
    }
    let record = std::fs::read_to_string(folder.join("1-f32-cuda/run.json")).unwrap();
    assert!(record.contains("\"device\": \"cuda:0\""), "{record}");
}

#[test]
fn a_head_that_is_fitted_there_is_the_same() {
    let place = place();
    let fit = [
        "--l2",
        "1e-3",
        "--scores",
        "--skip-train",
        "--precision",
        "f64",
        "--out",
    ];
    let run = |device: &str| {
        ranked(
            place.path(),
            &[&fit[..], &[device, "--device", device]].concat(),
        );
        run_record::scores(place.path(), device)
    };
    let apart = distance(&run("cuda"), &run("cpu"));
    assert!(apart < 1e-4, "{apart:e}");
}

#[test]
fn certified_ranks_are_never_wrong() {
    let place = place();
    let folder = place.path();
    let exact = ["--precision", "f64", "--solver", "direct", "--skip-train"];
    let oracle = scores(folder, "oracle", &exact);
    for solver in ["direct", "cg"] {
        for train in [&["--skip-train"][..], &[]] {
            let out = format!("certified-{solver}-{}", train.len());
            let options = ["--certify", "20", "--device", "cuda", "--solver", solver];
            let _ = scores(folder, &out, &[&options[..], train].concat());
            let rankings = read_rankings(&folder.join(&out).join("rankings.parquet")).unwrap();
            let (mut certified, mut all) = (0, 0);
            for ranking in rankings {
                let scores = oracle.row(ranking.query);
                let mut order: Vec<usize> = (0..scores.len()).collect();
                order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
                for (rank, image) in ranking.helpful.iter().take(20).enumerate() {
                    let proof = image.certificate.unwrap();
                    all += 1;
                    // The oracle's file rounds to f32.
                    let rounding = 1e-6 * scores[image.train].abs();
                    let off = (image.score - scores[image.train]).abs();
                    assert!(
                        off <= proof.bound + rounding,
                        "{solver}: off by {off:e}, {proof:?}"
                    );
                    if proof.certified {
                        certified += 1;
                        let expected = scores[order[rank]];
                        let same = order[rank] == image.train
                            || (expected - scores[image.train]).abs() <= rounding;
                        assert!(same, "{solver}: query {}, rank {rank}", ranking.query);
                    }
                }
            }
            assert!(
                certified as f64 >= 0.99 * all as f64,
                "{solver}: {certified} of {all}"
            );
        }
    }
}

#[test]
fn a_dry_run_names_the_device_and_leaves_nothing() {
    let place = place();
    let arguments = [
        "--l2",
        "1e-3",
        "--device",
        "cuda:0",
        "--dry-run",
        "--out",
        "none",
    ];
    let out = ranked(place.path(), &arguments);
    assert!(out.contains("on cuda:0"), "{out}");
    assert!(!place.path().join("none").exists());
}

#[test]
fn a_solve_that_stops_short_is_an_outcome() {
    let problem = Problem::new();
    let found = Sides::new(&problem, &device(), DType::F32, Way::Moved);
    let damped = found.damped();
    let starved = Cg {
        tolerance: 1e-6,
        iterations: 1,
        preconditioned: false,
    };
    let inverse = starved.prepare(&damped).unwrap();
    let right = right_hand_sides(damped.size(), &device(), DType::F32);
    let solution = inverse.solve(&right).unwrap();
    let limited = |report: &ascribe::solve::Report| report.outcome == Outcome::LimitReached;
    assert!(
        solution.reports.iter().all(limited),
        "{:?}",
        solution.reports
    );
}

/// Of numbers whose squares are no f32.
#[test]
fn small_right_hand_sides_are_solved_as_others() {
    let problem = Problem::new();
    let small = |device: &Device| {
        let vectors = right_hand_sides(3 * 401, device, DType::F32);
        vectors.scaled(&[1e-24; 5]).unwrap()
    };
    let oracle = Sides::new(&problem, &Device::Cpu, DType::F64, Way::Moved);
    let damped = oracle.damped();
    let vectors = small(&Device::Cpu).to_dtype(DType::F64).unwrap();
    let expected = Direct.prepare(&damped).unwrap().solve(&vectors).unwrap();
    let expected = array(expected.value.tensor());
    for device in [Device::Cpu, device()] {
        let sides = Sides::new(&problem, &device, DType::F32, Way::Moved);
        let damped = sides.damped();
        for preconditioned in [true, false] {
            let cg = Cg {
                tolerance: 1e-5,
                iterations: 500,
                preconditioned,
            };
            let inverse = cg.prepare(&damped).unwrap();
            let solution = inverse.solve(&small(&device)).unwrap();
            for report in &solution.reports {
                assert!(report.outcome.is_success(), "{device:?}: {report:?}");
            }
            let apart = distance(&array(solution.value.tensor()), &expected);
            assert!(
                apart < 1e-2,
                "{device:?}, preconditioned {preconditioned}: {apart:e}"
            );
        }
    }
}

#[test]
fn gradients_are_the_outer_products_of_their_factors() {
    let problem = Problem::new();
    for (dtype, way, _) in cases() {
        let examples = problem.examples(false, &device(), dtype, way);
        let range = 7..130;
        let inputs = examples.inputs().rows().chunk(range.clone()).unwrap();
        let residuals = &examples.outputs().residuals;
        let residuals = residuals.narrow(0, range.start, range.len()).unwrap();
        let gradients = (examples.outputs())
            .gradients(examples.inputs(), range)
            .unwrap();
        assert!(gradients.device().is_cuda());
        let (inputs, residuals) = (array(&inputs), array(&residuals));
        let width = inputs.ncols();
        for ((row, column), &found) in array(&gradients).indexed_iter() {
            let product = residuals[(row, column / width)] * inputs[(row, column % width)];
            let expected = match dtype {
                DType::F32 => f64::from(product as f32),
                _ => product,
            };
            assert_eq!(found, expected, "{dtype:?}, {row}, {column}");
        }
    }
}

#[test]
fn long_rows_are_summed_in_f64() {
    let (rows, columns) = (3, 2 * 65_536 + 5);
    let numbers = |seed: u64| Array2::from_shape_vec((rows, columns), noise(rows * columns, seed));
    let sides = [1, 2].map(|seed| numbers(seed).unwrap().mapv(|x| f64::from(x as f32 * 1e-24)));
    for dtype in [DType::F32, DType::F64] {
        let place = |rows: &Array2<f64>| {
            let rows = tensor(rows).to_dtype(dtype).unwrap();
            Vectors::new(rows.to_device(&device()).unwrap()).unwrap()
        };
        let [left, right] = sides.each_ref().map(place);
        let found = left.dot(&right).unwrap();
        for (row, found) in found.into_iter().enumerate() {
            let expected = sides[0].row(row).dot(&sides[1].row(row));
            let scale = 1e-48 * (columns as f64).sqrt();
            assert!((found - expected).abs() < 1e-12 * scale, "{dtype:?} {row}");
        }
    }
}

/// Without `--scores` a device sends no more of a block than the best ranks, unless sums are wanted.
#[test]
fn groups_of_training_images_score_as_on_the_processor() {
    let place = place();
    let groups = |device: &str| {
        let words = ["--l2", "1e-3", "--train-groups", "class", "--out", device];
        ranked(place.path(), &[&words[..], &["--device", device]].concat());
        StoredGroups::read(&place.path().join(device)).unwrap()
    };
    let (there, here) = (groups("cuda"), groups("cpu"));
    let largest = (here.groups.iter()).fold(0.0, |most: f64, group| most.max(group.score.abs()));
    assert!(largest > 0.0);
    for (there, here) in there.groups.iter().zip(&here.groups) {
        assert_eq!((&there.name, there.images), (&here.name, here.images));
        let apart = (there.score - here.score).abs();
        assert!(apart < 1e-4 * largest, "{}: {apart:e}", here.name);
    }
    assert_eq!(there.by_query.len(), here.by_query.len());
}
