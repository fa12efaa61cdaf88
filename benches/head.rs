//! The kernels of head influence at the size of the paper's job (3,200 images, d = 2,048, ten classes), each beside the rate
//! of a plain matrix product in the same process: seconds, operations, and the share of that rate.
//!
//! `cargo bench --bench head`; numbers are the fastest of three. `-- rate` prints the rates of twelve plain products in a row and
//! nothing else, to be run before and after a job whose floor they are to say: on a machine whose speed wanders their mean is what
//! the job was given.

use ascribe::derivative::head::{HeadCoordinates, HeadInputs, SoftmaxHead};
use ascribe::operator::{Damped, HeadHessian, LinearOperator, Vectors};
use ascribe::solve::{Direct, Ekfac, Solver};
use candle_core::{DType, Device, Tensor};
use ndarray::Array2;
use std::time::Instant;

const IMAGES: usize = 3200;
const FEATURES: usize = 2048;
const CLASSES: usize = 10;
const ROWS: usize = 512;
/// Operations of the cheapest route to all scores of the job, 10,000 queries (`analysis/speed/README.md`).
const DIRECT: f64 = 6.05e12;

fn seconds(mut work: impl FnMut()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

fn fastest(mut work: impl FnMut()) -> f64 {
    let time = |_| seconds(&mut work);
    (0..3).map(time).fold(f64::INFINITY, f64::min)
}

/// The rates of twelve products in a row, and the job's floor by them.
fn rates(array: &Array2<f32>, operations: f64) {
    let rates: Vec<f64> = (0..12)
        .map(|_| operations / seconds(|| drop(array.dot(array))) / 1e9)
        .collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    let best = rates.iter().copied().fold(0.0, f64::max);
    for (name, rate) in [("on average", mean), ("at best", best)] {
        let floor = DIRECT / rate / 1e9;
        println!(
            "f32 matrix product, 4096³, twelve in a row {name}: {rate:.1} GFLOP/s, direct's floor {floor:.1} s"
        );
    }
}

fn report(name: &str, seconds: f64, operations: f64, rate: f64) {
    let speed = operations / seconds / 1e9;
    println!(
        "{name:<44}{seconds:>9.3} s{:>9.1} GFLOP{speed:>8.1} GFLOP/s{:>7.2} of the product's rate",
        operations / 1e9,
        speed / rate
    );
}

fn wave(rows: usize, columns: usize, frequency: f32) -> Tensor {
    let values: Vec<f32> = (0..rows * columns)
        .map(|i| (frequency * i as f32 + (i / columns) as f32).sin())
        .collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

fn main() {
    ascribe::start_with_best_kernels();
    let operations = 2.0 * 4096f64.powi(3);
    // OpenBLAS's, by all cores: the fastest there is here, so that all else is measured against it.
    let array = Array2::from_shape_fn((4096, 4096), |(i, j)| (0.7 * (i * 4096 + j) as f32).sin());
    if std::env::args().any(|argument| argument == "rate") {
        return rates(&array, operations);
    }
    let square = wave(4096, 4096, 0.7);
    let seconds = fastest(|| drop(array.dot(&array)));
    let rate = operations / seconds / 1e9;
    report("f32 matrix product, 4096³", seconds, operations, rate);
    let double = array.mapv(f64::from);
    let seconds = fastest(|| drop(double.dot(&double)));
    report("the same in f64", seconds, operations, rate);
    let seconds = fastest(|| drop(square.matmul(&square).unwrap()));
    report("the same by candle", seconds, operations, rate);
    let seconds = fastest(|| drop(square.matmul(&square.t().unwrap()).unwrap()));
    report(
        "the same, transposed on the right",
        seconds,
        operations,
        rate,
    );

    let labels: Vec<usize> = (0..IMAGES).map(|row| row % CLASSES).collect();
    let inputs = HeadInputs::new(&wave(IMAGES, FEATURES, 0.37), &labels, DType::F32).unwrap();
    let head = SoftmaxHead::new(
        &(wave(CLASSES, FEATURES, 0.11) * 0.05).unwrap(),
        &Tensor::zeros(CLASSES, DType::F32, &Device::Cpu).unwrap(),
    )
    .unwrap();
    let outputs = head.outputs(&inputs).unwrap();
    let columns = (FEATURES + 1) as f64;
    let seconds = fastest(|| drop(HeadCoordinates::of(&inputs, &outputs).unwrap()));
    report(
        "Kronecker axes (f64)",
        seconds,
        IMAGES as f64 * columns.powi(2),
        rate,
    );
    let coordinates = HeadCoordinates::of(&inputs, &outputs).unwrap();
    let rotated = coordinates.inputs(&inputs).unwrap();
    let hessian = HeadHessian::in_coordinates(&coordinates, &rotated, &outputs, 0.0).unwrap();
    let curvature = Damped::new(&hessian, 1e-3).unwrap();
    let size = curvature.size() as f64;
    let vectors = Vectors::new(wave(ROWS, curvature.size(), 0.53)).unwrap();
    let product = 4.0 * ROWS as f64 * IMAGES as f64 * size;
    let seconds = fastest(|| drop(curvature.apply(&vectors).unwrap()));
    report("curvature times 512 vectors", seconds, product, rate);
    let blocks = (CLASSES - 1) as f64 * CLASSES as f64 / 2.0;
    let written = blocks * columns.powi(2) * IMAGES as f64;
    let seconds = fastest(|| drop(curvature.dense(DType::F32).unwrap()));
    report("curvature written out", seconds, written, rate);
    let started = Instant::now();
    let inverse = Direct.prepare(&curvature).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    report(
        "written out and factorised",
        seconds,
        written + size.powi(3) / 3.0,
        rate,
    );
    let seconds = fastest(|| drop(inverse.solve(&vectors).unwrap()));
    let solve = 2.0 * ROWS as f64 * size.powi(2);
    report(
        "512 solves with their residuals",
        seconds,
        solve + product,
        rate,
    );
    let other = wave(ROWS, curvature.size(), 0.31);
    let seconds = fastest(|| drop(vectors.tensor().matmul(&other.t().unwrap()).unwrap()));
    report(
        "512 × 512 scores",
        seconds,
        2.0 * (ROWS * ROWS) as f64 * size,
        rate,
    );
    let ekfac = Ekfac.prepare(&curvature).unwrap();
    let seconds = fastest(|| drop(ekfac.solve(&vectors).unwrap()));
    report(
        "512 EK-FAC divisions, 8 residuals",
        seconds,
        product / 64.0,
        rate,
    );
}
