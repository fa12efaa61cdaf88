//! Roots against diag π − ππᵀ, factors against loops over images, places and taps, f64.

use super::*;
use crate::derivative::head::HeadOutputs;
use crate::derivative::network::small_problem::small_problem;
use crate::model::Blocks;

const IMAGES: usize = 9;
const CLASSES: usize = 4;
const ALL: RootKind = RootKind::Exact { share: 1.0 };

fn problem(blocks: Blocks) -> (Network, Examples) {
    small_problem(blocks, IMAGES)
}

fn positions() -> Vec<u32> {
    (0..IMAGES as u32).collect()
}

fn roots(network: &Network, examples: &Examples, kind: RootKind) -> CurvatureRoots {
    let outputs = network.outputs(examples, &positions()).unwrap();
    CurvatureRoots::of(&outputs, &positions(), kind).unwrap()
}

/// One of them all but certain.
fn outputs() -> HeadOutputs {
    let logits = [0.3, -1.0, 0.5, 2.0, 40.0, 1.0, 0.0, 3.0, 1.0, 1.0, 1.0, 1.0];
    let logits = Tensor::from_slice(&logits, (3, CLASSES), &Device::Cpu).unwrap();
    HeadOutputs::from_logits(&logits, &[0, 0, 0]).unwrap()
}

fn moment(rows: &[Vec<f64>], (i, j): (usize, usize)) -> f64 {
    rows.iter().map(|row| row[i] * row[j]).sum()
}

/// diag π − ππᵀ of image `image`.
fn softmax_curvature(outputs: &HeadOutputs, image: usize, (i, j): (usize, usize)) -> f64 {
    let pi = outputs
        .probabilities
        .to_vec2::<f64>()
        .unwrap()
        .remove(image);
    let others: f64 = (0..CLASSES).filter(|&c| c != i).map(|c| pi[c]).sum();
    if i == j {
        pi[i] * others
    } else {
        -pi[i] * pi[j]
    }
}

#[test]
fn all_rows_are_a_square_root() {
    let outputs = outputs();
    let roots = CurvatureRoots::of(std::slice::from_ref(&outputs), &[0, 1, 2], ALL).unwrap();
    assert_eq!((roots.images(), roots.count()), (3, 3 * (CLASSES - 1)));
    for image in 0..3 {
        for place in (0..CLASSES).flat_map(|i| (0..CLASSES).map(move |j| (i, j))) {
            let expected = softmax_curvature(&outputs, image, place);
            let found = moment(roots.of_image(image), place);
            let scale = softmax_curvature(&outputs, image, (place.0, place.0));
            assert!(
                (found - expected).abs() < 1e-12 * scale.max(1e-4),
                "{found} {expected}"
            );
        }
    }
}

#[test]
fn a_share_keeps_the_largest_rows_of_all_images() {
    let outputs = outputs();
    let share = RootKind::Exact { share: 0.7 };
    let roots = CurvatureRoots::of(std::slice::from_ref(&outputs), &[0, 1, 2], share).unwrap();
    assert!(
        roots.share() >= 0.7 && roots.share() < 1.0,
        "{}",
        roots.share()
    );
    // The certain image has next to no curvature.
    assert!(roots.of_image(1).is_empty());
    assert!(roots.count() < 6);
    for bad in [0.0, 1.5, f64::NAN] {
        let kind = RootKind::Exact { share: bad };
        let error = CurvatureRoots::of(&[], &[], kind).unwrap_err().to_string();
        assert!(error.contains("share"), "{error}");
    }
    let error = CurvatureRoots::of(&[outputs], &[0], ALL)
        .unwrap_err()
        .to_string();
    assert!(error.contains("positions of images"), "{error}");
}

#[test]
fn drawn_rows_have_the_right_mean_and_belong_to_seed_and_image() {
    let outputs = outputs();
    let drawn = |positions: &[u32], count, seed| {
        let kind = RootKind::Drawn { count, seed };
        CurvatureRoots::of(std::slice::from_ref(&outputs), positions, kind).unwrap()
    };
    let many = drawn(&[0, 1, 2], 20_000, 5);
    for image in 0..3 {
        for place in (0..CLASSES).flat_map(|i| (0..CLASSES).map(move |j| (i, j))) {
            let expected = softmax_curvature(&outputs, image, place);
            let found = moment(many.of_image(image), place);
            // Products of rows are below 1/2, so that a standard error is below 0.004.
            assert!((found - expected).abs() < 0.02, "{found} {expected}");
        }
    }
    let one = drawn(&[7, 8, 9], 1, 5);
    assert_eq!(one.of_image(2), drawn(&[3, 4, 9], 1, 5).of_image(2));
    let differ =
        |a: &CurvatureRoots, b: &CurvatureRoots| (0..3).any(|i| a.of_image(i) != b.of_image(i));
    let several = |seed| drawn(&[7, 8, 9], 6, seed);
    assert!(differ(&several(5), &several(6)));
    let kind = RootKind::Drawn { count: 0, seed: 0 };
    assert!(CurvatureRoots::of(&[outputs], &[0, 1, 2], kind).is_err());
}

/// `x` padded with zeros at the place that tap (ky, kx) reads for output (oy, ox), as an independent loop over the definition.
fn patch(layer: &Convolution, x: &[f64], place: usize, bias: bool) -> Vec<f64> {
    let g = &layer.geometry;
    let (height, width, channels) = (g.input.height, g.input.width, g.input.channels);
    let columns = g.output().width;
    let (oy, ox) = (place / columns, place % columns);
    let mut patch = Vec::new();
    for channel in 0..channels {
        for ky in 0..g.kernel {
            for kx in 0..g.kernel {
                let (y, x_at) = (oy * g.stride + ky, ox * g.stride + kx);
                let inside = (g.padding..g.padding + height).contains(&y)
                    && (g.padding..g.padding + width).contains(&x_at);
                patch.push(match inside {
                    true => x[((y - g.padding) * width + x_at - g.padding) * channels + channel],
                    false => 0.0,
                });
            }
        }
    }
    patch.extend(bias.then_some(1.0));
    patch
}

/// A, S and the gradients themselves, image by image and place by place.
#[test]
fn factors_are_moments_of_patches_and_output_gradients() {
    let (network, examples) = problem(Blocks::Last(2));
    let roots = roots(&network, &examples, ALL);
    let factors = network
        .kronecker_factors(&examples, &positions(), &roots)
        .unwrap();
    let Inner::F64(program) = &network.program else {
        panic!("an f64 model gives an f64 program")
    };
    let layers: Vec<_> = program.convolutions().collect();
    assert_eq!(factors.len(), layers.len());
    // Two blocks of two convolutions and a shortcut, and the head; strides 1 and 2.
    assert_eq!(layers.len(), 7);
    let gradients = network
        .root_gradients(&examples, &positions(), &roots, 0..IMAGES)
        .unwrap()
        .to_vec2::<f64>()
        .unwrap();
    for ((index, layer), factors) in layers.into_iter().zip(&factors) {
        let (k, c) = (factors.layer.inputs, factors.layer.outputs);
        let places = layer.geometry.output().positions();
        let (mut a, mut s) = (vec![0.0; k * k], vec![0.0; c * c]);
        let mut row = 0;
        for image in 0..IMAGES {
            let (input, _) = examples
                .read::<f64>(&[image as u32], network.class_count())
                .unwrap();
            let values = program.values(input);
            let x = &values[program.nodes[index].inputs[0]].values;
            let bias = layer.bias.is_some();
            let patches: Vec<_> = (0..places).map(|t| patch(layer, x, t, bias)).collect();
            for patch in &patches {
                (0..k * k).for_each(|e| a[e] += patch[e / k] * patch[e % k] / IMAGES as f64);
            }
            for root in roots.of_image(image) {
                let seed = seeds(&values[values.len() - 1], std::iter::once(root));
                let ds = &program.gradients(&values, seed)[index].values;
                let mut whole = vec![0.0; c * k];
                for (ds, patch) in ds.chunks_exact(c).zip(&patches) {
                    (0..c * c).for_each(|e| {
                        s[e] += ds[e / c] * ds[e % c] / (IMAGES * places) as f64;
                    });
                    (0..c * k).for_each(|e| whole[e] += ds[e / k] * patch[e % k]);
                }
                assert_gradient(&whole, &gradients[row], &factors.layer);
                row += 1;
            }
        }
        let largest = |m: &[f64]| m.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        for (found, expected, size) in [(&factors.inputs, &a, k), (&factors.outputs, &s, c)] {
            for (e, value) in expected.iter().enumerate() {
                let error = (found[(e / size, e % size)] - value).abs();
                assert!(error < 1e-11 * largest(expected), "{value}");
            }
        }
    }
}

fn assert_gradient(whole: &[f64], gradient: &[f64], layer: &KroneckerLayer) {
    let width = layer.weight.len() / layer.outputs;
    for (e, expected) in whole.iter().enumerate() {
        let (row, column) = (e / layer.inputs, e % layer.inputs);
        let place = match &layer.bias {
            Some(bias) if column == width => bias.start + row,
            _ => layer.weight.start + row * width + column,
        };
        assert!((gradient[place] - expected).abs() < 1e-12, "{expected}");
    }
}

/// In whatever parts the images come.
#[test]
fn factors_of_parts_add_up() {
    let (network, examples) = problem(Blocks::Last(1));
    let positions = positions();
    let factors = |positions: &[u32]| {
        let outputs = network.outputs(&examples, positions).unwrap();
        let roots = CurvatureRoots::of(&outputs, positions, ALL).unwrap();
        network
            .kronecker_factors(&examples, positions, &roots)
            .unwrap()
    };
    let (whole, first, rest) = (
        factors(&positions),
        factors(&positions[..4]),
        factors(&positions[4..]),
    );
    for ((whole, first), rest) in whole.iter().zip(&first).zip(&rest) {
        let share = |count: usize| faer::Scale(count as f64 / IMAGES as f64);
        for (whole, first, rest) in [
            (&whole.inputs, &first.inputs, &rest.inputs),
            (&whole.outputs, &first.outputs, &rest.outputs),
        ] {
            let error = whole - first * share(4) - rest * share(IMAGES - 4);
            assert!(error.norm_max() < 1e-12 * whole.norm_max());
        }
    }
}
