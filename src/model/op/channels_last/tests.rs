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

/// G.
const KERNEL: [[f64; 3]; 4] = [
    [1.0, 0.0, 0.0],
    [0.5, 0.5, 0.5],
    [0.5, -0.5, 0.5],
    [0.0, 0.0, 1.0],
];

/// W̃ `[16, n]` of kernels `[9, n]`.
fn kernel(taps: &[f64]) -> Vec<f64> {
    // ky, then kx.
    let size = taps.len() / 9;
    let half = combined(taps, size, 12, |place, tap| match place % 3 == tap % 3 {
        true => KERNEL[place / 3][tap / 3],
        false => 0.0,
    });
    combined(&half, size, 16, |place, tap| match place / 4 == tap / 3 {
        true => KERNEL[place % 4][tap % 3],
        false => 0.0,
    })
}

/// The adjoint: `[9, n]` of `[16, n]`.
fn kernel_adjoint(places: &[f64]) -> Vec<f64> {
    let size = places.len() / PLACES;
    let half = combined(places, size, 12, |tap, place| match place / 4 == tap / 3 {
        true => KERNEL[place % 4][tap % 3],
        false => 0.0,
    });
    combined(&half, size, 9, |tap, place| match place % 3 == tap % 3 {
        true => KERNEL[place / 3][tap / 3],
        false => 0.0,
    })
}

/// Rows of `size` numbers, each a sum of rows of `from` with the given coefficients.
fn combined(
    from: &[f64],
    size: usize,
    count: usize,
    coefficient: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let mut out = vec![0.0; count * size];
    for (row, out) in out.chunks_mut(size).enumerate() {
        for (index, from) in from.chunks_exact(size).enumerate() {
            let factor = coefficient(row, index);
            (out.iter_mut().zip(from)).for_each(|(out, &value)| *out += factor * value);
        }
    }
    out
}

/// `[C_out, C_in, k²]` of `[k², C_in, C_out]`.
fn stored(taps: &[f64], c_in: usize, c_out: usize) -> Vec<f64> {
    let count = taps.len() / (c_in * c_out);
    let mut stored = vec![0.0; taps.len()];
    for (place, &value) in taps.iter().enumerate() {
        let (tap, ci, co) = (place / (c_in * c_out), place / c_out % c_in, place % c_out);
        stored[(co * c_in + ci) * count + tap] = value;
    }
    stored
}

#[test]
fn kernels_go_in_and_out_as_written_down() {
    for (side, c_in, c_out) in [
        (1, 3, 5),
        (1, 130, 67),
        (2, 4, 3),
        (3, 1, 1),
        (3, 5, 7),
        (3, 40, 33),
        (3, 70, 96),
        (7, 3, 20),
    ] {
        let (case, size) = ([side, c_in, c_out, 0, 0, 0, 0, 0], c_in * c_out);
        let taps = numbers(0.4, side * side * size);
        let outer = stored(&taps, c_in, c_out);
        let of = |form| Kernel::new(&[c_out, c_in, side, side], form).unwrap();
        let mut back = vec![0.0; outer.len()];
        assert_close(case, &of(Form::Taps).inward(&outer), &taps);
        of(Form::Taps).outward(&taps, &mut back);
        assert_close(case, &back, &outer);
        if side == 3 {
            assert_close(case, &of(Form::Winograd).inward(&outer), &kernel(&taps));
            let places = numbers(0.7, PLACES * size);
            of(Form::Winograd).outward(&places, &mut back);
            assert_close(case, &back, &stored(&kernel_adjoint(&places), c_in, c_out));
        }
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
                    weight = kernel_adjoint(&weight);
                    weight.iter_mut().for_each(|sum| *sum += 0.5);
                }
            }
            assert_close(case, &weight, &expected[2]);
        };
        check(Form::Taps, &weights);
        if g.form() == Form::Winograd {
            check(Form::Winograd, &weights.each_ref().map(|w| kernel(w)));
        }
    }
}

#[test]
fn without_a_start_the_sum_alone() {
    let (g, images) = (geometry(CASES[0]), 3);
    let x = numbers(0.2, images * g.input.elements());
    let weight = kernel(&numbers(0.3, g.columns() * g.c_out));
    let zero = vec![0.0; images * g.output().elements()];
    let terms = [(&x[..], &weight[..])];
    assert_eq!(
        *output(&g, images, &terms, None),
        *output(&g, images, &terms, Some(zero.into()))
    );
}
