//! Scores against the same training run twice, by candle in f64, with a little more and a little less of one image's loss.

use super::*;
use crate::artefact::remove_unfinished;
use crate::data::{Pixels, digits_test, digits_train};
use crate::derivative::head::HeadOutputs;
use crate::derivative::network::{
    Curvature, DeviceExamples, DeviceNetwork, Examples, Keeping, Network,
};
use crate::derivative::{LossGradientsOf, OfInput, loss_gradients};
use crate::model::{Normalisation, Pass, ResNet};
use crate::solve::Settings;
use crate::train::{
    AugmentationName, Epoch, FrozenStatistics, Observer, Schedule, TrainingStep, TransferOptions,
    Unobserved,
};
use candle_core::Device;
use std::collections::BTreeMap;
use std::time::Duration;

const IMAGES: usize = 23;
const QUERIES: [usize; 2] = [3, 8];
/// How much more or less of an image's loss.
const MORE: f64 = 1e-4;

fn digits() -> (Pixels, Pixels) {
    let ids: Vec<usize> = (0..IMAGES).collect();
    (
        Pixels::decode(&digits_train().unwrap(), &ids, 8).unwrap(),
        Pixels::decode(&digits_test().unwrap(), &QUERIES, 8).unwrap(),
    )
}

fn classes() -> Vec<String> {
    (0..10).map(|digit| digit.to_string()).collect()
}

fn source() -> ResNet {
    let normalisation = Normalisation {
        mean: [0.3; 3],
        deviation: [0.3; 3],
    };
    let architecture = "cifar-resnet8-w2".parse().unwrap();
    ResNet::initialise(architecture, classes(), normalisation, 8, 1, &Device::Cpu).unwrap()
}

/// Four epochs of three steps, the last of each over fewer images.
fn options(blocks: Blocks, statistics: FrozenStatistics) -> TransferOptions {
    let mut options = TransferOptions::with_defaults(4).unwrap();
    options.blocks = blocks;
    options.frozen_statistics = statistics;
    options.head_deviation = 0.3;
    let recipe = &mut options.recipe;
    recipe.batch_size = 9;
    recipe.learning_rate = 0.05;
    recipe.l2 = 1e-2;
    recipe.schedule = Schedule::Cosine;
    recipe.seed = 5;
    recipe.augmentation = match statistics {
        FrozenStatistics::Moving => AugmentationName::Flip,
        FrozenStatistics::Frozen => AugmentationName::None,
    };
    options
}

fn recorded<'a>(options: &TransferOptions, train: &'a Pixels) -> Trajectory<'a> {
    let how = (classes(), options);
    Trajectory::record(source(), how, train, &Keeping::default(), &mut Unobserved).unwrap()
}

fn network_options() -> NetworkOptions {
    NetworkOptions {
        curvature: Curvature::GaussNewton,
        l2: 0.0,
        damping: 0.0,
        solver: Settings::default(),
        top: 5,
        bottom: 0,
        query_groups: None,
        groups_only: false,
        train_groups: None,
        scores: false,
        shares: false,
        query_rank: None,
        memory: 1 << 30,
        record_every: Duration::ZERO,
    }
}

/// The query images at what a model says of them.
fn queries(model: &ResNet, blocks: Blocks) -> Examples {
    let (_, test) = digits();
    let images = test.batch(&[0, 1], &Device::Cpu).unwrap();
    let images = images.to_dtype(DType::F64).unwrap();
    Examples::of_images((model, blocks), &images, test.labels(), &Keeping::default()).unwrap()
}

fn scores(trajectory: &Trajectory, blocks: Blocks) -> Array2<f64> {
    let model = trajectory.model().to_dtype(DType::F64).unwrap();
    let examples = queries(&model, blocks);
    let network = Network::new(&model, blocks, &examples).unwrap();
    let options = network_options();
    let mut unrolled = Unrolled::new(trajectory, (&network, blocks), &options).unwrap();
    let gradients = network.example_gradients(&examples, &[0, 1]).unwrap();
    let gradients = Vectors::new(gradients).unwrap();
    let name = |row: usize| row.to_string();
    let (pairs, reports) = unrolled.scores(gradients, &name, &|_| ()).unwrap();
    assert!(reports.is_empty());
    pairs.scores
}

fn mean_gradients(
    model: &ResNet,
    first: usize,
    step: &TrainingStep,
    labels: &[usize],
) -> (BTreeMap<String, Tensor>, Tensor, Pass) {
    let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
    let labels = Tensor::new(labels, &Device::Cpu).unwrap();
    let input = step.input.to_dtype(DType::F64).unwrap();
    // A pass from the first segment on begins with pixels.
    let input = match first {
        0 => ((input * 0.3).unwrap() + 0.3).unwrap(),
        _ => input,
    };
    let mut pass = Pass::training_from(first);
    let wanted = LossGradientsOf {
        parameters_from: Some(first),
        input: OfInput::Nothing,
    };
    let found = loss_gradients(model, (first, &input), &labels, &mut pass, wanted).unwrap();
    (found.parameters, found.logits, pass)
}

/// ∇L of a batch with `more` of the loss of the image at `place`: J_iᵀ (π − e_y) is a mean, with the weights π, of what other labels
/// of that image change in ∇L.
fn gradients(
    model: &ResNet,
    first: usize,
    step: &TrainingStep,
    more: Option<(usize, f64)>,
) -> (BTreeMap<String, Tensor>, Pass) {
    let (mut gradients, logits, pass) = mean_gradients(model, first, step, &step.labels);
    let Some((place, more)) = more else {
        return (gradients, pass);
    };
    let outputs = HeadOutputs::from_logits(&logits, &step.labels).unwrap();
    let weights = outputs
        .probabilities
        .get(place)
        .unwrap()
        .to_vec1::<f64>()
        .unwrap();
    let usual = gradients.clone();
    for (class, weight) in weights.into_iter().enumerate() {
        let mut labels = step.labels.clone();
        labels[place] = class;
        let (others, _, _) = mean_gradients(model, first, step, &labels);
        for (name, gradient) in &mut gradients {
            let change = (&usual[name] - &others[name]).unwrap();
            *gradient = (&*gradient + (change * (more * weight)).unwrap()).unwrap();
        }
    }
    (gradients, pass)
}

/// The transfer in f64, with `more` of one image's loss in every batch; the model at its end.
fn trained(trajectory: &Trajectory, first: usize, more: Option<(usize, f64)>) -> ResNet {
    let recipe = trajectory.recipe().clone();
    let begun = source().with_new_head(classes(), 0.3, recipe.seed).unwrap();
    let mut model = begun.to_dtype(DType::F64).unwrap();
    let mut velocities: BTreeMap<String, Tensor> = BTreeMap::new();
    for index in 0..trajectory.step_count() {
        let step = trajectory.step(index).unwrap();
        let at = more.and_then(|(image, more)| {
            let place = step.positions.iter().position(|&at| at == image)?;
            Some((place, more))
        });
        let (gradients, pass) = gradients(&model, first, &step, at);
        let mut tensors = model.tensors().clone();
        for (name, gradient) in gradients {
            let theta = tensors[&name].clone();
            let mut velocity = (gradient + (&theta * recipe.l2).unwrap()).unwrap();
            if let Some(before) = velocities.get(&name) {
                velocity = (velocity + (before * recipe.momentum).unwrap()).unwrap();
            }
            let moved = (theta - (&velocity * step.rate).unwrap()).unwrap();
            velocities.insert(name.clone(), velocity);
            tensors.insert(name, moved);
        }
        model.absorb(pass).unwrap();
        let moved = model.tensors().clone().into_iter().map(|(name, tensor)| {
            let tensor = match velocities.contains_key(&name) {
                true => tensors[&name].clone(),
                false => tensor,
            };
            (name, tensor)
        });
        let of = (model.architecture().clone(), model.classes().to_vec());
        let (normalisation, framing) = (model.normalisation(), model.framing());
        model = ResNet::new(of.0, of.1, normalisation, framing, moved.collect()).unwrap();
    }
    // Statistics of frozen segments, which no step sees.
    let architecture = model.architecture().clone();
    let end = trajectory.model().to_dtype(DType::F64).unwrap();
    let tensors = end.tensors().iter().map(|(name, tensor)| {
        let tensor = match architecture.segment_of(name) < first {
            true => tensor,
            false => &model.tensors()[name],
        };
        (name.clone(), tensor.clone())
    });
    let (normalisation, framing) = (model.normalisation(), model.framing());
    ResNet::new(
        architecture.clone(),
        classes(),
        normalisation,
        framing,
        tensors.collect(),
    )
    .unwrap()
}

fn losses(model: &ResNet, blocks: Blocks) -> Vec<f64> {
    let examples = queries(model, blocks);
    let network = Network::new(model, blocks, &examples).unwrap();
    network
        .outputs(&examples, &[0, 1])
        .unwrap()
        .remove(0)
        .losses
}

#[test]
fn scores_are_what_less_of_an_images_loss_does_to_the_trained_models_losses() {
    for (blocks, statistics) in [
        (Blocks::Last(0), FrozenStatistics::Frozen),
        (Blocks::Last(0), FrozenStatistics::Moving),
        (Blocks::Last(1), FrozenStatistics::Moving),
        (Blocks::Last(2), FrozenStatistics::Frozen),
        (Blocks::All, FrozenStatistics::Moving),
    ] {
        let what = format!("{blocks} blocks, {statistics:?}");
        let (train, _) = digits();
        let trajectory = recorded(&options(blocks, statistics), &train);
        assert_eq!(trajectory.step_count(), 12);
        let first = blocks
            .first_segment(trajectory.model().architecture())
            .unwrap();
        // The steps are those that were taken.
        let again = losses(&trained(&trajectory, first, None), blocks);
        let model = trajectory.model().to_dtype(DType::F64).unwrap();
        for (again, loss) in again.iter().zip(losses(&model, blocks)) {
            assert!(
                (again - loss).abs() < 1e-4 * loss.max(1.0),
                "{what}: {again}, {loss}"
            );
        }
        let scores = scores(&trajectory, blocks);
        let largest = scores
            .iter()
            .fold(0.0f64, |most, score| most.max(score.abs()));
        for image in [0, 4, 11, 22] {
            let [more, less] = [MORE, -MORE]
                .map(|more| losses(&trained(&trajectory, first, Some((image, more))), blocks));
            for query in 0..QUERIES.len() {
                let slope = (less[query] - more[query]) / (2.0 * MORE);
                let score = scores[[query, image]];
                assert!(
                    (score - slope).abs() < 2e-3 * largest,
                    "{what}: query {query}, image {image}: {score:e}, {slope:e} of {largest:e}"
                );
            }
        }
    }
}

/// By the graphs of tensors that a device runs.
#[test]
fn scores_are_the_same_by_either_program() {
    for (blocks, statistics) in [
        (Blocks::Last(0), FrozenStatistics::Moving),
        (Blocks::Last(2), FrozenStatistics::Frozen),
        (Blocks::All, FrozenStatistics::Moving),
    ] {
        let (train, test) = digits();
        let trajectory = recorded(&options(blocks, statistics), &train);
        let expected = scores(&trajectory, blocks);
        let model = trajectory.model().to_dtype(DType::F64).unwrap();
        let images = test.batch(&[0, 1], &Device::Cpu).unwrap();
        let images = images.to_dtype(DType::F64).unwrap();
        let of = (&model, blocks, &Device::Cpu);
        let keeping = Keeping::default();
        let examples = DeviceExamples::of_images(of, &images, test.labels(), &keeping).unwrap();
        let network = DeviceNetwork::new(&model, blocks, &examples).unwrap();
        let options = network_options();
        let mut unrolled = Unrolled::new(&trajectory, (&network, blocks), &options).unwrap();
        let gradients = network.example_gradients(&examples, &[0, 1]).unwrap();
        let gradients = Vectors::new(gradients).unwrap();
        let (found, _) = unrolled
            .scores(gradients, &|row| row.to_string(), &|_| ())
            .unwrap();
        let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        for (found, expected) in found.scores.iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-10 * largest,
                "{blocks} blocks: {found:e}, {expected:e} of {largest:e}"
            );
        }
    }
}

#[test]
fn a_query_has_the_same_scores_whatever_is_scored_beside_it() {
    let (train, _) = digits();
    let blocks = Blocks::Last(1);
    let trajectory = recorded(&options(blocks, FrozenStatistics::Frozen), &train);
    let model = trajectory.model().to_dtype(DType::F64).unwrap();
    let examples = queries(&model, blocks);
    let network = Network::new(&model, blocks, &examples).unwrap();
    let both = scores(&trajectory, blocks);
    let options = network_options();
    let mut unrolled = Unrolled::new(&trajectory, (&network, blocks), &options).unwrap();
    let alone = network.example_gradients(&examples, &[1]).unwrap();
    let name = |row: usize| row.to_string();
    let heard = std::cell::RefCell::new(Vec::new());
    let done = |share| heard.borrow_mut().push(share);
    let (pairs, _) = unrolled
        .scores(Vectors::new(alone).unwrap(), &name, &done)
        .unwrap();
    assert_eq!(pairs.scores.row(0), both.row(1));
    assert!(
        pairs.growth.len() == 1 && pairs.growth[0] >= 1.0,
        "{:?}",
        pairs.growth
    );
    let heard = heard.into_inner();
    assert!(
        heard.len() == 12 && heard.is_sorted() && heard[11] == 1.0,
        "{heard:?}"
    );
}

#[test]
fn a_way_back_that_grows_beyond_all_numbers_says_where() {
    let (train, _) = digits();
    let blocks = Blocks::Last(0);
    let trajectory = recorded(&options(blocks, FrozenStatistics::Frozen), &train);
    let model = trajectory.model().to_dtype(DType::F64).unwrap();
    let examples = queries(&model, blocks);
    let network = Network::new(&model, blocks, &examples).unwrap();
    let options = network_options();
    let mut unrolled = Unrolled::new(&trajectory, (&network, blocks), &options).unwrap();
    let gradients = network.example_gradients(&examples, &[0]).unwrap();
    let gradients = Vectors::new((gradients * f64::INFINITY).unwrap()).unwrap();
    let message = unrolled.scores(gradients, &|_| String::new(), &|_| ());
    let message = message.err().unwrap().to_string();
    assert!(
        message.contains("step 12 of 12") && message.contains("--unrolled"),
        "{message}"
    );
}

/// Repeats the names that it sees in the first folder in the second, as a killed process would leave them.
struct Killed([std::path::PathBuf; 2]);

impl Observer for Killed {
    fn step(&mut self, _: &ResNet, _: &crate::train::Sgd) -> crate::Result<()> {
        for entry in std::fs::read_dir(&self.0[0]).unwrap() {
            let left = self.0[1].join(entry.unwrap().file_name());
            std::fs::create_dir_all(left).unwrap();
        }
        Ok(())
    }

    fn batch(&mut self, _: usize, _: usize, _: usize) {}
    fn epoch(&mut self, _: &Epoch) {}
}

#[test]
fn what_is_left_where_the_repeated_training_is_killed_goes_with_the_next_run() {
    let places = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let paths = places.each_ref().map(|place| place.path().to_path_buf());
    let count = |path: &std::path::Path| std::fs::read_dir(path).unwrap().count();
    let (train, _) = digits();
    let options = options(Blocks::Last(0), FrozenStatistics::Frozen);
    let keeping = Keeping {
        folder: paths[0].clone(),
        ..Keeping::default()
    };
    let mut killed = Killed(paths.clone());
    let how = (classes(), &options);
    Trajectory::record(source(), how, &train, &keeping, &mut killed).unwrap();
    assert_eq!(paths.each_ref().map(|path| count(path)), [0, 1]);
    remove_unfinished(&paths[1]).unwrap();
    assert_eq!(count(&paths[1]), 0);
}

/// Whatever statistics, augmentation or part: what is trained again between waypoints are the steps of the training, in any order.
#[test]
fn steps_that_were_not_kept_are_had_again() {
    let (train, _) = digits();
    for (blocks, statistics) in [
        (Blocks::Last(1), FrozenStatistics::Moving),
        (Blocks::Last(1), FrozenStatistics::Frozen),
        (Blocks::Last(0), FrozenStatistics::Frozen),
        (Blocks::All, FrozenStatistics::Moving),
    ] {
        let options = options(blocks, statistics);
        let all = recorded(&options, &train);
        let nothing = Keeping {
            memory: 0,
            ..Keeping::default()
        };
        let how = (classes(), &options);
        let few = Trajectory::record(source(), how, &train, &nothing, &mut Unobserved).unwrap();
        assert_eq!(few.step_count(), 12);
        for index in [11, 10, 4, 0, 5, 9, 11] {
            let [expected, found] = [&all, &few].map(|trajectory| trajectory.step(index).unwrap());
            for (expected, found) in [
                (&expected.parameters, &found.parameters),
                (&expected.input, &found.input),
            ] {
                let [expected, found] =
                    [expected, found].map(|it| it.flatten_all().unwrap().to_vec1::<f32>().unwrap());
                assert_eq!(expected, found, "{blocks:?}, step {index}");
            }
            assert_eq!(expected.labels, found.labels);
            assert_eq!(expected.positions, found.positions);
            assert_eq!(expected.rate, found.rate);
        }
    }
}

#[test]
fn growth_is_told_by_its_median_and_its_largest() {
    assert_eq!(told_of_growth(Vec::new()), []);
    let told = told_of_growth(vec![5.0, 1.0, 2.0]);
    let expected = [("way_back_growth", 2.0), ("largest_way_back_growth", 5.0)];
    assert_eq!(told, expected);
    assert_eq!(told_of_growth(vec![2.3, 1.2])[0].1, 1.75);
}
