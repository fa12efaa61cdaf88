//! Convolution against nested loops, candle's own and finite differences.

use crate::model::{assert_close, check_gradients, normal, output_and_gradients, values};
use ascribe::model::op::{Convolution, convolve};
use candle_core::{DType, Tensor};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
struct Case {
    batch: usize,
    c_in: usize,
    c_out: usize,
    size: (usize, usize),
    kernel: (usize, usize),
    stride: usize,
    padding: usize,
}

impl Case {
    fn inputs(&self) -> [Tensor; 2] {
        [
            normal(1, &[self.batch, self.c_in, self.size.0, self.size.1]),
            normal(2, &[self.c_out, self.c_in, self.kernel.0, self.kernel.1]),
        ]
    }

    fn fits(&self) -> bool {
        self.kernel.0 <= self.size.0 + 2 * self.padding
            && self.kernel.1 <= self.size.1 + 2 * self.padding
    }

    fn options(&self) -> Convolution {
        Convolution {
            stride: self.stride,
            padding: self.padding,
        }
    }

    fn ours(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        convolve(&inputs[0], &inputs[1], self.options())
    }

    /// Calls `visit(index in x, index in the weight, index in y)` for every product of the sum.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ((height, width), (kernel_h, kernel_w)) = (self.size, self.kernel);
        let out = |side, kernel| (side + 2 * self.padding - kernel) / self.stride + 1;
        let (out_h, out_w) = (out(height, kernel_h), out(width, kernel_w));
        for image in 0..self.batch {
            for (o, i) in (0..self.c_out).flat_map(|o| (0..self.c_in).map(move |i| (o, i))) {
                for (oy, ox) in (0..out_h).flat_map(|oy| (0..out_w).map(move |ox| (oy, ox))) {
                    for (ky, kx) in
                        (0..kernel_h).flat_map(|ky| (0..kernel_w).map(move |kx| (ky, kx)))
                    {
                        let y = (oy * self.stride + ky) as isize - self.padding as isize;
                        let x = (ox * self.stride + kx) as isize - self.padding as isize;
                        if (0..height as isize).contains(&y) && (0..width as isize).contains(&x) {
                            visit(
                                ((image * self.c_in + i) * height + y as usize) * width
                                    + x as usize,
                                ((o * self.c_in + i) * kernel_h + ky) * kernel_w + kx,
                                ((image * self.c_out + o) * out_h + oy) * out_w + ox,
                            );
                        }
                    }
                }
            }
        }
    }

    /// Output and both gradients equal those of the nested loops.
    fn agrees_with_nested_loops(&self, dtype: DType, tolerance: f64) {
        let inputs = self.inputs().map(|x| x.to_dtype(dtype).unwrap());
        let (y, cotangent, gradients) = output_and_gradients(&inputs, |inputs| self.ours(inputs));
        let (x, weight, g) = (values(&inputs[0]), values(&inputs[1]), values(&cotangent));
        let mut twin = [
            vec![0.0; g.len()],
            vec![0.0; x.len()],
            vec![0.0; weight.len()],
        ];
        self.products(|i, k, o| {
            twin[0][o] += x[i] * weight[k];
            twin[1][i] += g[o] * weight[k];
            twin[2][k] += g[o] * x[i];
        });
        for (what, (ours, twin)) in ["output", "input gradient", "weight gradient"]
            .iter()
            .zip([&y, &gradients[0], &gradients[1]].into_iter().zip(&twin))
        {
            crate::model::assert_values_close(
                &format!("{what} of {self:?}"),
                &values(ours),
                twin,
                tolerance,
            );
        }
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let kernel = || prop::sample::select(vec![1_usize, 2, 3, 5, 7]);
    let batch = prop_oneof![1_usize..4, 8_usize..20];
    (
        batch,
        1_usize..4,
        1_usize..5,
        (1_usize..11, 1_usize..11),
        (kernel(), kernel()),
        1_usize..4,
        0_usize..4,
    )
        .prop_map(|(batch, c_in, c_out, size, kernel, stride, padding)| Case {
            batch,
            c_in,
            c_out,
            size,
            kernel,
            stride,
            padding,
        })
        .prop_filter("the kernel fits", Case::fits)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn output_and_gradients_are_those_of_nested_loops(case in cases()) {
        case.agrees_with_nested_loops(DType::F64, 1e-12);
    }

    #[test]
    fn single_precision_is_as_good_as_its_digits(case in cases()) {
        case.agrees_with_nested_loops(DType::F32, 1e-4);
    }
}

/// Sizes large enough for several groups of images, whole squares of channels and what is left over, and each way there is.
#[test]
fn every_way_agrees_with_nested_loops() {
    for (batch, c_in, c_out, size, kernel, stride) in [
        (3, 5, 3, (17, 16), (1, 1), 1),
        (7, 9, 12, (6, 5), (1, 1), 1),
        (5, 13, 19, (9, 11), (3, 3), 1),
        (40, 8, 4, (4, 4), (3, 3), 1),
        (7, 12, 9, (10, 9), (3, 3), 2),
        (2, 3, 8, (40, 37), (7, 7), 2),
        (3, 4, 5, (12, 13), (3, 5), 1),
    ] {
        let case = Case {
            batch,
            c_in,
            c_out,
            size,
            kernel,
            stride,
            padding: kernel.0 / 2,
        };
        case.agrees_with_nested_loops(DType::F64, 1e-12);
        case.agrees_with_nested_loops(DType::F32, 1e-4);
    }
}

/// `(batch, size, kernel, stride, padding)`; the kernels are of the usual sizes.
type SquareKernel = (usize, (usize, usize), usize, usize, usize);

const SQUARE_KERNELS: [SquareKernel; 9] = [
    (1, (5, 5), 1, 1, 0),
    (2, (6, 5), 1, 2, 0),
    (1, (5, 7), 3, 1, 1),
    (11, (4, 3), 3, 2, 1),
    (2, (7, 6), 3, 3, 0),
    (1, (7, 9), 5, 2, 2),
    (2, (6, 5), 5, 1, 1),
    (1, (9, 7), 7, 2, 3),
    (1, (8, 8), 7, 3, 2),
];

#[test]
fn gradients_are_finite_differences() {
    for (batch, size, kernel, stride, padding) in SQUARE_KERNELS {
        let case = Case {
            batch,
            c_in: 2,
            c_out: 3,
            size,
            kernel: (kernel, kernel),
            stride,
            padding,
        };
        check_gradients(&format!("{case:?}"), &case.inputs(), |inputs| {
            case.ours(inputs)
        });
    }
}

/// Candle's own is right on square images (its backward fails on others with stride 2).
#[test]
fn agrees_with_candle_where_candle_is_right() {
    for (kernel, stride, padding) in [
        (1, 1, 0),
        (1, 2, 0),
        (3, 1, 1),
        (3, 2, 1),
        (5, 2, 2),
        (3, 1, 0),
    ] {
        let case = Case {
            batch: 9,
            c_in: 5,
            c_out: 4,
            size: (9, 9),
            kernel: (kernel, kernel),
            stride,
            padding,
        };
        let (y, _, ours) = output_and_gradients(&case.inputs(), |inputs| case.ours(inputs));
        let (candle_y, _, candle) = output_and_gradients(&case.inputs(), |inputs| {
            inputs[0].conv2d(&inputs[1], padding, stride, 1, 1)
        });
        let what = format!("{case:?}");
        assert_close(&what, &y, &candle_y, 1e-12);
        assert_close(&what, &ours[0], &candle[0], 1e-12);
        assert_close(&what, &ours[1], &candle[1], 1e-12);
    }
}

#[test]
fn strided_views_are_read_in_their_order() {
    let (x, weight) = (normal(3, &[4, 6, 2, 3]), normal(4, &[3, 3, 4, 2]));
    let options = Convolution {
        stride: 1,
        padding: 1,
    };
    let (x, weight) = (
        x.permute((3, 2, 0, 1)).unwrap(),
        weight.permute((2, 3, 0, 1)).unwrap(),
    );
    let narrow = x.narrow(0, 1, 2).unwrap();
    let copied = convolve(
        &narrow.force_contiguous().unwrap(),
        &weight.force_contiguous().unwrap(),
        options,
    );
    assert_close(
        "views",
        &convolve(&narrow, &weight, options).unwrap(),
        &copied.unwrap(),
        0.0,
    );
}
