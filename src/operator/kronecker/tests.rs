//! Forms of small networks against the Gauss–Newton matrix written out, f64.

use super::*;
use crate::derivative::network::{Curvature, Examples, Keeping, Network, RootKind};
use crate::model::{Blocks, Normalisation, ResNet};
use crate::operator::{LinearOperator, NetworkCurvature};
use candle_core::{DType, Device};
use ndarray::Array2;

const IMAGES: usize = 11;

fn numbers(phase: f64, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|i| (phase + 1.7 * i as f64 + 0.003 * ((i * i) % 7919) as f64).sin())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn problem(blocks: Blocks) -> (Network, Examples) {
    let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    let normalisation = Normalisation {
        mean: [0.5; 3],
        deviation: [0.25; 3],
    };
    let architecture = "cifar-resnet8-w2".parse().unwrap();
    let model = ResNet::initialise(architecture, classes, normalisation, 8, 3, &Device::Cpu)
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap();
    let images = ((numbers(0.4, &[IMAGES, 3, 8, 8]) + 1.0).unwrap() * 0.5).unwrap();
    let labels: Vec<usize> = (0..IMAGES).map(|i| i % 4).collect();
    let examples =
        Examples::of_images((&model, blocks), &images, &labels, &Keeping::default()).unwrap();
    (Network::new(&model, blocks, &examples).unwrap(), examples)
}

fn form(network: &Network, examples: &Examples, settings: KroneckerSettings) -> KroneckerForm {
    let positions: Vec<u32> = (0..IMAGES as u32).collect();
    KroneckerForm::of_network(network, (examples, &positions), &settings).unwrap()
}

const EXACT: KroneckerSettings = KroneckerSettings {
    roots: RootKind::Exact { share: 1.0 },
    eigenvalues: Eigenvalues::Corrected,
    row_bytes: 0,
};

fn array(rows: &Tensor) -> Array2<f64> {
    let values = rows.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    Array2::from_shape_vec(rows.dims2().unwrap(), values).unwrap()
}

/// Q as rows of its transpose: coordinates of the unit vectors.
fn axes_of(form: &KroneckerForm) -> Array2<f64> {
    let size = form.diagonal().len();
    let units = Tensor::eye(size, DType::F64, &Device::Cpu).unwrap();
    array(&form.axes().coordinates(&units).unwrap())
}

#[test]
fn the_diagonal_is_that_of_the_curvature_in_orthogonal_axes() {
    let (network, examples) = problem(Blocks::Last(1));
    let form = form(&network, &examples, EXACT);
    let q = axes_of(&form);
    let size = network.size();
    let unit = q.dot(&q.t());
    for ((i, j), value) in unit.indexed_iter() {
        let expected = if i == j { 1.0 } else { 0.0 };
        assert!((value - expected).abs() < 1e-12);
    }
    let back = form.axes().vectors(&Tensor::from_vec(
        q.iter().copied().collect::<Vec<_>>(),
        (size, size),
        &Device::Cpu,
    ).unwrap()).unwrap();
    let back = array(&back);
    assert!(back.indexed_iter().all(|((i, j), x)| (x - f64::from(u8::from(i == j))).abs() < 1e-12));
    let curvature =
        NetworkCurvature::new(&network, &examples, Curvature::GaussNewton, 0.0, 0).unwrap();
    let matrix = curvature.dense(DType::F64).unwrap().to_array();
    let turned = q.t().dot(&matrix).dot(&q);
    let largest = turned.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    for (place, value) in form.diagonal().iter().enumerate() {
        let error = (turned[[place, place]] - value).abs();
        assert!(error < 1e-11 * largest, "{place}: {value} {}", turned[[place, place]]);
    }
}
