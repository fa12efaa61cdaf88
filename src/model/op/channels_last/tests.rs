//! The roles against the definition of a convolution, written as plain loops in f64.

use super::*;

/// Height, width, channels in and out, kernel, stride, padding, images.
const CASES: [[usize; 8]; 12] = [
    [5, 4, 2, 3, 3, 1, 1, 3],
    [6, 7, 2, 3, 3, 2, 1, 2],
    [4, 5, 3, 2, 3, 2, 0, 10],
    [3, 4, 2, 5, 1, 1, 0, 4],
    [5, 5, 2, 3, 1, 2, 0, 3],
    [9, 8, 1, 2, 5, 3, 2, 2],
    [8, 7, 3, 2, 7, 2, 3, 2],
    [6, 6, 40, 9, 3, 1, 1, 9],
    [7, 5, 3, 4, 3, 1, 0, 2],
    [4, 3, 2, 3, 3, 1, 2, 40],
    [31, 24, 3, 2, 3, 1, 1, 2],
    [1, 1, 2, 3, 3, 1, 1, 3],
];

fn geometry([height, width, channels, c_out, kernel, stride, padding, _]: [usize; 8]) -> Geometry {
    Geometry {
        input: Shape {
            height,
            width,
            channels,
        },
        c_out,
        kernel,
        stride,
        padding,
    }
}

/// Smooth numbers without symmetry.
fn numbers(phase: f64, count: usize) -> Vec<f64> {
    (0..count)
        .map(|i| (phase + 1.7 * i as f64 + 0.01 * ((i * i) % 977) as f64).sin())
        .collect()
}

/// Calls `visit(index of y, index of x, index of W)` for every product of the definition.
fn products(g: &Geometry, images: usize, mut visit: impl FnMut(usize, usize, usize)) {
    let (input, output) = (g.input, g.output());
    for image in 0..images {
        for oy in 0..output.height {
            for ox in 0..output.width {
                for ky in 0..g.kernel {
                    for kx in 0..g.kernel {
                        let y = (oy * g.stride + ky) as isize - g.padding as isize;
                        let x = (ox * g.stride + kx) as isize - g.padding as isize;
                        let inside = (0..input.height as isize).contains(&y)
                            && (0..input.width as isize).contains(&x);
                        if !inside {
                            continue;
                        }
                        for ci in 0..input.channels {
                            for co in 0..g.c_out {
                                let row = (image * output.height + oy) * output.width + ox;
                                let pixel =
                                    (image * input.height + y as usize) * input.width + x as usize;
                                let tap = ky * g.kernel + kx;
                                visit(
                                    row * g.c_out + co,
                                    pixel * input.channels + ci,
                                    (tap * input.channels + ci) * g.c_out + co,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

fn assert_close(case: [usize; 8], found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{case:?}");
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs();
        assert!(
            error < 1e-11 * (1.0 + expected.abs()),
            "{case:?}: {found}, {expected}"
        );
    }
}

#[test]
fn roles_are_the_definition() {
    for case in CASES {
        let (g, images) = (geometry(case), case[7]);
        let sizes = [
            images * g.input.elements(),
            g.columns() * g.c_out,
            images * g.output().elements(),
        ];
        let [xs, weights, ys] =
            [0, 1, 2].map(|i| [0.1, 0.6].map(|phase| numbers(phase + i as f64, sizes[i])));
        let mut expected = [
            vec![0.5; sizes[2]],
            vec![0.5; sizes[0]],
            vec![0.5; sizes[1]],
        ];
        for t in 0..2 {
            products(&g, images, |y, x, w| {
                expected[0][y] += xs[t][x] * weights[t][w];
                expected[1][x] += ys[t][y] * weights[t][w];
                expected[2][w] += xs[t][x] * ys[t][y];
            });
        }
        let terms = |a: &[Vec<f64>; 2], b: &[Vec<f64>; 2]| -> [(Vec<f64>, Vec<f64>); 2] {
            [0, 1].map(|t| (a[t].clone(), b[t].clone()))
        };
        let check = |form: Form, weights: &[Vec<f64>; 2]| {
            let (forward, back) = (terms(&xs, weights), terms(&ys, weights));
            let pairs = terms(&xs, &ys);
            let [forward, back, pairs] = [&forward, &back, &pairs]
                .map(|terms| terms.each_ref().map(|(a, b)| (&a[..], &b[..])));
            let start = |role: usize| Some(vec![0.5; expected[role].len()].into());
            let (y, x, mut weight) = match form {
                Form::Taps => (
                    unfolded::output(&g, images, &forward, start(0)),
                    unfolded::input_gradient(&g, images, &back, start(1)),
                    vec![0.5; sizes[1]],
                ),
                Form::Winograd => (
                    output(&g, images, &forward, start(0)),
                    input_gradient(&g, images, &back, start(1)),
                    vec![0.0; weights[0].len()],
                ),
            };
            assert_close(case, &y, &expected[0]);
            assert_close(case, &x, &expected[1]);
            match form {
                Form::Taps => unfolded::add_weight_gradient(&g, images, &pairs, &mut weight),
                Form::Winograd => {
                    add_weight_gradient(&g, images, &pairs, &mut weight);
                    weight = winograd::kernel_adjoint(&weight).to_vec();
                    weight.iter_mut().for_each(|sum| *sum += 0.5);
                }
            }
            assert_close(case, &weight, &expected[2]);
        };
        check(Form::Taps, &weights);
        if g.form() == Form::Winograd {
            check(
                Form::Winograd,
                &weights.each_ref().map(|w| winograd::kernel(w).to_vec()),
            );
        }
    }
}

#[test]
fn without_a_start_the_sum_alone() {
    let (g, images) = (geometry(CASES[0]), 3);
    let x = numbers(0.2, images * g.input.elements());
    let weight = winograd::kernel(&numbers(0.3, g.columns() * g.c_out));
    let zero = vec![0.0; images * g.output().elements()];
    let terms = [(&x[..], &weight[..])];
    assert_eq!(
        *output(&g, images, &terms, None),
        *output(&g, images, &terms, Some(zero.into()))
    );
}
