use super::*;
use crate::derivative::gradient;
use crate::model::Normalisation;
use candle_core::{Device, Var};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

fn normal(seed: u64, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = StandardNormal
        .sample_iter(rand_chacha::ChaCha8Rng::seed_from_u64(seed))
        .take(shape.iter().product())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A network whose batch norms are not the identity.
fn network(architecture: &str) -> ResNet {
    let normalisation = Normalisation {
        mean: [0.5, 0.4, 0.3],
        deviation: [0.2, 0.25, 0.3],
    };
    let classes: Vec<String> = (0..5).map(|class| class.to_string()).collect();
    let architecture = architecture.parse().unwrap();
    let model = ResNet::initialise(
        architecture,
        classes.clone(),
        normalisation,
        16,
        7,
        &Device::Cpu,
    );
    let model = model.unwrap().to_dtype(DType::F64).unwrap();
    let lively = |(seed, (name, tensor)): (u64, (&String, &Tensor))| {
        let noise = (normal(seed, tensor.dims()) * 0.2).unwrap().tanh().unwrap();
        let tensor = match tensor.rank() {
            1 => (tensor + noise).unwrap(),
            _ => tensor.clone(),
        };
        (name.clone(), tensor)
    };
    let tensors = (0..).zip(model.tensors()).map(lively).collect();
    let architecture = model.architecture().clone();
    ResNet::new(architecture, classes, normalisation, 16, tensors).unwrap()
}

#[track_caller]
fn assert_close(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let scale = expected.abs().unwrap().max_all().unwrap();
    let apart = (found - expected).unwrap().abs().unwrap();
    let apart = apart.max_all().unwrap().to_scalar::<f64>().unwrap();
    let scale = scale.to_scalar::<f64>().unwrap();
    assert!(
        apart <= 1e-12 * (1.0 + scale),
        "{what}: {apart:e} of {scale:e}"
    );
}

/// Everything that candle's own way back says of the same pass.
fn agrees(architecture: &str, first: usize, statistics_from: usize, side: usize) {
    let mut model = network(architecture);
    let variables = model.make_trainable(first).unwrap();
    let images = Var::from_tensor(&normal(1, &[4, 3, side, side]).abs().unwrap()).unwrap();
    let labels = Tensor::new(&[0u32, 3, 4, 1], &Device::Cpu).unwrap();
    let what = format!("{architecture} from {first}");

    let mut pass = Pass::training_from(statistics_from);
    let logits = model.forward(images.as_tensor(), &mut pass).unwrap();
    let loss = candle_nn::loss::cross_entropy(&logits, &labels).unwrap();
    let mut wanted: Vec<&Tensor> = variables.values().map(Var::as_tensor).collect();
    wanted.push(images.as_tensor());
    let expected = gradient(&loss, &wanted).unwrap();

    for input in [OfInput::Gradient, OfInput::Nothing] {
        let of = LossGradientsOf {
            parameters_from: Some(first),
            input,
        };
        let mut pass = Pass::training_from(statistics_from);
        let entered = (0, images.as_tensor());
        let found = loss_gradients(&model, entered, &labels, &mut pass, of).unwrap();
        assert_close(&what, &found.loss_and_right.get(0).unwrap(), &loss);
        assert_close(&what, &found.logits, &logits);
        let names: Vec<&String> = found.parameters.keys().collect();
        assert_eq!(names, variables.keys().collect::<Vec<_>>(), "{what}");
        for ((name, found), expected) in found.parameters.iter().zip(&expected) {
            assert_close(&format!("{what}: {name}"), found, expected);
        }
        assert_eq!(found.input.is_some(), input == OfInput::Gradient);
        if let Some(found) = &found.input {
            assert_close(
                &format!("{what}: images"),
                found,
                &expected[expected.len() - 1],
            );
        }
    }
}

#[test]
fn the_way_back_is_candles() {
    for architecture in ["cifar-resnet8-w4", "cifar-resnet18-w2", "cifar-resnet50-w2"] {
        agrees(architecture, 0, 0, 16);
        agrees(architecture, 2, 0, 16);
        agrees(architecture, 2, 2, 16);
        let head = network(architecture).head_segment();
        agrees(architecture, head, 0, 16);
    }
    agrees("resnet18", 0, 0, 48);
}

/// Where images do not meet, a weight is that of an image's own gradient; where they do, gradients are linear in the weights still.
#[test]
fn weights_are_those_of_the_images_losses() {
    let model = network("cifar-resnet8-w4");
    let images = normal(2, &[3, 3, 16, 16]).abs().unwrap();
    let labels = Tensor::new(&[2u32, 4, 0], &Device::Cpu).unwrap();
    let head = model.head_segment();
    let found =
        |(first, from): (usize, usize), places: (usize, usize), weights: Option<[f32; 3]>| {
            let of = LossGradientsOf {
                parameters_from: Some(first),
                input: OfInput::Gradient,
            };
            let weights = weights.map(|weights| Tensor::new(&weights, &Device::Cpu).unwrap());
            let images = images.narrow(0, places.0, places.1).unwrap();
            let labels = labels.narrow(0, places.0, places.1).unwrap();
            let mut pass = Pass::training_from(from);
            let labels = (&labels, weights.as_ref());
            weighted_loss_gradients(&model, (0, &images), labels, &mut pass, of).unwrap()
        };
    let mut alone = found((head, head), (1, 1), None);
    let counted = found((head, head), (0, 3), Some([0.0, 1.0, 0.0]));
    alone
        .parameters
        .insert("loss".into(), alone.loss_and_right.get(0).unwrap());
    for (name, alone) in &alone.parameters {
        let counted = match &**name {
            "loss" => counted.loss_and_right.get(0).unwrap(),
            name => counted.parameters[name].clone(),
        };
        assert_close(name, &counted, &(alone / 3.0).unwrap());
    }
    let [some, others, all] = [Some([1.0, 0.0, 0.25]), Some([0.0, 1.0, 0.75]), None]
        .map(|weights| found((1, 0), (0, 3), weights));
    for (name, all) in &all.parameters {
        let sum = (&some.parameters[name] + &others.parameters[name]).unwrap();
        assert_close(name, &sum, all);
        assert!(
            some.parameters[name]
                .sub(all)
                .unwrap()
                .abs()
                .unwrap()
                .max_all()
                .unwrap()
                .to_scalar::<f64>()
                .unwrap()
                > 1e-6
        );
    }
    let sum = (some.input.unwrap() + others.input.unwrap()).unwrap();
    assert_close("images", &sum, &all.input.unwrap());
}

#[test]
fn from_an_activation_on() {
    let model = network("cifar-resnet14-w3");
    let images = normal(2, &[3, 3, 16, 16]).abs().unwrap();
    let labels = Tensor::new(&[2u32, 2, 0], &Device::Cpu).unwrap();
    for first in [1, 3, model.head_segment()] {
        let of = LossGradientsOf {
            parameters_from: Some(first),
            input: OfInput::Nothing,
        };
        let whole = loss_gradients(
            &model,
            (0, &images),
            &labels,
            &mut Pass::training_from(first),
            of,
        );
        let before = model
            .prefix(first, &images, &mut Pass::evaluation())
            .unwrap();
        let rest = loss_gradients(
            &model,
            (first, &before),
            &labels,
            &mut Pass::training_from(first),
            of,
        );
        let (whole, rest) = (whole.unwrap(), rest.unwrap());
        for (name, expected) in &whole.parameters {
            assert_close(name, &rest.parameters[name], expected);
        }
        assert_eq!(whole.parameters.len(), rest.parameters.len());
    }
}

#[test]
fn attacks_ask_for_the_images_alone() {
    let model = network("cifar-resnet8-w4");
    let images = Var::from_tensor(&normal(3, &[4, 3, 12, 10]).abs().unwrap()).unwrap();
    let labels = Tensor::new(&[0u32, 1, 2, 3], &Device::Cpu).unwrap();
    let loss = candle_nn::loss::cross_entropy(&model.logits(&images).unwrap(), &labels).unwrap();
    let expected = gradient(&loss, &[images.as_tensor()]).unwrap();
    let of = LossGradientsOf {
        parameters_from: None,
        input: OfInput::Gradient,
    };
    let mut pass = Pass::evaluation();
    let found = loss_gradients(&model, (0, images.as_tensor()), &labels, &mut pass, of).unwrap();
    assert_close("images", &found.input.unwrap(), &expected[0]);
    assert!(found.parameters.is_empty());
}

/// Of each image, over its length.
fn units(gradients: &Tensor) -> Vec<Vec<f64>> {
    let rows = gradients.flatten_from(1).unwrap();
    let lengths = rows.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
    rows.broadcast_div(&lengths).unwrap().to_vec2().unwrap()
}

#[test]
fn a_direction_is_that_of_the_gradient_and_no_prediction_is_too_sure_for_it() {
    let model = network("cifar-resnet8-w4");
    let images = normal(3, &[4, 3, 12, 10]).abs().unwrap();
    let labels = model.logits(&images).unwrap().argmax(1).unwrap();
    let of_input = |model: &ResNet, input: OfInput| {
        let of = LossGradientsOf {
            parameters_from: None,
            input,
        };
        let found = loss_gradients(model, (0, &images), &labels, &mut Pass::evaluation(), of);
        found.unwrap().input.unwrap()
    };
    let gradient = units(&of_input(&model, OfInput::Gradient));
    let direction = units(&of_input(&model, OfInput::Direction));
    let apart = |one: &[Vec<f64>], other: &[Vec<f64>]| {
        let pairs = one.iter().flatten().zip(other.iter().flatten());
        pairs.fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()))
    };
    assert!(apart(&gradient, &direction) < 1e-9);
    // The same predictions with margins of thousands.
    let mut tensors = model.tensors().clone();
    for name in ["fc.weight", "fc.bias"] {
        let longer = (&tensors[name] * 1e6).unwrap();
        tensors.insert(name.to_owned(), longer);
    }
    let sure = ResNet::new(
        model.architecture().clone(),
        model.classes().to_vec(),
        model.normalisation(),
        model.framing(),
        tensors,
    )
    .unwrap();
    let none = of_input(&sure, OfInput::Gradient);
    assert_eq!(
        none.abs()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f64>()
            .unwrap(),
        0.0
    );
    // A little way along it every margin is smaller.
    let direction: Vec<f64> = units(&of_input(&sure, OfInput::Direction)).concat();
    let step = Tensor::from_vec(direction, images.shape(), &Device::Cpu).unwrap();
    let margins = |images: &Tensor| -> Vec<f64> {
        let logits = model.logits(images).unwrap().to_vec2::<f64>().unwrap();
        let labels = labels.to_vec1::<u32>().unwrap();
        let margin = |(logits, label): (&Vec<f64>, u32)| {
            let others = logits
                .iter()
                .enumerate()
                .filter(|(class, _)| *class != label as usize);
            logits[label as usize] - others.fold(f64::MIN, |most, (_, logit)| most.max(*logit))
        };
        logits.iter().zip(labels).map(margin).collect()
    };
    let moved = (&images + (step * 1e-2).unwrap()).unwrap();
    for (before, after) in margins(&images).into_iter().zip(margins(&moved)) {
        assert!(after < before, "{before} {after}");
    }
}

#[test]
fn weights_are_not_trained_by_running_statistics() {
    let model = network("cifar-resnet8-w4");
    let images = normal(3, &[4, 3, 12, 12]);
    let labels = Tensor::new(&[0u32, 1, 2, 3], &Device::Cpu).unwrap();
    let of = LossGradientsOf {
        parameters_from: Some(0),
        input: OfInput::Nothing,
    };
    let mut pass = Pass::evaluation();
    let refused = loss_gradients(&model, (0, &images), &labels, &mut pass, of).unwrap_err();
    assert!(
        refused.to_string().contains("running statistics"),
        "{refused}"
    );
}
