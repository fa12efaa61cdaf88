//! The head's closed forms against finite differences and against plain loops.

use super::*;

fn problem(count: usize) -> (SoftmaxHead, HeadInputs) {
    let (classes, features) = (4, 5);
    let wave = |length: usize, shift: f64| -> Vec<f64> {
        (0..length)
            .map(|i| (1.7 * i as f64 + shift).sin())
            .collect()
    };
    let tensor =
        |values, rows, columns| Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap();
    let head = SoftmaxHead::from_parameters(&tensor(
        wave(classes * (features + 1), 0.3),
        classes,
        features + 1,
    ))
    .unwrap();
    let labels: Vec<usize> = (0..count).map(|row| (row * 7 + 1) % classes).collect();
    let inputs = HeadInputs::new(
        &tensor(wave(count * features, 1.1), count, features),
        &labels,
        DType::F64,
    )
    .unwrap();
    (head, inputs)
}

fn moved(head: &SoftmaxHead, index: usize, by: f64) -> SoftmaxHead {
    let mut values = head
        .parameters()
        .flatten_all()
        .unwrap()
        .to_vec1::<f64>()
        .unwrap();
    values[index] += by;
    let parameters = Tensor::from_vec(values, head.parameters().shape(), &Device::Cpu).unwrap();
    SoftmaxHead::from_parameters(&parameters).unwrap()
}

#[test]
fn gradients_agree_with_finite_differences_in_the_stated_parameter_order() {
    let (head, inputs) = problem(6);
    let gradients = head
        .outputs(&inputs)
        .unwrap()
        .gradients(&inputs, 0..6)
        .unwrap()
        .to_vec2::<f64>()
        .unwrap();
    let objective = head
        .objective(&inputs, 0.3)
        .unwrap()
        .1
        .flatten_all()
        .unwrap()
        .to_vec1::<f64>()
        .unwrap();
    let step = 1e-5;
    for index in 0..head.parameter_count() {
        let (above, below) = (moved(&head, index, step), moved(&head, index, -step));
        let losses = |head: &SoftmaxHead| head.outputs(&inputs).unwrap().losses;
        for (row, (up, down)) in losses(&above).iter().zip(losses(&below)).enumerate() {
            assert!(((up - down) / (2.0 * step) - gradients[row][index]).abs() < 1e-9);
        }
        let value = |head: &SoftmaxHead| head.objective(&inputs, 0.3).unwrap().0;
        assert!(((value(&above) - value(&below)) / (2.0 * step) - objective[index]).abs() < 1e-9);
    }
}

#[test]
fn a_block_of_gradients_is_the_rows_of_the_whole() {
    let (head, inputs) = problem(9);
    let outputs = head.outputs(&inputs).unwrap();
    let whole = outputs
        .gradients(&inputs, 0..9)
        .unwrap()
        .to_vec2::<f64>()
        .unwrap();
    assert_eq!(
        outputs
            .gradients(&inputs, 3..7)
            .unwrap()
            .to_vec2::<f64>()
            .unwrap(),
        whole[3..7]
    );
}

#[test]
fn a_confident_row_keeps_its_small_loss_and_residual() {
    let logits = Tensor::new(&[[0f32, 40.0, 1.0], [1000.0, -1000.0, 0.0]], &Device::Cpu).unwrap();
    let outputs = HeadOutputs::from_logits(&logits, &[1, 1]).unwrap();
    let expected = (-40f64).exp() + (-39f64).exp();
    assert!((outputs.losses[0] / expected - 1.0).abs() < 1e-12);
    assert_eq!(outputs.losses[1], 2000.0);
    let residuals = outputs.residuals.to_vec2::<f32>().unwrap();
    assert!((f64::from(residuals[0][1]) / -expected - 1.0).abs() < 1e-6);
    assert_eq!(residuals[1], [1.0, -1.0, 0.0]);
    assert_eq!(outputs.predictions, [1, 0]);
}

#[test]
fn inputs_that_do_not_fit_name_row_and_remedy() {
    let (head, _) = problem(2);
    let features = Tensor::new(
        &[[0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, f64::NAN, 3.0, 4.0]],
        &Device::Cpu,
    )
    .unwrap();
    let message = HeadInputs::new(&features, &[0, 1], DType::F64)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("row 1") && message.contains("not a finite number"),
        "{message}"
    );
    let clean = features.narrow(0, 0, 1).unwrap();
    assert!(
        HeadInputs::new(&clean, &[0, 1], DType::F64)
            .unwrap_err()
            .to_string()
            .contains("labels")
    );
    let outside = HeadInputs::new(&clean, &[4], DType::F64).unwrap();
    let message = head.outputs(&outside).unwrap_err().to_string();
    assert!(
        message.contains("row 0") && message.contains("below 4"),
        "{message}"
    );
    let narrow = HeadInputs::new(&clean.narrow(1, 0, 3).unwrap(), &[0], DType::F64).unwrap();
    assert!(
        head.outputs(&narrow)
            .unwrap_err()
            .to_string()
            .contains("expected 5, found 3")
    );
    let weight = Tensor::zeros((3, 2), DType::F32, &Device::Cpu).unwrap();
    let bias = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
    assert!(
        SoftmaxHead::new(&weight, &bias)
            .unwrap_err()
            .to_string()
            .contains("expected 3, found 4")
    );
}

#[test]
fn strong_axes_are_orthonormal_and_begin_with_the_kronecker_ones() {
    // Features with a mean and eigenvalues that fall by half, more of them than axes are looked for.
    let (count, size) = (300, 90);
    let noise = |i: usize, j: usize| (((i * 7919 + j * 104_729) % 1009) as f64 / 504.0) - 1.0;
    let feature = |i: usize, j: usize| 3.0 + noise(i, j) * 2f64.powf(-(j as f64) / 4.0);
    let values: Vec<f64> = (0..count)
        .flat_map(|i| (0..size).map(move |j| feature(i, j)))
        .collect();
    let features = Tensor::from_vec(values, (count, size), &Device::Cpu).unwrap();
    let labels: Vec<usize> = (0..count).map(|i| i % 3).collect();
    let inputs = HeadInputs::new(&features, &labels, DType::F64).unwrap();
    let head = SoftmaxHead::zeros(3, size, DType::F64, &Device::Cpu).unwrap();
    let outputs = head.outputs(&inputs).unwrap();
    let strong = HeadCoordinates::of_strong_axes(&inputs, &outputs).unwrap();
    let kronecker = HeadCoordinates::of(&inputs, &outputs).unwrap();
    let products =
        |a: &Tensor, b: &Tensor| a.t().unwrap().matmul(b).unwrap().to_vec2::<f64>().unwrap();
    for (i, row) in products(strong.features(), strong.features())
        .iter()
        .enumerate()
    {
        for (j, value) in row.iter().enumerate() {
            assert!(
                (value - f64::from(u8::from(i == j))).abs() < 1e-13,
                "{i} {j} {value}"
            );
        }
    }
    let shared = products(strong.features(), kronecker.features());
    for (axis, row) in shared.iter().enumerate().take(8) {
        assert!(
            (row[axis].abs() - 1.0).abs() < 1e-8,
            "{axis}: {}",
            row[axis]
        );
    }
    let (a, b) = (strong.classes(), kronecker.classes());
    assert_eq!(a.to_vec2::<f64>().unwrap(), b.to_vec2::<f64>().unwrap());
}
