//! Layers, loss and a small network agree with numbers computed by PyTorch (`fixtures/pytorch/`).

use crate::pytorch_fixture::{load, network};
use ascribe::derivative::gradient;
use ascribe::derivative::network::{Curvature, Examples, Keeping, Network};
use ascribe::model::op::{
    Convolution, Window, batch_moments, batch_norm, channel_affine, convolve, max_pool,
};
use ascribe::model::{Blocks, Pass};
use ascribe::operator::{LinearOperator, NetworkCurvature, Vectors};
use candle_core::{DType, Tensor, Var};
use std::collections::{BTreeSet, HashMap};

struct Fixture(HashMap<String, Tensor>);

impl Fixture {
    fn open(name: &str) -> Self {
        Self(load(name))
    }

    #[track_caller]
    fn get(&self, name: &str) -> &Tensor {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("the fixture has no {name}"))
    }

    fn variable(&self, name: &str) -> Tensor {
        Var::from_tensor(self.get(name))
            .unwrap()
            .as_tensor()
            .clone()
    }

    /// The first parts of the names that hold `…/{part}`, sorted.
    fn cases(&self, part: &str) -> BTreeSet<&str> {
        self.0
            .keys()
            .filter_map(|name| name.strip_suffix(part)?.strip_suffix('/'))
            .collect()
    }

    /// How many names begin so.
    fn cases_under(&self, prefix: &str) -> usize {
        self.0
            .keys()
            .filter(|name| name.starts_with(prefix))
            .count()
    }

    /// The found tensor is the one stored under `name`, within `tolerance` of its largest element.
    #[track_caller]
    fn assert_is(&self, name: &str, found: &Tensor, tolerance: f64) {
        let expected = self.get(name);
        assert_eq!(found.elem_count(), expected.elem_count(), "{name}");
        let double = found
            .reshape(expected.dims())
            .unwrap()
            .to_dtype(DType::F64)
            .unwrap();
        let largest = |x: &Tensor| {
            x.abs()
                .unwrap()
                .max_all()
                .unwrap()
                .to_scalar::<f64>()
                .unwrap()
        };
        let error = largest(&(double - expected).unwrap());
        let scale = largest(expected);
        assert!(
            error <= tolerance * scale,
            "{name}: off by {error:e}, largest element {scale:e}"
        );
    }

    /// Output and gradients of ⟨output, output_gradient⟩ are those of the case.
    #[track_caller]
    fn assert_layer(&self, case: &str, output: &Tensor, inputs: &[(&str, &Tensor)]) {
        self.assert_is(&format!("{case}/output"), output, 1e-12);
        let product = (output * self.get(&format!("{case}/output_gradient")))
            .unwrap()
            .sum_all()
            .unwrap();
        let tensors: Vec<&Tensor> = inputs.iter().map(|(_, tensor)| *tensor).collect();
        let gradients = gradient(&product, &tensors).unwrap();
        for ((name, _), gradient) in inputs.iter().zip(gradients) {
            self.assert_is(&format!("{case}/{name}_gradient"), &gradient, 1e-12);
        }
    }
}

/// The numbers in a name such as `max_k3_s2_p1_odd` after `k`, `s` and `p`.
fn options(name: &str) -> [usize; 3] {
    ["k", "s", "p"].map(|letter| {
        let mut parts = name
            .split('_')
            .filter_map(|part| part.strip_prefix(letter)?.parse().ok());
        parts
            .next()
            .unwrap_or_else(|| panic!("{name} has no {letter}"))
    })
}

#[test]
fn convolutions() {
    let fixture = Fixture::open("convolution");
    let cases = fixture.cases("output");
    assert_eq!(cases.len(), 14);
    for case in cases {
        let [kernel, stride, padding] = options(case);
        let (x, weight) = (
            fixture.variable("input"),
            fixture.variable(&format!("k{kernel}/weight")),
        );
        let y = convolve(&x, &weight, Convolution { stride, padding }).unwrap();
        fixture.assert_layer(case, &y, &[("input", &x), ("weight", &weight)]);
    }
}

#[test]
fn max_pools_and_the_global_mean() {
    let fixture = Fixture::open("pooling");
    let mut count = 0;
    for case in fixture.cases("output") {
        let image = ["even", "odd_ties", "odd"]
            .into_iter()
            .find(|image| case.ends_with(image))
            .unwrap();
        let x = fixture.variable(&format!("{image}/input"));
        let y = if case.starts_with("max") {
            let [size, stride, padding] = options(case);
            max_pool(
                &x,
                Window {
                    size,
                    stride,
                    padding,
                },
            )
            .unwrap()
        } else if case.starts_with("average_global") {
            x.flatten_from(2).unwrap().mean(2).unwrap()
        } else {
            continue; // the networks have no other mean
        };
        fixture.assert_layer(case, &y, &[("input", &x)]);
        count += 1;
    }
    assert_eq!(count, 9);
}

#[test]
fn batch_norms() {
    let fixture = Fixture::open("batch_norm");
    for case in ["train", "eval"] {
        let part = |name: &str| fixture.variable(&format!("{case}/{name}"));
        let (x, weight, bias) = (part("input"), part("weight"), part("bias"));
        let y = if case == "train" {
            batch_norm(&x, &weight, &bias, batch_moments(&x).unwrap(), 1e-5).unwrap()
        } else {
            let deviation = (part("running_var") + 1e-5).unwrap().sqrt().unwrap();
            let scale = (&weight / deviation).unwrap();
            let shift = (&bias - (part("running_mean") * &scale).unwrap()).unwrap();
            channel_affine(&x, &scale, &shift).unwrap()
        };
        fixture.assert_layer(
            case,
            &y,
            &[("input", &x), ("weight", &weight), ("bias", &bias)],
        );
    }
}

#[test]
fn cross_entropy() {
    let fixture = Fixture::open("cross_entropy");
    for case in ["ordinary", "large"] {
        let logits = fixture.variable(&format!("{case}/logits"));
        let labels = fixture
            .get(&format!("{case}/labels"))
            .to_dtype(DType::U32)
            .unwrap();
        let loss = candle_nn::loss::cross_entropy(&logits, &labels).unwrap();
        fixture.assert_is(&format!("{case}/loss"), &loss, 1e-13);
        let gradient = gradient(&loss, &[&logits]).unwrap().remove(0);
        fixture.assert_is(&format!("{case}/logits_gradient"), &gradient, 1e-12);
    }
}

/// Logits, loss, all gradients and the running statistics after one pass.
#[test]
fn a_network_in_both_modes() {
    let fixture = Fixture::open("resnet");
    let labels = fixture.get("data/labels").to_dtype(DType::U32).unwrap();
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-4)] {
        for mode in ["eval", "train"] {
            let mut model = network(dtype);
            let parameters = model.make_trainable(0).unwrap();
            let images = fixture.get("data/images").to_dtype(dtype).unwrap();
            let images = Var::from_tensor(&images).unwrap();
            let mut pass = if mode == "train" {
                Pass::training_from(0)
            } else {
                Pass::evaluation()
            };
            let logits = model.forward(images.as_tensor(), &mut pass).unwrap();
            let loss = candle_nn::loss::cross_entropy(&logits, &labels).unwrap();
            fixture.assert_is(&format!("{mode}/logits"), &logits, tolerance);
            fixture.assert_is(&format!("{mode}/loss"), &loss, tolerance);

            let inputs: Vec<&Tensor> = parameters
                .values()
                .map(Var::as_tensor)
                .chain([images.as_tensor()])
                .collect();
            let mut gradients = gradient(&loss, &inputs).unwrap();
            let to_images = gradients.pop().unwrap();
            fixture.assert_is(&format!("{mode}/images_gradient"), &to_images, tolerance);
            let stored = fixture
                .0
                .keys()
                .filter(|name| name.starts_with(&format!("{mode}/gradient/")));
            assert_eq!(stored.count(), gradients.len());
            for (name, gradient) in parameters.keys().zip(&gradients) {
                fixture.assert_is(&format!("{mode}/gradient/{name}"), gradient, tolerance);
            }

            model.absorb(pass).unwrap();
            for (name, tensor) in model
                .tensors()
                .iter()
                .filter(|(name, _)| name.contains("running"))
            {
                let after = if mode == "train" {
                    format!("train/after/{name}")
                } else {
                    format!("model/{name}")
                };
                fixture.assert_is(&after, tensor, tolerance);
            }
        }
    }
}

/// Products with the Hessian and the Gauss–Newton matrix, and every image's gradient times the direction.
#[test]
fn curvature_products() {
    let (fixture, resnet) = (Fixture::open("curvature"), Fixture::open("resnet"));
    let labels: Vec<usize> = (resnet
        .get("data/labels")
        .to_vec1::<i64>()
        .unwrap()
        .into_iter())
    .map(|label| label as usize)
    .collect();
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-5)] {
        for (case, blocks) in [("all", Blocks::All), ("last", Blocks::Last(1))] {
            let model = network(dtype);
            let (images, keeping) = (resnet.get("data/images"), Keeping::default());
            let examples =
                Examples::of_images((&model, blocks), images, &labels, &keeping).unwrap();
            let network = Network::new(&model, blocks, &examples).unwrap();
            let parts: Vec<Tensor> = (network.space().blocks().iter())
                .map(|block| fixture.get(&format!("direction/{}", block.name)))
                .map(|part| part.flatten_all().unwrap().to_dtype(dtype).unwrap())
                .collect();
            let vector = Tensor::cat(&parts, 0).unwrap().unsqueeze(0).unwrap();
            let products = network.example_products(&examples, &[0, 1, 2], &vector);
            let name = format!("{case}/example_products");
            fixture.assert_is(&name, &products.unwrap(), tolerance);

            for (kind, curvature) in [
                ("hessian", Curvature::Hessian),
                ("gauss_newton", Curvature::GaussNewton),
            ] {
                let operator =
                    NetworkCurvature::new(&network, &examples, curvature, 0.0, 1 << 30).unwrap();
                let product = operator
                    .apply(&Vectors::new(vector.clone()).unwrap())
                    .unwrap();
                let product = product.tensor().squeeze(0).unwrap();
                let stored = fixture.cases_under(&format!("{case}/{kind}/"));
                assert_eq!(stored, network.space().blocks().len());
                for block in network.space().blocks() {
                    let part = product.narrow(0, block.range.start, block.range.len());
                    let name = format!("{case}/{kind}/{}", block.name);
                    fixture.assert_is(&name, &part.unwrap(), tolerance);
                }
            }
        }
    }
}
