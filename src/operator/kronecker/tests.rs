//! Forms of small networks against the Gauss–Newton matrix written out, f64.

use super::*;
use crate::derivative::network::small_problem::small_problem;
use crate::derivative::network::{Curvature, Examples, Network, RootKind, WrittenGradients};
use crate::model::Blocks;
use crate::operator::{LinearOperator, NetworkCurvature};
use candle_core::{DType, Device};
use ndarray::Array2;
use ndarray_linalg::{Eigh, UPLO};

const IMAGES: usize = 11;

fn problem(blocks: Blocks) -> (Network, Examples) {
    small_problem(blocks, IMAGES)
}

fn form(network: &Network, examples: &Examples, settings: KroneckerSettings) -> KroneckerForm {
    let positions: Vec<u32> = (0..IMAGES as u32).collect();
    KroneckerForm::of_network(network, (examples, &positions), &settings).unwrap()
}

const EXACT: KroneckerSettings = KroneckerSettings {
    roots: RootKind::Exact { share: 1.0 },
    eigenvalues: Some(Eigenvalues::Corrected),
    row_bytes: 0,
    seed: 0,
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
    let back = form
        .axes()
        .vectors(
            &Tensor::from_vec(
                q.iter().copied().collect::<Vec<_>>(),
                (size, size),
                &Device::Cpu,
            )
            .unwrap(),
        )
        .unwrap();
    let back = array(&back);
    assert!(
        back.indexed_iter()
            .all(|((i, j), x)| (x - f64::from(u8::from(i == j))).abs() < 1e-12)
    );
    let curvature =
        NetworkCurvature::new(&network, &examples, Curvature::GaussNewton, 0.0, 0).unwrap();
    let matrix = curvature.dense(DType::F64).unwrap().to_array().unwrap();
    let turned = q.t().dot(&matrix).dot(&q);
    let largest = turned.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    for (place, value) in form.diagonal().iter().enumerate() {
        let error = (turned[[place, place]] - value).abs();
        assert!(
            error < 1e-11 * largest,
            "{place}: {value} {}",
            turned[[place, place]]
        );
    }
}

fn dense(network: &Network, examples: &Examples) -> Array2<f64> {
    let curvature =
        NetworkCurvature::new(network, examples, Curvature::GaussNewton, 0.0, 0).unwrap();
    curvature.dense(DType::F64).unwrap().to_array().unwrap()
}

/// Q diag(d) Qᵀ + (Q R)ᵀ(Q R).
fn written_out(form: KroneckerForm) -> Array2<f64> {
    let q = axes_of(&form);
    let (axes, diagonal, rows) = form.into_rows();
    let d = rows.as_ref().map_or(&diagonal, |rows| &rows.rest);
    let scaled = Array2::from_shape_fn(q.dim(), |(i, j)| q[[i, j]] * d[j]);
    let mut matrix = scaled.dot(&q.t());
    if let Some(rows) = rows {
        let rows = array(&axes.vectors(&rows.rows).unwrap());
        matrix = matrix + rows.t().dot(&rows);
    }
    matrix
}

fn largest(matrix: &Array2<f64>) -> f64 {
    matrix.iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// One linear layer and one image: activations and gradients are independent, so that S ⊗ A is the matrix itself.
#[test]
fn one_linear_layer_is_exact() {
    let (network, examples) = problem(Blocks::Last(0));
    let roots = RootKind::Exact { share: 1.0 };
    let curvature =
        NetworkCurvature::new(&network, &examples, Curvature::GaussNewton, 0.0, 0).unwrap();
    let one = curvature.on_images(&[6]).unwrap();
    let matrix = one.dense(DType::F64).unwrap().to_array().unwrap();
    // The Kronecker product written out, from the image's own activation and probabilities.
    let outputs = network.outputs(&examples, &[6]).unwrap();
    let pi = outputs[0].probabilities.to_vec2::<f64>().unwrap().remove(0);
    let layer = network.kronecker_layers().remove(0);
    let roots_of = CurvatureRootsOf {
        network: &network,
        examples: &examples,
    };
    let a = roots_of.activation(6);
    let place = |row: usize, column: usize| match column == a.len() - 1 {
        true => layer.bias.clone().unwrap().start + row,
        false => layer.weight.start + row * (a.len() - 1) + column,
    };
    let mut expected = Array2::zeros(matrix.dim());
    for (c, e) in (0..4).flat_map(|c| (0..4).map(move |e| (c, e))) {
        let s = if c == e {
            pi[c] * (1.0 - pi[c])
        } else {
            -pi[c] * pi[e]
        };
        for (i, j) in (0..a.len()).flat_map(|i| (0..a.len()).map(move |j| (i, j))) {
            expected[[place(c, i), place(e, j)]] = s * a[i] * a[j];
        }
    }
    assert!(largest(&(&matrix - &expected)) < 1e-12 * largest(&expected));
    for eigenvalues in [Eigenvalues::Product, Eigenvalues::Corrected] {
        let settings = KroneckerSettings {
            roots,
            eigenvalues: Some(eigenvalues),
            ..EXACT
        };
        let form = KroneckerForm::of_network(&network, (&examples, &[6]), &settings).unwrap();
        let found = written_out(form);
        assert!(largest(&(found - &expected)) < 1e-12 * largest(&expected));
    }
}

/// The features of an image, from gradients of the head: those of class c are (π_c − y_c) (a, 1).
struct CurvatureRootsOf<'a> {
    network: &'a Network,
    examples: &'a Examples,
}

impl CurvatureRootsOf<'_> {
    fn activation(&self, image: u32) -> Vec<f64> {
        let gradient = self
            .network
            .example_gradients(self.examples, &[image])
            .unwrap();
        let gradient = gradient.to_vec2::<f64>().unwrap().remove(0);
        let layer = self.network.kronecker_layers().remove(0);
        let scale = gradient[layer.bias.unwrap().start];
        let width = layer.inputs - 1;
        let weights = gradient[layer.weight.start..][..width].iter();
        weights
            .map(|g| g / scale)
            .chain(std::iter::once(1.0))
            .collect()
    }
}

/// K-FAC is what the factors say: the Kronecker product S ⊗ A of every layer, written out.
#[test]
fn kfac_is_the_kronecker_product_of_the_factors() {
    let (network, examples) = problem(Blocks::Last(1));
    let settings = KroneckerSettings {
        eigenvalues: Some(Eigenvalues::Product),
        ..EXACT
    };
    let positions: Vec<u32> = (0..IMAGES as u32).collect();
    let found = written_out(form(&network, &examples, settings));
    let outputs = network.outputs(&examples, &positions).unwrap();
    let roots =
        crate::derivative::network::CurvatureRoots::of(&outputs, &positions, EXACT.roots).unwrap();
    for factors in network
        .kronecker_factors(&examples, &positions, &roots)
        .unwrap()
    {
        let layer = &factors.layer;
        let width = layer.weight.len() / layer.outputs;
        let size = layer.outputs * width;
        for (i, j) in (0..size).flat_map(|i| [0, size / 3, size - 1].map(|j| (i, j))) {
            let expected =
                factors.outputs[(i / width, j / width)] * factors.inputs[(i % width, j % width)];
            let error = found[[layer.weight.start + i, layer.weight.start + j]] - expected;
            assert!(error.abs() < 1e-11 * factors.inputs.norm_max() * factors.outputs.norm_max());
        }
    }
}

/// With as many rows as the matrix has rank nothing is left out; with fewer, nothing is made larger.
#[test]
fn a_low_rank_is_the_matrix_or_below_it() {
    let (network, examples) = problem(Blocks::Last(1));
    let matrix = dense(&network, &examples);
    let bytes = |rank: usize| (rank * network.size() * 8) as u64;
    let low_rank = |rank: usize, seed: u64| {
        let settings = KroneckerSettings {
            eigenvalues: None,
            row_bytes: bytes(rank),
            seed,
            ..EXACT
        };
        form(&network, &examples, settings)
    };
    let some = low_rank(6, 1);
    assert_eq!(some.row_count(), 6);
    let some = written_out(some);
    let (left, _) = (&matrix - &some).eigh(UPLO::Lower).unwrap();
    let (values, _) = matrix.eigh(UPLO::Lower).unwrap();
    let most = values[values.len() - 1];
    assert!(left[0] > -1e-9 * most, "{}", left[0]);
    // What is left is not much more than the best six rows would leave.
    assert!(left[left.len() - 1] < 3.0 * values[values.len() - 7]);
    assert_eq!(written_out(low_rank(6, 1)), some);
    assert_ne!(written_out(low_rank(6, 2)), some);
    let (network, examples) = problem(Blocks::Last(0));
    let matrix = dense(&network, &examples);
    let settings = KroneckerSettings {
        eigenvalues: None,
        row_bytes: 1 << 20,
        ..EXACT
    };
    // The head of four classes has rank 3 (d + 1) at most, and there are fewer images than that.
    let found = written_out(form(&network, &examples, settings));
    let (left, _) = (&matrix - &found).eigh(UPLO::Lower).unwrap();
    assert!(left[0] > -1e-9 * largest(&matrix));
}

/// Rows in axes, and a diagonal that makes up for what they leave: the diagonal of QᵀAQ stays.
#[test]
fn rows_and_diagonal_together_keep_the_diagonal() {
    let (network, examples) = problem(Blocks::Last(1));
    let plain = form(&network, &examples, EXACT);
    let both = KroneckerSettings {
        row_bytes: (5 * network.size() * 8) as u64,
        ..EXACT
    };
    let both = form(&network, &examples, both);
    assert_eq!(both.row_count(), 5);
    let q = axes_of(&plain);
    let turned = q.t().dot(&written_out(both)).dot(&q);
    for (place, value) in plain.diagonal().iter().enumerate() {
        let error = (turned[[place, place]] - value).abs();
        assert!(error < 1e-9 * largest(&turned), "{place}");
    }
}
