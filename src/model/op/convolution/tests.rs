//! The three roles as operations in their own right: adjoint to each other, each with the right gradients.

use super::*;
use crate::derivative::gradient;
use candle_core::{Device, Var};

const CASES: [(usize, usize, usize, usize, usize, usize); 7] = [
    // batch, height, width, kernel, stride, padding
    (1, 5, 4, 3, 1, 1),
    (2, 6, 7, 3, 2, 1),
    (10, 4, 5, 3, 2, 0),
    (9, 3, 4, 1, 1, 0),
    (2, 5, 5, 1, 2, 0),
    (1, 9, 8, 5, 3, 2),
    (1, 8, 7, 7, 2, 3),
];

fn geometry(
    (batch, height, width, kernel, stride, padding): (usize, usize, usize, usize, usize, usize),
) -> Geometry {
    Geometry {
        batch,
        c_in: 2,
        height,
        width,
        c_out: 3,
        kernel_h: kernel,
        kernel_w: kernel,
        stride,
        padding,
    }
}

/// Smooth numbers without symmetry.
fn numbers(phase: f64, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|i| (phase + 1.7 * i as f64 + 0.01 * (i * i) as f64).sin())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Image, weight and output gradient of a geometry.
fn operands(g: &Geometry) -> [Tensor; 3] {
    [
        numbers(0.1, &[g.batch, g.c_in, g.height, g.width]),
        numbers(0.2, &[g.c_out, g.c_in, g.kernel_h, g.kernel_w]),
        numbers(0.3, &[g.batch, g.c_out, g.out_h(), g.out_w()]),
    ]
}

fn inner(a: &Tensor, b: &Tensor) -> Tensor {
    assert_eq!(a.dims(), b.dims());
    (a * b).unwrap().sum_all().unwrap()
}

fn number(scalar: &Tensor) -> f64 {
    scalar.to_scalar().unwrap()
}

#[test]
fn roles_are_adjoint() {
    for case in CASES {
        let g = geometry(case);
        let [x, weight, y] = operands(&g);
        let expected = number(&inner(&apply(&x, &weight, g, Role::Forward).unwrap(), &y));
        let by_input = number(&inner(
            &apply(&y, &weight, g, Role::InputGradient).unwrap(),
            &x,
        ));
        let by_weight = number(&inner(
            &apply(&x, &y, g, Role::WeightGradient).unwrap(),
            &weight,
        ));
        for found in [by_input, by_weight] {
            assert!(
                (found - expected).abs() < 1e-11 * (1.0 + expected.abs()),
                "{case:?}: {found}, {expected}"
            );
        }
    }
}

/// All roles are bilinear, so a central difference of any step is exact but for rounding.
#[test]
fn gradients_of_every_role_are_finite_differences() {
    for case in CASES {
        let g = geometry(case);
        let [x, weight, y] = operands(&g);
        for (role, a, b, cotangent) in [
            (Role::Forward, &x, &weight, &y),
            (Role::InputGradient, &y, &weight, &x),
            (Role::WeightGradient, &x, &y, &weight),
        ] {
            let (a_variable, b_variable) =
                (Var::from_tensor(a).unwrap(), Var::from_tensor(b).unwrap());
            let value = inner(
                &apply(&a_variable, &b_variable, g, role).unwrap(),
                cotangent,
            );
            let gradients =
                gradient(&value, &[a_variable.as_tensor(), b_variable.as_tensor()]).unwrap();
            let (a_direction, b_direction) = (numbers(0.4, a.dims()), numbers(0.5, b.dims()));
            let along =
                |a: &Tensor, b: &Tensor| number(&inner(&apply(a, b, g, role).unwrap(), cotangent));
            for (gradient, direction, numeric) in [
                (&gradients[0], &a_direction, along(&a_direction, b)),
                (&gradients[1], &b_direction, along(a, &b_direction)),
            ] {
                let analytic = number(&inner(gradient, direction));
                assert!(
                    (analytic - numeric).abs() < 1e-11 * (1.0 + numeric.abs()),
                    "{role:?} {case:?}: {analytic}, {numeric}"
                );
            }
        }
    }
}

#[test]
fn constants_get_no_gradient() {
    let g = geometry(CASES[1]);
    let [x, weight, y] = operands(&g);
    let weight = Var::from_tensor(&weight).unwrap();
    let value = inner(&apply(&x, &weight, g, Role::Forward).unwrap(), &y);
    assert!(gradient(&value, &[&x]).is_err());
    assert!(gradient(&value, &[weight.as_tensor()]).is_ok());
}
