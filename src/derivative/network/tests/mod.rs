//! The products against a graph of tensors, explicit Jacobians and plain loops, f64 and f32.

mod dual;
mod on_device;
mod roots;
mod training;

use super::*;
use crate::model::Normalisation;
use dual::Oracle;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Smooth numbers without symmetry.
fn numbers(phase: f64, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|i| (phase + 1.7 * i as f64 + 0.003 * ((i * i) % 7919) as f64).sin())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A network with weights and statistics that are not those of a fresh one, f64.
fn model(architecture: &str, side: usize) -> ResNet {
    let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    let normalisation = Normalisation {
        mean: [0.4, 0.5, 0.6],
        deviation: [0.2, 0.3, 0.25],
    };
    let fresh = ResNet::initialise(
        architecture.parse().unwrap(),
        classes.clone(),
        normalisation,
        side,
        7,
        &Device::Cpu,
    )
    .unwrap();
    let moved = |(index, (name, tensor)): (usize, (&String, &Tensor))| {
        let tensor = tensor.to_dtype(DType::F64).unwrap();
        let wave = numbers(index as f64, tensor.dims());
        let tensor = match tensor.dims().len() {
            1 if name.ends_with("running_var") => (wave * 0.5).unwrap().exp().unwrap(),
            1 => (tensor + (wave * 0.3).unwrap()).unwrap(),
            _ => tensor,
        };
        (name.clone(), tensor)
    };
    let tensors: BTreeMap<_, _> = fresh.tensors().iter().enumerate().map(moved).collect();
    let architecture = fresh.architecture().clone();
    ResNet::new(architecture, classes, normalisation, side, tensors).unwrap()
}

const LABELS: [usize; 5] = [1, 3, 0, 2, 3];

fn images(side: usize) -> Tensor {
    let wave = numbers(0.4, &[LABELS.len(), 3, side, side]);
    ((wave + 1.0).unwrap() * 0.5).unwrap()
}

fn examples(model: &ResNet, blocks: Blocks, side: usize) -> Examples {
    let images = images(side);
    Examples::of_images((model, blocks), &images, &LABELS, &Keeping::default()).unwrap()
}

fn row(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference over the largest element.
#[track_caller]
fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    let error = (found.iter().zip(expected)).fold(0.0f64, |a, (f, e)| a.max((f - e).abs()));
    assert!(
        error <= tolerance * largest,
        "{what}: off by {error:e} of {largest:e}"
    );
}

/// The input of the trained part as the oracle takes it, `[m, C, H, W]` or `[m, d]`.
fn input(model: &ResNet, first: usize, side: usize) -> Tensor {
    let images = images(side);
    match first {
        0 => model.normalise(&images).unwrap(),
        _ => {
            let mut pass = crate::model::Pass::evaluation();
            model.prefix(first, &images, &mut pass).unwrap()
        }
    }
}

fn oracle_labels() -> Vec<u32> {
    LABELS.iter().map(|&label| label as u32).collect()
}

fn along(network: &Network, vector: &Tensor) -> BTreeMap<String, Tensor> {
    let part = |block: &ParameterBlock| {
        let part = vector
            .narrow(0, block.range.start, block.range.len())
            .unwrap();
        (
            block.name.clone(),
            part.reshape(block.shape.clone()).unwrap(),
        )
    };
    network.space().blocks().iter().map(part).collect()
}

/// One product over all examples.
fn product(network: &Network, examples: &Examples, kind: Curvature, vector: &Tensor) -> Vec<f64> {
    let beside = match kind {
        Curvature::Hessian => Beside::Gradients,
        Curvature::GaussNewton => Beside::Nothing,
    };
    product_beside((network, examples), (kind, beside), vector)
}

/// The same, with so much held.
fn product_beside(
    (network, examples): (&Network, &Examples),
    (kind, beside): (Curvature, Beside),
    vector: &Tensor,
) -> Vec<f64> {
    let positions: Vec<u32> = (0..LABELS.len() as u32).collect();
    // Uneven parts.
    let parts: Vec<_> = [&positions[..3], &positions[3..]]
        .map(|part| Ok(Arc::new(network.linearise(examples, part, beside).unwrap())))
        .into();
    let rows = vector.unsqueeze(0).unwrap();
    row(&network
        .curvature_products(kind, &rows, &mut parts.into_iter())
        .unwrap())
}

const CHOICES: [(&str, Blocks); 7] = [
    ("cifar-resnet8-w2", Blocks::Last(0)),
    ("cifar-resnet8-w2", Blocks::Last(1)),
    ("cifar-resnet8-w2", Blocks::Last(3)),
    ("cifar-resnet8-w2", Blocks::All),
    ("cifar-resnet14-w2", Blocks::Last(1)),
    ("cifar-resnet50-w1", Blocks::Last(1)),
    ("cifar-resnet50-w1", Blocks::Last(4)),
];
const SIDE: usize = 9;

#[test]
fn gradients_and_hessian_products_are_those_of_a_tensor_graph() {
    for (architecture, blocks) in CHOICES {
        let model = model(architecture, SIDE);
        let examples = examples(&model, blocks, SIDE);
        let network = Network::new(&model, blocks, &examples).unwrap();
        let first = blocks.first_segment(model.architecture()).unwrap();
        let mut oracle = Oracle::new(&model, first);
        let names: Vec<_> = network.space().blocks().iter().map(|b| &b.name).collect();
        assert_eq!(names, oracle.variables.keys().collect::<Vec<_>>());

        let (input, labels) = (input(&model, first, SIDE), oracle_labels());
        let what = format!("{architecture} {blocks}");
        let (gradient, _) = network.gradient(&examples, &[0, 1, 2, 3, 4]).unwrap();
        let expected = oracle.gradient(&input, &labels);
        assert_close(&what, &row(&gradient), &expected, 1e-12);

        let vector = numbers(0.9, &[network.size()]);
        oracle.direction = along(&network, &vector);
        let expected = oracle.hessian_product(&input, &labels);
        let found = product(&network, &examples, Curvature::Hessian, &vector);
        assert_close(&what, &found, &expected, 1e-11);
    }
}

#[test]
fn dense_matrices_are_those_of_explicit_jacobians_and_of_a_tensor_graph() {
    let (model, blocks) = (model("cifar-resnet8-w1", 6), Blocks::Last(2));
    let examples = examples(&model, blocks, 6);
    let network = Network::new(&model, blocks, &examples).unwrap();
    let first = blocks.first_segment(model.architecture()).unwrap();
    let (input, labels) = (input(&model, first, 6), oracle_labels());
    let size = network.size();
    let mut oracle = Oracle::new(&model, first);

    let mut dense = vec![vec![0.0; size]; size];
    for image in 0..LABELS.len() {
        let (jacobian, p) = oracle.jacobian(&input.narrow(0, image, 1).unwrap());
        for (c, left) in jacobian.iter().enumerate() {
            for (e, right) in jacobian.iter().enumerate() {
                let weight = f64::from(u8::from(c == e)) * p[c] - p[c] * p[e];
                for (line, l) in dense.iter_mut().zip(left) {
                    line.iter_mut()
                        .zip(right)
                        .for_each(|(sum, r)| *sum += weight * l * r);
                }
            }
        }
    }
    let mut columns = [const { Vec::new() }; 3];
    for index in 0..size {
        let mut unit = vec![0.0; size];
        unit[index] = 1.0;
        let unit = Tensor::from_vec(unit, size, &Device::Cpu).unwrap();
        oracle.direction = along(&network, &unit);
        for (all, column) in columns.iter_mut().zip([
            product(&network, &examples, Curvature::GaussNewton, &unit),
            product(&network, &examples, Curvature::Hessian, &unit),
            oracle.hessian_product(&input, &labels),
        ]) {
            all.extend(column);
        }
    }
    let [gauss_newton, hessian, expected] = columns;
    assert_close("G", &gauss_newton, &dense.concat(), 1e-11);
    assert_close("H", &hessian, &expected, 1e-11);
}

#[test]
fn both_curvatures_are_symmetric_and_the_head_alone_has_one() {
    for (architecture, blocks) in CHOICES {
        let model = model(architecture, SIDE);
        let examples = examples(&model, blocks, SIDE);
        let network = Network::new(&model, blocks, &examples).unwrap();
        let (u, v) = (
            numbers(0.2, &[network.size()]),
            numbers(0.7, &[network.size()]),
        );
        let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut products = Vec::new();
        for kind in [Curvature::GaussNewton, Curvature::Hessian] {
            let hv = product(&network, &examples, kind, &v);
            let hu = product(&network, &examples, kind, &u);
            let (uhv, vhu) = (inner(&row(&u), &hv), inner(&row(&v), &hu));
            let scale = inner(&hv, &hv).sqrt() * inner(&row(&u), &row(&u)).sqrt();
            assert!((uhv - vhu).abs() < 1e-13 * scale, "{blocks}: {uhv}, {vhu}");
            assert!(kind == Curvature::Hessian || inner(&row(&v), &hv) > 0.0);
            products.push(hv);
        }
        if blocks == Blocks::Last(0) {
            assert_close("the head", &products[0], &products[1], 1e-12);
        }
    }
}

#[test]
fn example_products_are_an_explicit_loop() {
    for (architecture, blocks) in CHOICES {
        let model = model(architecture, SIDE);
        let examples = examples(&model, blocks, SIDE);
        let network = Network::new(&model, blocks, &examples).unwrap();
        let positions = [4, 0, 2, 1];
        let gradients = network.example_gradients(&examples, &positions).unwrap();
        for (index, &position) in positions.iter().enumerate() {
            let (alone, _) = network.gradient(&examples, &[position]).unwrap();
            let found = gradients.narrow(0, index, 1).unwrap();
            assert_close("a gradient", &row(&found), &row(&alone), 1e-13);
        }
        for count in [1, 3, 40] {
            let vectors = numbers(0.3, &[count, network.size()]);
            let expected = vectors.matmul(&gradients.t().unwrap()).unwrap();
            let found = network
                .example_products(&examples, &positions, &vectors)
                .unwrap();
            assert_eq!(found.dims(), [count, 4]);
            assert_close("products", &row(&found), &row(&expected), 1e-12);
            // Ranks that no matrix exceeds change nothing.
            let pairs = network.pair(&vectors, Some(1000)).unwrap();
            assert_eq!(pairs.errors(), vec![0.0; count]);
            let parts = pairs.products(&examples, &positions).unwrap();
            assert_close(
                "full rank",
                &row(&parts.sum(0).unwrap()),
                &row(&expected),
                1e-12,
            );
            for (index, &segment) in network.space().segments().iter().enumerate() {
                let mut part = Tensor::zeros((count, 4), DType::F64, &Device::Cpu).unwrap();
                for block in network.space().blocks() {
                    if block.segment == segment {
                        let (start, length) = (block.range.start, block.range.len());
                        let of = |rows: &Tensor| rows.narrow(1, start, length).unwrap();
                        let gradients = of(&gradients).t().unwrap();
                        let own = of(&vectors).contiguous().unwrap();
                        part =
                            (part + own.matmul(&gradients.contiguous().unwrap()).unwrap()).unwrap();
                    }
                }
                let found = parts.narrow(0, index, 1).unwrap();
                assert_close("a segment's share", &row(&found), &row(&part), 1e-11);
            }
        }
    }
}

/// With a rank, products are those of the approximated vectors, whose distance is reported.
#[test]
fn low_ranks_are_off_by_no_more_than_their_errors_allow() {
    let model = model("cifar-resnet8-w4", SIDE);
    let blocks = Blocks::Last(1);
    let examples = examples(&model, blocks, SIDE);
    let network = Network::new(&model, blocks, &examples).unwrap();
    let vectors = numbers(0.3, &[6, network.size()]);
    let positions = [0, 1, 2, 3, 4];
    let ways = network.pairing_ways(6, Some(1));
    let low = ways.iter().filter(|way| way.way == Way::LowRank(1));
    assert!(low.count() > 0, "{ways:?}");
    let exact = network.example_products(&examples, &positions, &vectors);
    let exact = exact.unwrap().to_vec2::<f64>().unwrap();
    let pairs = network.pair(&vectors, Some(1)).unwrap();
    let found = pairs.products(&examples, &positions).unwrap();
    let found = found.sum(0).unwrap().to_vec2::<f64>().unwrap();
    let norms = network.example_gradients(&examples, &positions).unwrap();
    let norms = norms.sqr().unwrap().sum(1).unwrap().sqrt().unwrap();
    let norms = norms.to_vec1::<f64>().unwrap();
    let mut largest = 0.0f64;
    for (vector, error) in pairs.errors().into_iter().enumerate() {
        for image in 0..positions.len() {
            let off = (found[vector][image] - exact[vector][image]).abs();
            assert!(off <= error * norms[image] * (1.0 + 1e-12));
            largest = largest.max(off / (error * norms[image]));
        }
    }
    assert!(largest > 1e-3, "{largest}");
}

#[test]
fn single_precision_is_close_to_double() {
    for (architecture, blocks) in CHOICES {
        let double = model(architecture, SIDE);
        let single = double.to_dtype(DType::F32).unwrap();
        let sides = [&double, &single].map(|model| {
            let examples = examples(model, blocks, SIDE);
            let network = Network::new(model, blocks, &examples).unwrap();
            let vector = numbers(0.5, &[network.size()])
                .to_dtype(network.dtype())
                .unwrap();
            let (gradient, _) = network.gradient(&examples, &[0, 1, 2, 3, 4]).unwrap();
            let [g, h] = [Curvature::GaussNewton, Curvature::Hessian]
                .map(|kind| product(&network, &examples, kind, &vector));
            [row(&gradient), g, h]
        });
        for (double, single) in sides[0].iter().zip(&sides[1]) {
            assert_close(&format!("{architecture} {blocks}"), single, double, 1e-5);
        }
    }
}

/// What is said of memory is what is held.
#[test]
fn bytes_of_linearisations_are_those_held() {
    for (architecture, blocks) in CHOICES {
        let model = model(architecture, SIDE);
        let examples = examples(&model, blocks, SIDE);
        let network = Network::new(&model, blocks, &examples).unwrap();
        for beside in [Beside::Nothing, Beside::Gradients, Beside::RootGradients] {
            let found = network.linearise(&examples, &[0, 1, 2], beside).unwrap();
            let expected = 3 * network.linearisation_bytes(beside);
            match beside {
                // The input has no gradient.
                Beside::Gradients => assert!(found.bytes() <= expected),
                _ => assert_eq!(found.bytes(), expected, "{architecture} {beside:?}"),
            }
        }
    }
}

/// The stem of ImageNet models, with its pool, and bottlenecks: differences of gradients along a direction, at a step so
/// small that next to no rectifier changes sides.
#[test]
fn hessian_products_of_every_layer_kind_are_differences_of_gradients() {
    for (architecture, side) in [("resnet18", 20), ("resnet50", 33)] {
        let model = model(architecture, side);
        let examples = examples(&model, Blocks::All, side);
        let mut network = Network::new(&model, Blocks::All, &examples).unwrap();
        let parameters = network.parameters().unwrap();
        let vector = (numbers(0.8, &[network.size()]) * 0.05).unwrap();
        let found = {
            let part = network
                .linearise(&examples, &[0], Beside::Gradients)
                .unwrap();
            let rows = vector.unsqueeze(0).unwrap();
            let mut parts = [Ok(Arc::new(part))].into_iter();
            let kind = Curvature::Hessian;
            row(&network.curvature_products(kind, &rows, &mut parts).unwrap())
        };
        let step = 1e-8;
        let sides = [step, -step].map(|step| {
            let moved = (&parameters + (&vector * step).unwrap()).unwrap();
            network.set_parameters(&moved).unwrap();
            row(&network.gradient(&examples, &[0]).unwrap().0)
        });
        let pairs = sides[0].iter().zip(&sides[1]);
        let expected: Vec<f64> = pairs.map(|(a, b)| (a - b) / (2.0 * step)).collect();
        assert_close(architecture, &found, &expected, 1e-4);
    }
}

#[test]
fn activations_on_disk_are_those_in_memory() {
    let model = model("cifar-resnet8-w2", SIDE);
    for dtype in [DType::F32, DType::F64] {
        let model = model.to_dtype(dtype).unwrap();
        let blocks = Blocks::Last(1);
        let folder = tempfile::tempdir().unwrap();
        let [memory, disk] = [u64::MAX, 0].map(|memory| {
            let keeping = Keeping {
                memory,
                folder: folder.path().to_path_buf(),
                ..Keeping::default()
            };
            Examples::of_images((&model, blocks), &images(SIDE), &LABELS, &keeping).unwrap()
        });
        assert!(disk.is_on_disk() && !memory.is_on_disk());
        let network = Network::new(&model, blocks, &memory).unwrap();
        let gradients =
            [&memory, &disk].map(|examples| row(&network.gradient(examples, &[3, 1]).unwrap().0));
        assert_eq!(gradients[0], gradients[1]);
        // Nothing stays behind.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
    let keeping = Keeping {
        memory: 0,
        folder: "no/such/folder".into(),
        ..Keeping::default()
    };
    let message = Examples::of_images((&model, Blocks::All), &images(SIDE), &LABELS, &keeping)
        .unwrap_err()
        .to_string();
    assert!(message.contains("no/such/folder"), "{message}");
}

/// To rounding: where matrix products end depends on how many images they are made of.
#[test]
fn images_enter_one_by_one_as_they_do_together() {
    let digits = crate::data::digits_train().unwrap();
    let ids = [3, 141, 59, 26, 5];
    for (architecture, blocks) in CHOICES {
        let model = model(architecture, SIDE);
        let entered = |batch: u64| {
            let keeping = Keeping {
                batch,
                ..Keeping::default()
            };
            let mut done = Vec::new();
            let mut progress = |images: usize| done.push(images);
            let of = (&model, blocks);
            let examples = Examples::compute(of, &digits, &ids, &keeping, &mut progress).unwrap();
            let (planes, labels) = examples.read::<f64>(&[0, 1, 2, 3, 4], 10).unwrap();
            assert_eq!(labels, ids.map(|id| digits.label(id)));
            (planes.values.to_vec(), done)
        };
        let ((alone, one_by_one), (together, all_at_once)) = (entered(1), entered(u64::MAX));
        assert_eq!(one_by_one, [1, 2, 3, 4, 5]);
        assert_eq!(all_at_once, [5]);
        let what = format!("{architecture} {blocks}");
        assert_close(&what, &alone, &together, 1e-12);
    }
}

#[test]
fn input_that_does_not_fit_is_refused() {
    let (model, blocks) = (model("cifar-resnet8-w2", SIDE), Blocks::Last(1));
    let examples = examples(&model, blocks, SIDE);
    let network = Network::new(&model, blocks, &examples).unwrap();
    let refused = |result: crate::Result<Tensor>, part: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    refused(
        network.gradient(&examples, &[5]).map(|it| it.0),
        "below 5, found 5",
    );
    let short = Tensor::zeros((1, 3), DType::F64, &Device::Cpu).unwrap();
    refused(
        network.example_products(&examples, &[0], &short),
        "found 3 of",
    );
    let other = super::tests::examples(&model, Blocks::All, SIDE);
    refused(
        network.gradient(&other, &[0]).map(|it| it.0),
        "same model and blocks",
    );

    let keeping = Keeping::default();
    let of = |images: &Tensor, labels: &[usize]| {
        Examples::of_images((&model, blocks), images, labels, &keeping)
    };
    let message = |result: crate::Result<Examples>| result.unwrap_err().to_string();
    assert!(message(of(&images(SIDE), &[0, 1])).contains("labels"));
    let none = Tensor::zeros((0, 3, SIDE, SIDE), DType::F64, &Device::Cpu).unwrap();
    assert!(message(of(&none, &[])).contains("at least one"));
    let broken = (images(SIDE) * f64::NAN).unwrap();
    assert!(message(of(&broken, &LABELS)).contains("image 0"));
    let unknown = of(&images(SIDE), &[0, 1, 2, 4, 0]).unwrap();
    refused(
        network.gradient(&unknown, &[2, 3]).map(|it| it.0),
        "label of image 3",
    );
}
