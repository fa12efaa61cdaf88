//! Max pooling against nested loops and finite differences.

use crate::model::{assert_values_close, check_gradients, normal, output_and_gradients, values};
use ascribe::model::op::{Window, max_pool};
use candle_core::{Device, Tensor};
use proptest::prelude::*;

/// Output, and where each value came from (the first largest), by nested loops over one plane.
fn twin(plane: &[f64], (height, width): (usize, usize), window: Window) -> Vec<(f64, usize)> {
    let Window {
        size,
        stride,
        padding,
    } = window;
    let out = |side: usize| (side + 2 * padding - size) / stride + 1;
    let mut winners = Vec::new();
    for (oy, ox) in (0..out(height)).flat_map(|oy| (0..out(width)).map(move |ox| (oy, ox))) {
        let mut best = None;
        for (ky, kx) in (0..size).flat_map(|ky| (0..size).map(move |kx| (ky, kx))) {
            let (y, x) = (
                (oy * stride + ky).wrapping_sub(padding),
                (ox * stride + kx).wrapping_sub(padding),
            );
            if y < height && x < width {
                let value = plane[y * width + x];
                if best.is_none_or(|(largest, _)| value > largest) {
                    best = Some((value, y * width + x));
                }
            }
        }
        winners.push(best.unwrap());
    }
    winners
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// Also with ties: half of the cases have a few whole numbers only.
    #[test]
    fn output_and_gradient_are_those_of_nested_loops(
        (batch, channels, height, width) in (1_usize..12, 1_usize..4, 1_usize..12, 1_usize..12),
        (size, stride, padding) in (1_usize..6, 1_usize..5, 0_usize..4),
        ties in any::<bool>(),
    ) {
        prop_assume!(2 * padding <= size && size <= height.min(width) + 2 * padding);
        let window = Window { size, stride, padding };
        let mut x = normal(5, &[batch, channels, height, width]);
        if ties {
            x = x.round().unwrap();
        }
        let (y, cotangent, gradients) = output_and_gradients(&[x.clone()], |x| max_pool(&x[0], window));
        let (x, g) = (values(&x), values(&cotangent));
        let (plane, out) = (height * width, g.len() / (batch * channels));
        let mut expected = vec![0.0; x.len()];
        for (index, plane_values) in x.chunks(plane).enumerate() {
            let winners = twin(plane_values, (height, width), window);
            for (position, (value, winner)) in winners.into_iter().enumerate() {
                prop_assert_eq!(values(&y)[index * out + position], value);
                expected[index * plane + winner] += g[index * out + position];
            }
        }
        assert_values_close("gradient", &values(&gradients[0]), &expected, 1e-14);
    }
}

#[test]
fn gradients_are_finite_differences() {
    for (shape, size, stride, padding) in [
        ([1, 2, 7, 9], 3, 2, 1), // the stem's
        ([9, 1, 6, 5], 3, 2, 1),
        ([2, 2, 6, 4], 2, 2, 0),
        ([1, 3, 5, 7], 3, 1, 1),
        ([2, 1, 8, 7], 5, 3, 2),
    ] {
        let window = Window {
            size,
            stride,
            padding,
        };
        check_gradients(&format!("{window:?}"), &[normal(6, &shape)], |x| {
            max_pool(&x[0], window)
        });
    }
}

#[test]
fn nan_wins_every_window_it_stands_in() {
    let mut x = vec![1.0_f32; 25];
    x[12] = f32::NAN;
    let x = Tensor::from_vec(x, (1, 1, 5, 5), &Device::Cpu).unwrap();
    let window = Window {
        size: 3,
        stride: 2,
        padding: 1,
    };
    let y = values(&max_pool(&x, window).unwrap());
    // Of the 3×3 windows only the middle one holds the middle pixel.
    for (index, value) in y.into_iter().enumerate() {
        assert_eq!(value.is_nan(), index == 4, "window {index}");
    }
    let overlapping = Window {
        size: 3,
        stride: 1,
        padding: 0,
    };
    assert!(
        values(&max_pool(&x, overlapping).unwrap())
            .iter()
            .all(|y| y.is_nan())
    );
}
