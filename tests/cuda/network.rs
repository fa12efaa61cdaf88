//! The products through the fine-tuned blocks on a CUDA device against the same on the processor, on made-up images.
//!
//! Weights, images and vectors are made on the host, so that both sides have the same numbers. What is compared is the device's
//! result with that of the program of layers in f64; tolerances are those of the precision, as a share of the largest number.

use crate::device;
use ascribe::derivative::head::HeadOutputs;
use ascribe::derivative::network::{
    Curvature, CurvatureRoots, DeviceExamples, DeviceNetwork, Examples, Keeping, Network, RootKind,
    WrittenGradients,
};
use ascribe::influence::{
    NetworkImages, NetworkJob, NetworkOptions, Progress, read_helpful_shares, read_rankings,
};
use ascribe::model::{Blocks, Normalisation, ResNet};
use ascribe::operator::{Damped, DeviceCurvature, LinearOperator, NetworkCurvature, Vectors};
use ascribe::solve::{Cg, Ekfac, Method, Outcome, Settings, Solver, smallest_eigenvalue};
use candle_core::{DType, Device, Tensor};
use faer::prelude::Solve;
use faer::{Mat, MatRef, Scale};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const IMAGES: usize = 12;
const CLASSES: usize = 4;
/// Both stems, both kinds of block, with and without a shortcut that projects, an odd side, the head alone.
const CASES: [(&str, Blocks, usize); 7] = [
    ("cifar-resnet8-w4", Blocks::Last(0), 9),
    ("cifar-resnet8-w4", Blocks::Last(1), 9),
    ("cifar-resnet8-w4", Blocks::All, 16),
    ("cifar-resnet18-w8", Blocks::Last(3), 32),
    ("cifar-resnet50-w4", Blocks::Last(4), 16),
    ("resnet18", Blocks::All, 40),
    ("resnet50", Blocks::Last(3), 64),
];
const KINDS: [Curvature; 2] = [Curvature::GaussNewton, Curvature::Hessian];

/// Smooth numbers without symmetry.
fn numbers(phase: f64, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|i| (phase + 1.7 * i as f64 + 0.003 * ((i * i) % 7919) as f64).sin())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn labels(count: usize) -> Vec<usize> {
    (0..count).map(|i| (i * 7 + i / 5) % CLASSES).collect()
}

fn images(phase: f64, count: usize, side: usize) -> Tensor {
    let wave = numbers(phase, &[count, 3, side, side]);
    ((wave + 1.0).unwrap() * 0.5).unwrap()
}

/// f64, with statistics that are not those of a fresh network.
fn model(architecture: &str, side: usize) -> ResNet {
    let fresh = ResNet::initialise(
        architecture.parse().unwrap(),
        (0..CLASSES).map(|class| class.to_string()).collect(),
        Normalisation {
            mean: [0.4, 0.5, 0.6],
            deviation: [0.2, 0.3, 0.25],
        },
        side,
        7,
        &Device::Cpu,
    );
    let fresh = fresh.unwrap().to_dtype(DType::F64).unwrap();
    let moved = |(index, (name, tensor)): (usize, (&String, &Tensor))| {
        let wave = (numbers(index as f64, tensor.dims()) * 0.3).unwrap();
        let tensor = match tensor.dims().len() {
            1 if name.ends_with("running_var") => wave.exp().unwrap(),
            1 => (tensor + wave).unwrap(),
            _ => tensor.clone(),
        };
        (name.clone(), tensor)
    };
    let tensors: BTreeMap<_, _> = fresh.tensors().iter().enumerate().map(moved).collect();
    let architecture = fresh.architecture().clone();
    let classes = fresh.classes().to_vec();
    ResNet::new(architecture, classes, fresh.normalisation(), side, tensors).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_device(&Device::Cpu).unwrap();
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    let error = (found.iter().zip(expected)).fold(0.0f64, |a, (f, e)| a.max((f - e).abs()));
    // A NaN is no small error.
    let close = error <= tolerance * largest && found.iter().all(|value| value.is_finite());
    assert!(close, "{what}: off by {error:e} of {largest:e}");
}

/// One problem on both sides.
struct Both {
    examples: Examples,
    network: Network,
    there: DeviceExamples,
    device: DeviceNetwork,
}

impl Both {
    /// On the device in `dtype`, on the processor in f64.
    fn new(architecture: &str, blocks: Blocks, side: usize, dtype: DType) -> Self {
        let double = model(architecture, side);
        let (images, labels) = (images(0.4, IMAGES, side), labels(IMAGES));
        let keeping = Keeping::default();
        let examples = Examples::of_images((&double, blocks), &images, &labels, &keeping).unwrap();
        let network = Network::new(&double, blocks, &examples).unwrap();
        let model = double.to_dtype(dtype).unwrap();
        let of = (&model, blocks, &device());
        let there = DeviceExamples::of_images(of, &images, &labels, &keeping).unwrap();
        let device = DeviceNetwork::new(&model, blocks, &there).unwrap();
        Self {
            examples,
            network,
            there,
            device,
        }
    }

    fn compare(&self, what: &str, tolerance: f64) {
        let all: Vec<u32> = (0..IMAGES as u32).collect();
        let (gradient, _) = self.network.gradient(&self.examples, &all).unwrap();
        let found = self.device.gradient(&self.there, &all).unwrap();
        assert_close(
            &format!("{what}: gradient"),
            &values(&found),
            &values(&gradient),
            tolerance,
        );

        let some = [7, 0, 3];
        let gradients = (self.network.example_gradients(&self.examples, &some)).unwrap();
        let found = self.device.example_gradients(&self.there, &some);
        assert_close(
            &format!("{what}: gradients of images"),
            &values(&found.unwrap()),
            &values(&gradients),
            tolerance,
        );

        let size = self.network.size();
        // As many as a solver may ask for at once, and what a run begins with.
        let waves = [1, 4].map(|count| numbers(0.9, &[count, size]));
        for vectors in waves.into_iter().chain([gradients]) {
            self.compare_curvatures(what, &vectors, tolerance);
        }
        let vectors = numbers(0.9, &[3, size]);
        let pairs = self.network.pair(&vectors, None).unwrap();
        let expected = pairs.products(&self.examples, &some).unwrap();
        let found = (self.device).segment_products(&self.there, &some, &self.moved(&vectors));
        assert_close(
            &format!("{what}: products with gradients of images"),
            &values(&found.unwrap()),
            &values(&expected),
            tolerance,
        );

        let losses = |outputs: Vec<HeadOutputs>| -> Vec<f64> {
            outputs.into_iter().flat_map(|part| part.losses).collect()
        };
        let expected = losses(self.network.outputs(&self.examples, &all).unwrap());
        let found = losses(self.device.outputs(&self.there, &all).unwrap());
        assert_close(&format!("{what}: losses"), &found, &expected, tolerance);
    }

    /// Kronecker factors, and gradients of roots.
    fn compare_forms(&self, what: &str, tolerance: f64) {
        let all: Vec<u32> = (0..IMAGES as u32).collect();
        let outputs = self.network.outputs(&self.examples, &all).unwrap();
        let roots = CurvatureRoots::of(&outputs, &all, RootKind::Exact { share: 0.9 }).unwrap();
        let expected = (self.network).kronecker_factors(&self.examples, &all, &roots);
        let found = self
            .device
            .kronecker_factors(&self.there, &all, &roots)
            .unwrap();
        for expected in expected.unwrap() {
            let found = found
                .iter()
                .find(|found| found.layer == expected.layer)
                .unwrap();
            for (found, expected) in [
                (&found.inputs, &expected.inputs),
                (&found.outputs, &expected.outputs),
            ] {
                let values = |matrix: &Mat<f64>| -> Vec<f64> {
                    let columns = matrix.col_iter();
                    columns.flat_map(|column| column.iter().copied()).collect()
                };
                let what = format!("{what}: factor of {:?}", expected.nrows());
                assert_close(&what, &values(found), &values(expected), tolerance);
            }
        }
        let images = 3..8;
        let expected = (self.network).root_gradients(&self.examples, &all, &roots, images.clone());
        let found = self
            .device
            .root_gradients(&self.there, &all, &roots, images);
        assert_close(
            &format!("{what}: gradients of roots"),
            &values(&found.unwrap()),
            &values(&expected.unwrap()),
            tolerance,
        );
    }

    /// In the device's precision, there.
    fn moved(&self, vectors: &Tensor) -> Tensor {
        let vectors = vectors.to_dtype(self.device.dtype()).unwrap();
        vectors.to_device(self.device.device()).unwrap()
    }

    /// Both curvatures, with the processor's passes made anew and kept.
    fn compare_curvatures(&self, what: &str, vectors: &Tensor, tolerance: f64) {
        let count = vectors.dims()[0];
        for kind in KINDS {
            let curvature = DeviceCurvature::new(&self.device, &self.there, kind, 0.0).unwrap();
            let found = curvature.apply(&Vectors::new(self.moved(vectors)).unwrap());
            let found = values(found.unwrap().tensor());
            for memory in [0, 1 << 30] {
                let curvature =
                    NetworkCurvature::new(&self.network, &self.examples, kind, 0.0, memory);
                let expected = (curvature.unwrap()).apply(&Vectors::new(vectors.clone()).unwrap());
                assert_close(
                    &format!("{what}: {kind:?}, {count} vectors, {memory} bytes for passes"),
                    &found,
                    &values(expected.unwrap().tensor()),
                    tolerance,
                );
            }
        }
    }
}

#[test]
fn products_in_double_precision_are_those_of_the_processor() {
    for (architecture, blocks, side) in CASES {
        let both = Both::new(architecture, blocks, side, DType::F64);
        both.compare(&format!("{architecture} {blocks}"), 1e-10);
    }
}

/// A rectifier that rounding closes or opens makes a difference larger than rounding: the tolerance leaves room for a few.
#[test]
fn products_in_single_precision_are_close() {
    for (architecture, blocks, side) in CASES {
        let both = Both::new(architecture, blocks, side, DType::F32);
        both.compare(&format!("{architecture} {blocks}"), 2e-3);
    }
}

#[test]
fn what_kronecker_forms_are_made_of_is_that_of_the_processor() {
    for (architecture, blocks, side) in [CASES[0], CASES[2], CASES[4]] {
        for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 2e-3)] {
            let both = Both::new(architecture, blocks, side, dtype);
            both.compare_forms(&format!("{architecture} {blocks}"), tolerance);
        }
    }
}

/// The last block of this network has no shortcut of its own: its batch norm is one range of parameters.
#[test]
fn a_kronecker_form_is_that_of_the_processor() {
    let both = Both::new("cifar-resnet14-w4", Blocks::Last(1), 16, DType::F64);
    let kind = Curvature::GaussNewton;
    let here = NetworkCurvature::new(&both.network, &both.examples, kind, 1e-2, 0).unwrap();
    let there = DeviceCurvature::new(&both.device, &both.there, kind, 1e-2).unwrap();
    let right = (both.network)
        .example_gradients(&both.examples, &[1, 4])
        .unwrap();
    let right = Vectors::new(right).unwrap();
    let moved = Vectors::new(both.moved(right.tensor())).unwrap();
    let expected = Ekfac.prepare(&here).unwrap().solve(&right).unwrap();
    let found = Ekfac.prepare(&there).unwrap().solve(&moved).unwrap();
    let [found, expected] = [found, expected].map(|solution| values(solution.value.tensor()));
    assert_close("EK-FAC", &found, &expected, 1e-8);
}

#[test]
fn passes_change_nothing() {
    let mut both = Both::new("cifar-resnet8-w4", Blocks::Last(2), 9, DType::F64);
    assert!(both.there.is_on_device());
    both.device = both.device.with_pass_images(5);
    both.compare("passes of 5", 1e-10);
    both.compare_forms("passes of 5", 1e-10);
}

#[test]
fn solves_end_at_the_same_solutions() {
    let both = Both::new("cifar-resnet8-w4", Blocks::Last(1), 9, DType::F64);
    let kind = Curvature::GaussNewton;
    let here = NetworkCurvature::new(&both.network, &both.examples, kind, 1e-2, 0).unwrap();
    let there = DeviceCurvature::new(&both.device, &both.there, kind, 1e-2).unwrap();
    let (here, there) = (
        Damped::new(&here, 1e-2).unwrap(),
        Damped::new(&there, 1e-2).unwrap(),
    );
    let right = both
        .network
        .example_gradients(&both.examples, &[1, 4, 6, 8]);
    let right = right.unwrap();
    let solve = |operator: &dyn LinearOperator, right: Tensor, preconditioned: bool| {
        let cg = Cg {
            tolerance: 1e-10,
            iterations: 1000,
            preconditioned,
        };
        let inverse = cg.prepare(operator).unwrap();
        let solution = inverse.solve(&Vectors::new(right).unwrap()).unwrap();
        let converged = |outcome: Outcome| outcome == Outcome::Converged;
        assert!(
            solution
                .reports
                .iter()
                .all(|report| converged(report.outcome))
        );
        values(solution.value.tensor())
    };
    let expected = solve(&here, right.clone(), false);
    let right = right.to_device(both.device.device()).unwrap();
    for preconditioned in [false, true] {
        let found = solve(&there, right.clone(), preconditioned);
        assert_close("solutions", &found, &expected, 1e-7);
    }

    // A method whose vectors are on the host.
    let [here, there]: [&dyn LinearOperator; 2] = [&here, &there];
    let [here, there] = [here, there].map(|operator| smallest_eigenvalue(operator, 3).unwrap());
    assert!(
        (here.value - there.value).abs() < 1e-6,
        "{here:?} {there:?}"
    );
}

struct Silent;

impl Progress for Silent {
    fn stage(&mut self, _: &'static str) -> ascribe::Result<()> {
        Ok(())
    }

    fn scores(&mut self, _: &str, _: usize, _: usize) {}
}

fn scores(folder: &Path) -> Vec<f64> {
    let mut scores = vec![f64::NAN; 3 * IMAGES];
    for query in read_rankings(&folder.join("rankings.parquet")).unwrap() {
        for image in query.helpful {
            scores[query.query * IMAGES + image.train] = image.score;
        }
    }
    scores
}

/// The scores by the matrix itself, written out from products of the processor with its passes made anew.
fn dense_scores(
    network: &Network,
    [train, queries]: &[Examples; 2],
    options: &NetworkOptions,
) -> Vec<f64> {
    let (size, l2) = (network.size(), options.l2);
    let operator = NetworkCurvature::new(network, train, options.curvature, l2, 0).unwrap();
    let mut matrix = Mat::<f64>::identity(size, size) * Scale(options.damping);
    for start in (0..size).step_by(256) {
        let rows = start..size.min(start + 256);
        let mut unit = vec![0.0; rows.len() * size];
        for (at, row) in rows.clone().enumerate() {
            unit[at * size + row] = 1.0;
        }
        let product = operator.apply(&Vectors::from_rows(unit, size).unwrap());
        let product = values(product.unwrap().tensor());
        let mut part = matrix.subrows_mut(start, rows.len());
        part += MatRef::from_row_major_slice(&product, rows.len(), size);
    }
    let gradients = |examples: &Examples| {
        let all: Vec<u32> = (0..examples.count() as u32).collect();
        let gradients = values(&network.example_gradients(examples, &all).unwrap());
        MatRef::from_row_major_slice(&gradients, all.len(), size).to_owned()
    };
    let solutions = (matrix.partial_piv_lu()).solve(gradients(queries).transpose());
    let scores = gradients(train) * solutions;
    (scores.col_iter())
        .flat_map(|query| query.iter().map(|score| score / IMAGES as f64))
        .collect()
}

#[test]
fn whole_runs_give_the_same_scores() {
    run_both_ways(Method::Cg, Curvature::GaussNewton);
    for method in [
        Method::Identity,
        Method::Ekfac,
        Method::Astra,
        Method::Pinv,
        Method::Direct,
    ] {
        run_both_ways(method, Curvature::GaussNewton);
    }
    run_both_ways(Method::Cg, Curvature::Hessian);
}

fn run_both_ways(method: Method, curvature: Curvature) {
    let (blocks, side) = (Blocks::Last(1), 9);
    let model = model("cifar-resnet8-w4", side);
    let keeping = Keeping::default();
    let here = |phase, count| {
        let images = images(phase, count, side);
        Examples::of_images((&model, blocks), &images, &labels(count), &keeping).unwrap()
    };
    let there = |phase, count| {
        let images = images(phase, count, side);
        let of = (&model, blocks, &device());
        DeviceExamples::of_images(of, &images, &labels(count), &keeping).unwrap()
    };
    let (train, queries): (Vec<usize>, Vec<usize>) = ((0..IMAGES).collect(), (0..3).collect());
    let options = NetworkOptions {
        curvature,
        l2: 1e-2,
        // More than the Hessian's smallest eigenvalue is below 0.
        damping: 10.0,
        solver: Settings {
            method,
            tolerance: Some(1e-11),
            ..Settings::default()
        },
        top: IMAGES,
        bottom: 0,
        query_groups: None,
        groups_only: false,
        train_groups: None,
        scores: false,
        shares: true,
        query_rank: None,
        memory: 1 << 30,
        record_every: Duration::from_secs(5),
    };
    let (sides, folder) = (
        [here(0.4, IMAGES), here(2.9, 3)],
        tempfile::tempdir().unwrap(),
    );
    let job = NetworkJob {
        network: &Network::new(&model, blocks, &sides[0]).unwrap(),
        train: NetworkImages {
            examples: &sides[0],
            ids: &train,
        },
        test: NetworkImages {
            examples: &sides[1],
            ids: &queries,
        },
        options: options.clone(),
        classes: &[],
        digests: BTreeMap::new(),
    };
    let on_host = job.run(folder.path(), &mut Silent).unwrap();
    let (expected, on_host_shares) = (scores(folder.path()), shares(folder.path()));
    if method == Method::Cg {
        let what = format!("{curvature:?} on the processor beside the matrix");
        let dense = dense_scores(job.network, &sides, &options);
        assert_close(&what, &expected, &dense, 1e-8);
    }
    let (sides, folder) = (
        [there(0.4, IMAGES), there(2.9, 3)],
        tempfile::tempdir().unwrap(),
    );
    let job = NetworkJob {
        network: &DeviceNetwork::new(&model, blocks, &sides[0]).unwrap(),
        train: NetworkImages {
            examples: &sides[0],
            ids: &train,
        },
        test: NetworkImages {
            examples: &sides[1],
            ids: &queries,
        },
        options,
        classes: &[],
        digests: BTreeMap::new(),
    };
    let on_device = job.run(folder.path(), &mut Silent).unwrap();
    let what = format!("{method:?} {curvature:?}");
    for summary in [&on_host, &on_device] {
        let solves = summary.solves.iter().flat_map(|solves| &solves.reports);
        let missed: Vec<_> = solves.filter(|report| report.residual > 1e-10).collect();
        assert!(
            method != Method::Cg || missed.is_empty(),
            "{what}: {missed:?}"
        );
    }
    assert_close(&what, &scores(folder.path()), &expected, 1e-8);
    let there = shares(folder.path());
    assert!(there.len() == 2 && there.iter().all(|share| *share > 0.0));
    assert_close(&what, &there, &on_host_shares, 1e-8);
}

/// Of all helpful ranked scores.
fn shares(folder: &Path) -> Vec<f64> {
    let shares = read_helpful_shares(&folder.join("shares.parquet")).unwrap();
    shares.into_iter().map(|(_, share)| share).collect()
}
