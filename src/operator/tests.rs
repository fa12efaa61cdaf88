//! Every operator against its matrix by definition; linearity and symmetry as properties.

use super::*;
use crate::derivative::head::HeadCoordinates;
use crate::operator::{Damped, Dense};
use ndarray::{Array1, Array2};
use proptest::prelude::*;

const CLASSES: usize = 3;
const FEATURES: usize = 4;
const SIZE: usize = CLASSES * (FEATURES + 1);

fn wave(length: usize, frequency: f64) -> Vec<f64> {
    (0..length)
        .map(|i| (frequency * (i as f64 + 0.4)).sin())
        .collect()
}

fn tensor(values: Vec<f64>, columns: usize) -> Tensor {
    let rows = values.len() / columns;
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

fn head_and_inputs(count: usize) -> (SoftmaxHead, HeadInputs) {
    let head = SoftmaxHead::from_parameters(&tensor(wave(SIZE, 1.3), FEATURES + 1)).unwrap();
    let labels: Vec<usize> = (0..count).map(|row| row % CLASSES).collect();
    let inputs = HeadInputs::new(
        &tensor(wave(count * FEATURES, 0.9), FEATURES),
        &labels,
        DType::F64,
    )
    .unwrap();
    (head, inputs)
}

/// (1/n) Σ (diag(π) − ππᵀ) ⊗ aaᵀ + l2·I, entry by entry.
fn by_definition(head: &SoftmaxHead, inputs: &HeadInputs, l2: f64) -> Array2<f64> {
    let rows = inputs.rows().all().unwrap().to_vec2::<f64>().unwrap();
    let probabilities = head
        .outputs(inputs)
        .unwrap()
        .probabilities
        .to_vec2::<f64>()
        .unwrap();
    let columns = FEATURES + 1;
    Array2::from_shape_fn((SIZE, SIZE), |(i, j)| {
        let (c, k) = (i / columns, j / columns);
        let data: f64 = (rows.iter().zip(&probabilities))
            .map(|(a, p)| {
                p[c] * (f64::from(u8::from(c == k)) - p[k]) * a[i % columns] * a[j % columns]
            })
            .sum();
        data / rows.len() as f64 + l2 * f64::from(u8::from(i == j))
    })
}

fn largest_difference(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    (a - b)
        .iter()
        .fold(0.0, |largest, value| largest.max(value.abs()))
}

fn product(operator: &dyn LinearOperator, values: Vec<f64>) -> Array2<f64> {
    let rows = values.len() / operator.size();
    let product = operator
        .apply(&Vectors::new(tensor(values, operator.size())).unwrap())
        .unwrap();
    let values = product
        .tensor()
        .flatten_all()
        .unwrap()
        .to_vec1::<f64>()
        .unwrap();
    Array2::from_shape_vec((rows, operator.size()), values).unwrap()
}

#[test]
fn products_and_dense_form_equal_the_definition_for_every_chunk_size() {
    let (head, inputs) = head_and_inputs(11);
    let expected = by_definition(&head, &inputs, 0.02);
    let vectors = wave(5 * SIZE, 2.1);
    let block = Array2::from_shape_vec((5, SIZE), vectors.clone()).unwrap();
    for chunk in [1, 4, 11, 1024] {
        let hessian = HeadHessian::new(&head, &inputs, 0.02)
            .unwrap()
            .with_row_chunk(chunk);
        let dense = hessian.dense(DType::F64).unwrap().to_array().unwrap();
        assert!(largest_difference(&dense, &expected) < 1e-15);
        assert_eq!(dense, dense.t());
        assert!(
            largest_difference(&product(&hessian, vectors.clone()), &block.dot(&expected)) < 1e-14
        );
    }
}

#[test]
fn the_hessian_is_the_derivative_of_the_gradient() {
    let (head, inputs) = head_and_inputs(7);
    let hessian = HeadHessian::new(&head, &inputs, 0.1)
        .unwrap()
        .dense(DType::F64)
        .unwrap()
        .to_array()
        .unwrap();
    let step = 1e-5;
    for index in 0..SIZE {
        let gradient = |by: f64| -> Array1<f64> {
            let mut values = wave(SIZE, 1.3);
            values[index] += by;
            let moved = SoftmaxHead::from_parameters(&tensor(values, FEATURES + 1)).unwrap();
            let gradient = moved.objective(&inputs, 0.1).unwrap().1;
            gradient
                .flatten_all()
                .unwrap()
                .to_vec1::<f64>()
                .unwrap()
                .into()
        };
        let numeric = (gradient(step) - gradient(-step)) / (2.0 * step);
        assert!(
            (&numeric - &hessian.row(index))
                .iter()
                .all(|difference| difference.abs() < 1e-9)
        );
    }
}

#[test]
fn a_certain_prediction_keeps_its_curvature_in_f32() {
    // π_0 = 1 − 2e-9: in f32 1 − π_0 is 0, so that only a product that avoids the difference sees any curvature.
    let tiny = 1e-9f32;
    let probabilities = Tensor::new(&[[1.0 - 2.0 * tiny, tiny, tiny]], &Device::Cpu).unwrap();
    let mut result = [1000.0f32, 999.0, 1002.0];
    SoftmaxCurvature::new(probabilities, None)
        .apply_on_host(&mut result, 3)
        .unwrap();
    for (value, expected) in result.iter().zip([-1.0e-9, -1.0e-9, 2.0e-9]) {
        assert!(
            (f64::from(*value) / expected - 1.0).abs() < 1e-6,
            "{value} {expected}"
        );
    }
}

#[test]
fn the_pass_over_directions_is_what_tensor_operations_give() {
    let (head, inputs) = head_and_inputs(7);
    let outputs = head.outputs(&inputs).unwrap();
    let axes = HeadCoordinates::of(&inputs, &outputs).unwrap();
    for axes in [None, Some(axes.classes().clone())] {
        let curvature = SoftmaxCurvature::new(outputs.probabilities.clone(), axes);
        let columns = 3 * curvature.width();
        let mut found = wave(7 * columns, 0.4);
        let composed = curvature.apply(&tensor(found.clone(), columns)).unwrap();
        curvature.apply_on_host(&mut found, columns).unwrap();
        let composed = composed.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert!((found.iter().zip(&composed)).all(|(a, b)| (a - b).abs() < 1e-14));
    }
}

/// Of more classes than are written out for a product, and fewer feature axes than make that worth it for the matrix.
#[test]
fn of_many_classes_every_way_gives_the_same() {
    const MANY: usize = 40;
    let (count, columns, width) = (9, 5, MANY - 1);
    let parameters: Vec<f64> = wave(MANY * columns, 1.3).iter().map(|v| 6.0 * v).collect();
    let head = SoftmaxHead::from_parameters(&tensor(parameters, columns)).unwrap();
    let features = tensor(wave(count * (columns - 1), 0.7), columns - 1);
    let labels: Vec<usize> = (0..count).collect();
    let inputs = HeadInputs::new(&features, &labels, DType::F64).unwrap();
    let outputs = head.outputs(&inputs).unwrap();
    let coordinates = HeadCoordinates::of(&inputs, &outputs).unwrap();
    let array = |tensor: &Tensor| {
        let values = tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        Array2::from_shape_vec(tensor.dims2().unwrap(), values).unwrap()
    };
    let (axes, probabilities) = (array(coordinates.classes()), array(&outputs.probabilities));
    let by_definition = |image: usize| {
        let row = probabilities.row(image);
        let between_logits = Array2::from_shape_fn((MANY, MANY), |(c, k)| {
            f64::from(u8::from(c == k)) * row[c] - row[c] * row[k]
        });
        axes.t().dot(&between_logits).dot(&axes)
    };
    let expected: Vec<Array2<f64>> = (0..count).map(by_definition).collect();

    let curvature = SoftmaxCurvature::new(
        outputs.probabilities.clone(),
        Some(coordinates.classes().clone()),
    );
    let (written, diagonals) = (
        curvature.written_out().unwrap(),
        curvature.diagonals().unwrap(),
    );
    let norms = curvature.norms().unwrap();
    for (image, expected) in expected.iter().enumerate() {
        let size = width * width;
        let found = written[image * size..][..size].to_vec();
        let found = Array2::from_shape_vec((width, width), found).unwrap();
        assert!(largest_difference(&found, expected) < 1e-14);
        let diagonal = &diagonals[image * width..][..width];
        assert!((0..width).all(|c| (diagonal[c] - expected[[c, c]]).abs() < 1e-14));
        let norm = expected
            .iter()
            .map(|value| value * value)
            .sum::<f64>()
            .sqrt();
        assert!(
            norms[image] >= norm && norms[image] < 1.2 * norm,
            "{norm} {}",
            norms[image]
        );
    }
    let factors = wave(count, 2.9);
    let weighted = (expected.iter().zip(&factors)).fold(
        Array2::zeros((width, width)),
        |sum: Array2<f64>, (matrix, factor)| sum + *factor * matrix,
    );
    let found = curvature.weighted_sum(&factors).unwrap();
    let found = Array2::from_shape_fn((width, width), |(c, e)| found[(c, e)]);
    assert!(largest_difference(&found, &weighted) < 1e-13);

    let directions = 3;
    let mut found = wave(count * directions * width, 0.4);
    let rows = Array2::from_shape_vec((count * directions, width), found.clone()).unwrap();
    curvature
        .apply_on_host(&mut found, directions * width)
        .unwrap();
    for (row, found) in found.chunks_exact(width).enumerate() {
        let product = expected[row / directions].dot(&rows.row(row));
        assert!((found.iter().zip(&product)).all(|(a, b)| (a - b).abs() < 1e-14));
    }

    let rotated = coordinates.inputs(&inputs).unwrap();
    let hessian = HeadHessian::in_coordinates(&coordinates, &rotated, &outputs, 0.02).unwrap();
    let dense = hessian.dense(DType::F64).unwrap().to_array().unwrap();
    let rows = array(&rotated.chunk(0..count).unwrap());
    let matrix = Array2::from_shape_fn((width * columns, width * columns), |(i, j)| {
        let terms = (0..count).map(|image| {
            let curvature = expected[image][[i / columns, j / columns]];
            curvature * rows[[image, i % columns]] * rows[[image, j % columns]]
        });
        terms.sum::<f64>() / count as f64 + if i == j { 0.02 } else { 0.0 }
    });
    assert!(largest_difference(&dense, &matrix) < 1e-13);
    let diagonal = hessian.diagonal().unwrap();
    assert!((0..width * columns).all(|i| (diagonal[i] - matrix[[i, i]]).abs() < 1e-13));
    let block = hessian.principal_block(2 * width).unwrap().unwrap();
    let part = Array2::from_shape_fn((2 * width, 2 * width), |(i, j)| {
        matrix[[block.positions[i], block.positions[j]]]
    });
    assert!(largest_difference(&block.matrix.to_array().unwrap(), &part) < 1e-13);
}

#[test]
fn a_certain_prediction_among_many_classes_keeps_its_curvature_in_f32() {
    let (classes, tiny) = (40, 1e-9f32);
    let mut row = vec![tiny; classes];
    row[0] = 1.0 - 39.0 * tiny;
    let probabilities = Tensor::from_vec(row, (1, classes), &Device::Cpu).unwrap();
    // Columns of the Helmert matrix.
    let helmert = |(class, axis): (usize, usize)| {
        let scale = (((axis + 1) * (axis + 2)) as f64).sqrt().recip();
        match class.cmp(&(axis + 1)) {
            std::cmp::Ordering::Less => scale,
            std::cmp::Ordering::Equal => -((axis + 1) as f64) * scale,
            std::cmp::Ordering::Greater => 0.0,
        }
    };
    let axes = Array2::from_shape_fn((classes, classes - 1), helmert);
    let axes = tensor(axes.into_iter().collect(), classes - 1);
    let curvature = SoftmaxCurvature::new(probabilities, Some(axes));
    let written = curvature.written_out().unwrap();
    let largest = written
        .iter()
        .fold(0.0f64, |most, value| most.max(value.abs()));
    assert!(largest > 1e-9 && largest < 1e-7, "{largest}");
    for direction in 0..classes - 1 {
        let mut found = vec![0f32; classes - 1];
        found[direction] = 1.0;
        curvature.apply_on_host(&mut found, classes - 1).unwrap();
        let expected = &written[direction * (classes - 1)..];
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 3e-6 * largest,
                "{found} {expected}"
            );
        }
    }
}

#[test]
fn in_coordinates_the_curvature_is_the_same_without_its_null_space() {
    let (head, inputs) = head_and_inputs(11);
    let outputs = head.outputs(&inputs).unwrap();
    let coordinates = HeadCoordinates::of(&inputs, &outputs).unwrap();
    let rotated = coordinates.inputs(&inputs).unwrap();
    let hessian = HeadHessian::in_coordinates(&coordinates, &rotated, &outputs, 0.02)
        .unwrap()
        .with_row_chunk(4);
    let size = (CLASSES - 1) * (FEATURES + 1);
    assert_eq!(hessian.size(), size);
    let dense = hessian.dense(DType::F64).unwrap().to_array().unwrap();
    // The rotation R [p, p'] by its definition: class axis c and feature axis j give the column classes_c ⊗ features_j.
    let classes = coordinates.classes().to_vec2::<f64>().unwrap();
    let features = coordinates.features().to_vec2::<f64>().unwrap();
    let rotation = Array2::from_shape_fn((SIZE, size), |(i, j)| {
        let columns = FEATURES + 1;
        classes[i / columns][j / columns] * features[i % columns][j % columns]
    });
    let expected = rotation
        .t()
        .dot(&by_definition(&head, &inputs, 0.02))
        .dot(&rotation);
    assert!(largest_difference(&dense, &expected) < 1e-14);
    assert!(largest_difference(&rotation.t().dot(&rotation), &Array2::eye(size)) < 1e-14);
    let diagonal = hessian.diagonal().unwrap();
    assert!((0..size).all(|i| (diagonal[i] - expected[[i, i]]).abs() < 1e-14));
    let damped = Damped::new(&hessian, 0.3).unwrap();
    for (room, axes) in [(2, 1), (7, 3), (size, FEATURES + 1), (99, FEATURES + 1)] {
        let block = damped.principal_block(room).unwrap().unwrap();
        // The strongest axes come first, two class directions of each.
        let columns = FEATURES + 1;
        let positions: Vec<usize> = (0..axes).chain(columns..columns + axes).collect();
        assert_eq!(block.positions, positions);
        let part = Array2::from_shape_fn((2 * axes, 2 * axes), |(i, j)| {
            expected[[positions[i], positions[j]]] + if i == j { 0.3 } else { 0.0 }
        });
        assert!(largest_difference(&block.matrix.to_array().unwrap(), &part) < 1e-14);
    }
    assert!(
        damped
            .principal_block(1)
            .unwrap()
            .unwrap()
            .positions
            .is_empty()
    );
    let vectors = wave(3 * size, 2.1);
    let block = Array2::from_shape_vec((3, size), vectors.clone()).unwrap();
    assert!(largest_difference(&product(&hessian, vectors), &block.dot(&expected)) < 1e-14);
    // A batch of all images twice over is the whole.
    let positions: Vec<u32> = (0..22).map(|i| i % 11).collect();
    let batch = hessian.on_images(&positions).unwrap();
    let batch = batch.dense(DType::F64).unwrap().to_array().unwrap();
    assert!(largest_difference(&batch, &expected) < 1e-14);
}

#[test]
fn a_certain_prediction_keeps_its_curvature_in_axes() {
    let tiny = 1e-9f32;
    let probabilities = Tensor::new(&[[1.0 - 2.0 * tiny, tiny, tiny]], &Device::Cpu).unwrap();
    let (a, b) = (0.5f64.sqrt(), 6f64.sqrt());
    let axes = tensor(vec![a, 1.0 / b, -a, 1.0 / b, 0.0, -2.0 / b], 2);
    let curvature = SoftmaxCurvature::new(probabilities, Some(axes));
    let found = curvature.written_out().unwrap();
    // By hand, to first order in 1e-9: Σ_k π_k v_k v_kᵀ with v_1 = (−2a, 0) and v_2 = (−a, −3/b).
    let expected = [5.0 * a * a, 3.0 * a / b, 3.0 * a / b, 9.0 / (b * b)];
    for (found, expected) in found.iter().zip(expected) {
        assert!((found / (1e-9 * expected) - 1.0).abs() < 1e-6, "{found}");
    }
}

#[test]
fn damping_adds_to_the_diagonal_and_to_the_structure() {
    let (head, inputs) = head_and_inputs(6);
    let hessian = HeadHessian::new(&head, &inputs, 0.0).unwrap();
    let damped = Damped::new(&hessian, 0.5).unwrap();
    let expected = by_definition(&head, &inputs, 0.5);
    assert!(
        largest_difference(
            &damped.dense(DType::F64).unwrap().to_array().unwrap(),
            &expected
        ) < 1e-15
    );
    assert!(largest_difference(&product(&damped, identity()), &expected) < 1e-15);
    assert_eq!(hessian.structure(), Structure::PositiveSemidefinite);
    assert_eq!(damped.structure(), Structure::PositiveDefinite);
    assert!(
        Damped::new(&hessian, -1.0).is_err_and(|error| error.to_string().contains("--damping"))
    );
    assert!(
        HeadHessian::new(&head, &inputs, f64::NAN)
            .is_err_and(|error| error.to_string().contains("--l2"))
    );
}

#[test]
fn residuals_are_what_products_leave() {
    let (head, inputs) = head_and_inputs(9);
    let hessian = HeadHessian::new(&head, &inputs, 0.1).unwrap();
    let damped = Damped::new(&hessian, 0.5).unwrap();
    let matrix = by_definition(&head, &inputs, 0.1 + 0.5);
    let (values, right_hand_sides) = (wave(2 * SIZE, 0.7), wave(2 * SIZE, 1.9));
    let vectors = |values: &[f64]| Vectors::new(tensor(values.to_vec(), SIZE)).unwrap();
    let found = damped
        .residuals(&vectors(&values), &vectors(&right_hand_sides))
        .unwrap();
    let found = found.tensor().flatten_all().unwrap().to_vec1().unwrap();
    let rows = |values: Vec<f64>| Array2::from_shape_vec((2, SIZE), values).unwrap();
    let expected = rows(right_hand_sides) - rows(values).dot(&matrix);
    assert!(largest_difference(&rows(found), &expected) < 1e-14);
}

#[test]
fn vectors_of_another_length_are_refused() {
    let (head, inputs) = head_and_inputs(6);
    let hessian = HeadHessian::new(&head, &inputs, 0.0).unwrap();
    let error = hessian
        .apply(&Vectors::new(tensor(wave(8, 1.0), 8)).unwrap())
        .unwrap_err();
    assert!(
        error.to_string().contains("expected 15, found 8"),
        "{error}"
    );
}

fn identity() -> Vec<f64> {
    (0..SIZE * SIZE)
        .map(|i| f64::from(u8::from(i % (SIZE + 1) == 0)))
        .collect()
}

#[test]
fn a_dense_operator_multiplies() {
    let matrix = Array2::from_shape_vec((2, 2), vec![1.0, 2.0, 2.0, 4.0]).unwrap();
    let dense = Dense::new(matrix, Structure::Symmetric).unwrap();
    assert_eq!(
        product(&dense, vec![1.0, 0.0]).into_raw_vec_and_offset().0,
        [1.0, 2.0]
    );
    assert_eq!(dense.diagonal().unwrap(), [1.0, 4.0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn products_are_linear_symmetric_and_not_negative(
        u in prop::collection::vec(-3.0..3.0f64, SIZE),
        v in prop::collection::vec(-3.0..3.0f64, SIZE),
        scale in -2.0..2.0f64,
    ) {
        let (head, inputs) = head_and_inputs(9);
        let hessian = HeadHessian::new(&head, &inputs, 0.01).unwrap().with_row_chunk(4);
        let sum: Vec<f64> = u.iter().zip(&v).map(|(a, b)| scale * a + b).collect();
        let (hu, hv, hs) = (product(&hessian, u.clone()), product(&hessian, v.clone()), product(&hessian, sum));
        prop_assert!(largest_difference(&hs, &(&hu * scale + &hv)) < 1e-13);
        let (u, v) = (Array1::from(u), Array1::from(v));
        prop_assert!((hu.row(0).dot(&v) - hv.row(0).dot(&u)).abs() < 1e-12);
        prop_assert!(hu.row(0).dot(&u) >= 0.0);
    }
}

/// The hessian in axes with certain and uncertain predictions, and the same with its curvatures written out beforehand.
fn as_on_a_device(dtype: DType) -> (HeadHessian, HeadHessian) {
    let (head, _) = head_and_inputs(1);
    let strong = SoftmaxHead::from_parameters(&(head.parameters() * 9.0).unwrap()).unwrap();
    let features = tensor(wave(11 * FEATURES, 0.9), FEATURES);
    let labels: Vec<usize> = (0..11).map(|row| row % CLASSES).collect();
    let inputs = HeadInputs::new(&features, &labels, dtype).unwrap();
    let outputs = strong.to_dtype(dtype).unwrap().outputs(&inputs).unwrap();
    let axes = HeadCoordinates::of(&inputs, &outputs).unwrap();
    let rows = axes.inputs(&inputs).unwrap();
    let hessian = || {
        let hessian = HeadHessian::in_coordinates(&axes, &rows, &outputs, 0.1).unwrap();
        hessian.with_row_chunk(4)
    };
    let mut written = hessian();
    written.curvature = hessian().curvature.written(usize::MAX).unwrap();
    (hessian(), written)
}

#[test]
fn tensor_operations_give_the_products_and_the_matrix_of_the_host() {
    for (dtype, tolerance) in [(DType::F64, 1e-15), (DType::F32, 3e-7)] {
        let (hessian, written) = as_on_a_device(dtype);
        let columns = FEATURES + 1;
        let vectors = tensor(wave(4 * hessian.size(), 0.7), columns)
            .to_dtype(dtype)
            .unwrap();
        let found = |hessian: &HeadHessian| {
            let product = hessian.data_product_on_device(&vectors).unwrap();
            let product = product
                .to_dtype(DType::F64)
                .unwrap()
                .to_vec2::<f64>()
                .unwrap();
            Array2::from_shape_vec((product.len(), columns), product.concat()).unwrap()
        };
        let expected = hessian
            .data_product(&vectors)
            .unwrap()
            .to_dtype(DType::F64)
            .unwrap();
        let expected = expected.to_vec2::<f64>().unwrap();
        let expected =
            Array2::from_shape_vec((expected.len(), columns), expected.concat()).unwrap();
        assert!(largest_difference(&found(&hessian), &expected) < tolerance);
        assert!(largest_difference(&found(&written), &expected) < tolerance);
        for axes in [None, Some(&[0, 2, 3][..])] {
            let host = hessian.matrix(axes, dtype).unwrap().to_array().unwrap();
            for hessian in [&hessian, &written] {
                let blocks = hessian.block_columns(axes, dtype).unwrap();
                assert_eq!(blocks.dtype(), dtype);
                let mut blocks = SymmetricMatrix::Columns(blocks);
                blocks.add_to_diagonal(hessian.l2).unwrap();
                let blocks = blocks.to_array().unwrap();
                assert!(largest_difference(&blocks, &host) < tolerance, "{axes:?}");
            }
        }
    }
}

#[test]
fn composed_from_tensor_operations_a_certain_prediction_keeps_its_curvature() {
    let tiny = 1e-9f32;
    let probabilities = Tensor::new(&[[1.0 - 2.0 * tiny, tiny, tiny]], &Device::Cpu).unwrap();
    let (a, b) = (0.5f64.sqrt(), 6f64.sqrt());
    let axes = tensor(vec![a, 1.0 / b, -a, 1.0 / b, 0.0, -2.0 / b], 2);
    let curvature = SoftmaxCurvature::new(probabilities, Some(axes));
    let units = Tensor::new(&[[1f32, 0.0, 0.0, 1.0]], &Device::Cpu).unwrap();
    let composed = curvature.apply(&units).unwrap().to_vec2::<f32>().unwrap();
    let written = curvature.written(9).unwrap();
    let product = written.apply(&units).unwrap().to_vec2::<f32>().unwrap();
    for (found, expected) in composed[0].iter().zip(written.written_out().unwrap()) {
        assert!((f64::from(*found) / expected - 1.0).abs() < 1e-6, "{found}");
    }
    for (found, expected) in product[0].iter().zip(written.written_out().unwrap()) {
        assert!((f64::from(*found) / expected - 1.0).abs() < 1e-6, "{found}");
    }
}
