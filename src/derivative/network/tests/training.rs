//! A step of training, held against differences of candle's own passes in training mode, f64.

use super::on_device::POOLED;
use super::*;
use crate::derivative::head::HeadOutputs;
use crate::derivative::{LossGradientsOf, OfInput, loss_gradients};
use crate::model::{MOMENTUM, Pass};

const STEP: f64 = 1e-6;

/// What candle finds of one batch.
struct Seen {
    gradient: Vec<f64>,
    losses: Vec<f64>,
    /// Mean and unbiased variance of each batch norm that is trained, one after the other.
    statistics: Vec<f64>,
}

fn seen(model: &ResNet, first: usize, input: &Tensor) -> Seen {
    let labels = Tensor::new(oracle_labels(), &Device::Cpu).unwrap();
    let mut pass = Pass::training_from(first);
    let wanted = LossGradientsOf {
        parameters_from: Some(first),
        input: OfInput::Nothing,
    };
    let found = loss_gradients(model, (first, input), &labels, &mut pass, wanted).unwrap();
    let mut after = model.clone();
    after.absorb(pass).unwrap();
    let moved = |name: &str| {
        let before = row(&model.tensors()[name]);
        let after = row(&after.tensors()[name]);
        let newest = |(before, after): (f64, f64)| (after - (1.0 - MOMENTUM) * before) / MOMENTUM;
        before
            .into_iter()
            .zip(after)
            .map(newest)
            .collect::<Vec<_>>()
    };
    let norms = norms(model, first);
    Seen {
        gradient: found.parameters.values().flat_map(row).collect(),
        losses: HeadOutputs::from_logits(&found.logits, &LABELS)
            .unwrap()
            .losses,
        statistics: (norms.iter())
            .flat_map(|norm| {
                ["running_mean", "running_var"].map(|part| moved(&format!("{norm}.{part}")))
            })
            .flatten()
            .collect(),
    }
}

/// The trained batch norms in the order of the program.
fn norms(model: &ResNet, first: usize) -> Vec<String> {
    let trained = |segment: &crate::model::Segment| {
        let mut names: Vec<String> = segment.layers().map(|layer| layer.norm.clone()).collect();
        // A projection is the last of a segment's layers and the first of the program's.
        if names.last().is_some_and(|name| name.contains("downsample")) {
            names.rotate_right(1);
        }
        names
    };
    let segments = model.segments().iter().skip(first);
    segments.flat_map(trained).collect()
}

/// `model` with numbers added to some of its tensors.
fn shifted(model: &ResNet, by: &BTreeMap<String, Tensor>, times: f64) -> ResNet {
    let tensors = model.tensors().iter().map(|(name, tensor)| {
        let tensor = match by.get(name) {
            Some(by) => (tensor + (by * times).unwrap()).unwrap(),
            None => tensor.clone(),
        };
        (name.clone(), tensor)
    });
    ResNet::new(
        model.architecture().clone(),
        model.classes().to_vec(),
        model.normalisation(),
        model.framing(),
        tensors.collect(),
    )
    .unwrap()
}

fn slopes(plus: &[f64], minus: &[f64]) -> Vec<f64> {
    let pairs = plus.iter().zip(minus);
    pairs
        .map(|(plus, minus)| (plus - minus) / (2.0 * STEP))
        .collect()
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn products_of_a_training_step_are_differences_of_training_passes() {
    for (architecture, blocks) in CHOICES {
        let model = model(architecture, SIDE);
        let what = format!("{architecture} {blocks}");
        let first = blocks.first_segment(model.architecture()).unwrap();
        let input = input(&model, first, SIDE);
        let evaluation = Network::new(&model, blocks, &examples(&model, blocks, SIDE)).unwrap();
        let network = TrainingNetwork::new(&model, blocks, evaluation.input()).unwrap();
        let at = network.linearise(&input, &LABELS).unwrap();
        // Candle's own passes begin with pixels.
        let whole = match first {
            0 => images(SIDE),
            _ => input.clone(),
        };
        let here = seen(&model, first, &whole);
        assert_close(&what, &at.outputs().losses, &here.losses, 1e-12);
        assert_eq!(network.statistics_size(), here.statistics.len(), "{what}");

        let vectors = [0.9, 0.2].map(|phase| numbers(phase, &[evaluation.size()]));
        let statistics = numbers(0.6, &[1, here.statistics.len()]);
        let none = statistics.zeros_like().unwrap();
        let apart = vectors.each_ref().map(|vector| {
            let by = along(&evaluation, vector);
            [1.0, -1.0].map(|sign| seen(&shifted(&model, &by, sign * STEP), first, &whole))
        });
        let [plus, minus] = &apart[0];
        let first_row = vectors[0].unsqueeze(0).unwrap();
        let found = network.products(&at, &first_row, &none).unwrap();
        let expected = slopes(&plus.losses, &minus.losses);
        assert_close(&what, &found.of_images[0], &expected, 1e-6);
        let expected = slopes(&plus.gradient, &minus.gradient);
        assert_close(&what, &row(&found.pulled_back), &expected, 1e-5);

        if here.statistics.is_empty() {
            continue;
        }
        // Two vectors at once, the first with what pulls at the statistics: that adds their slope along the second.
        let both = Tensor::stack(&vectors, 0).unwrap();
        let pulls = Tensor::cat(&[&statistics, &none], 0).unwrap();
        let pulled = network.products(&at, &both, &pulls).unwrap().pulled_back;
        let added = (pulled.get(0).unwrap() - found.pulled_back.get(0).unwrap()).unwrap();
        let [plus, minus] = &apart[1];
        let slope = inner(
            &slopes(&plus.statistics, &minus.statistics),
            &row(&statistics),
        );
        let along_second = inner(&row(&added), &row(&vectors[1]));
        assert!(
            (along_second - slope).abs() < 1e-6 * slope.abs().max(1.0),
            "{what}: {along_second}, {slope}"
        );
        let alone = network
            .products(&at, &both.narrow(0, 1, 1).unwrap(), &none)
            .unwrap();
        assert_eq!(
            row(&pulled.get(1).unwrap()),
            row(&alone.pulled_back),
            "{what}"
        );
    }
}

#[test]
fn a_network_that_has_moved_is_the_one_made_there() {
    let (model, blocks) = (model("cifar-resnet8-w2", SIDE), Blocks::Last(2));
    let first = blocks.first_segment(model.architecture()).unwrap();
    let evaluation = Network::new(&model, blocks, &examples(&model, blocks, SIDE)).unwrap();
    let vector = numbers(0.9, &[evaluation.size()]);
    let there = shifted(&model, &along(&evaluation, &vector), 0.1);
    let new = |model: &ResNet| TrainingNetwork::new(model, blocks, evaluation.input()).unwrap();
    let mut moved = new(&model);
    moved
        .move_to(&(evaluation.parameters().unwrap() + (&vector * 0.1).unwrap()).unwrap())
        .unwrap();
    let input = input(&model, first, SIDE);
    let losses = |network: &TrainingNetwork| {
        let at = network.linearise(&input, &LABELS).unwrap();
        at.outputs().losses.clone()
    };
    assert_close("losses", &losses(&moved), &losses(&new(&there)), 1e-12);
    assert!(moved.move_to(&vector.narrow(0, 1, 3).unwrap()).is_err());
    assert!(
        moved
            .linearise(&input.narrow(1, 0, 1).unwrap(), &LABELS)
            .is_err()
    );
}

/// Those of the running statistics in evaluation mode, which the parameters' gradients already say.
#[test]
fn statistics_gradients_are_differences_of_losses_in_evaluation_mode() {
    for (architecture, blocks) in &CHOICES[1..] {
        let model = model(architecture, SIDE);
        let first = blocks.first_segment(model.architecture()).unwrap();
        let examples = examples(&model, *blocks, SIDE);
        let evaluation = Network::new(&model, *blocks, &examples).unwrap();
        let network = TrainingNetwork::new(&model, *blocks, evaluation.input()).unwrap();
        let all = [0, 1, 2, 3, 4];
        let gradients = evaluation.example_gradients(&examples, &all).unwrap();
        let found = network.statistics_gradients(&gradients).unwrap();
        let direction = numbers(0.3, &[network.statistics_size()]);
        let found: Vec<f64> = (found.to_vec2::<f64>().unwrap().iter())
            .map(|row_of| inner(row_of, &row(&direction)))
            .collect();
        let mut by = BTreeMap::new();
        let mut start = 0;
        for norm in norms(&model, first) {
            for part in ["running_mean", "running_var"] {
                let name = format!("{norm}.{part}");
                let channels = model.tensors()[&name].elem_count();
                by.insert(name, direction.narrow(0, start, channels).unwrap());
                start += channels;
            }
        }
        let [plus, minus] = [1.0, -1.0].map(|sign| {
            let model = shifted(&model, &by, sign * STEP);
            let network = Network::new(&model, *blocks, &examples).unwrap();
            network.outputs(&examples, &all).unwrap().remove(0).losses
        });
        let what = format!("{architecture} {blocks}");
        assert_close(&what, &found, &slopes(&plus, &minus), 1e-6);
    }
}

/// Three vectors and what pulls at the statistics, in the order of each network's own.
fn compare_with_device(
    (model, blocks, side): (&ResNet, Blocks, usize),
    what: &str,
    tolerance: f64,
) {
    let first = blocks.first_segment(model.architecture()).unwrap();
    let dtype = model.dtype().unwrap();
    let double = model.to_dtype(DType::F64).unwrap();
    let input = input(&double, first, side);
    let evaluation = Network::new(&double, blocks, &examples(&double, blocks, side)).unwrap();
    let network = TrainingNetwork::new(&double, blocks, evaluation.input()).unwrap();
    let device = DeviceTrainingNetwork::new(model, blocks, &Device::Cpu).unwrap();
    assert_eq!(device.space(), network.space());
    assert_eq!(device.statistics_size(), network.statistics_size());

    let vectors = numbers(0.9, &[3, evaluation.size()]);
    let there = |tensor: &Tensor| tensor.to_dtype(dtype).unwrap();
    // Both orders of the batch norms are those of these gradients.
    let pulls = network.statistics_gradients(&vectors).unwrap();
    let pulls_there = device.statistics_gradients(&vectors).unwrap();
    let batch = (&input, &LABELS[..]);
    let expected = network.step_products(batch, &vectors, &pulls).unwrap();
    for (device, bytes) in [(&device, "all"), (&tight(model, blocks), "one at a time")] {
        let what = format!("{what}, {bytes}");
        let found = device
            .step_products(batch, &there(&vectors), &there(&pulls_there))
            .unwrap();
        for (found, expected) in found.of_images.iter().zip(&expected.of_images) {
            assert_close(&what, found, expected, tolerance);
        }
        assert_eq!(found.of_images.len(), 3);
        assert_eq!(found.pulled_back.dims(), expected.pulled_back.dims());
        let expected = row(&expected.pulled_back);
        assert_close(&what, &row(&found.pulled_back), &expected, tolerance);
    }
}

fn tight(model: &ResNet, blocks: Blocks) -> DeviceTrainingNetwork {
    let network = DeviceTrainingNetwork::new(model, blocks, &Device::Cpu).unwrap();
    network.with_pass_bytes(1)
}

#[test]
fn products_of_a_training_step_are_the_same_on_a_device() {
    for (architecture, blocks) in CHOICES {
        let model = model(architecture, SIDE);
        let what = format!("{architecture} {blocks}");
        compare_with_device((&model, blocks, SIDE), &what, 1e-10);
        let single = model.to_dtype(DType::F32).unwrap();
        compare_with_device((&single, blocks, SIDE), &what, 1e-4);
    }
    let (architecture, blocks, side) = POOLED;
    compare_with_device(
        (&model(architecture, side), blocks, side),
        architecture,
        1e-10,
    );
}

#[test]
fn a_training_step_on_a_device_is_at_the_parameters_it_moved_to_and_refuses_others() {
    let (model, blocks) = (model("cifar-resnet8-w2", SIDE), Blocks::Last(2));
    let first = blocks.first_segment(model.architecture()).unwrap();
    let evaluation = Network::new(&model, blocks, &examples(&model, blocks, SIDE)).unwrap();
    let vector = numbers(0.9, &[evaluation.size()]);
    let there = shifted(&model, &along(&evaluation, &vector), 0.1);
    let new = |model: &ResNet| DeviceTrainingNetwork::new(model, blocks, &Device::Cpu).unwrap();
    let mut moved = new(&model);
    let parameters = (evaluation.parameters().unwrap() + (&vector * 0.1).unwrap()).unwrap();
    moved.move_to(&parameters).unwrap();
    let input = input(&model, first, SIDE);
    let vectors = vector.unsqueeze(0).unwrap();
    let none = Tensor::zeros((1, moved.statistics_size()), DType::F64, &Device::Cpu).unwrap();
    let products = |network: &DeviceTrainingNetwork, vectors: &Tensor, labels: &[usize]| {
        network.step_products((&input, labels), vectors, &none)
    };
    let found = |network: &_| row(&products(network, &vectors, &LABELS).unwrap().pulled_back);
    assert_close("moved", &found(&moved), &found(&new(&there)), 1e-10);
    assert!(found(&moved) != found(&new(&model)));

    assert!(moved.move_to(&vector.narrow(0, 1, 3).unwrap()).is_err());
    let short = vectors.narrow(1, 1, 3).unwrap();
    assert!(products(&moved, &short, &LABELS).is_err());
    let message = products(&moved, &vectors, &[1, 3, 0, 2, 4]).err().unwrap();
    assert!(message.to_string().contains("below 4"), "{message}");
    assert!(products(&moved, &vectors, &LABELS[1..]).is_err());
    assert!(moved.statistics_gradients(&short).is_err());
    let batch = (&input, &LABELS[..]);
    let few = none.narrow(1, 0, 3).unwrap();
    assert!(moved.step_products(batch, &vectors, &few).is_err());
    let program = TrainingNetwork::new(&model, blocks, evaluation.input()).unwrap();
    assert!(program.step_products(batch, &vectors, &few).is_err());
    assert!(program.statistics_gradients(&short).is_err());
}
