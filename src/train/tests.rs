//! Training on the embedded digits: it learns, resumes exactly, and does not depend on threads or caching.

use super::checkpoint::Checkpoint;
use super::*;
use crate::data::{Augmentation, Pixels, digits_test, digits_train};
use crate::model::{Architecture, Normalisation, ResNet};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

mod kept;
mod robust;

struct Silent;
impl Observer for Silent {
    fn batch(&mut self, _: usize, _: usize, _: usize) {}
    fn epoch(&mut self, _: &Epoch) {}
}

fn recipe() -> Recipe {
    Recipe {
        epochs: 3,
        batch_size: 32,
        learning_rate: 0.05,
        momentum: 0.9,
        l2: 5e-4,
        schedule: Schedule::Cosine,
        augmentation: Augmentation::crop_and_flip(),
        adversary: None,
        frozen_statistics: FrozenStatistics::Moving,
        evaluate_every: 1,
        seed: 3,
        memory: 1 << 30,
    }
}

fn digits() -> (Pixels, Pixels) {
    let ids: Vec<usize> = (0..200).collect();
    let decode = |set: &crate::data::Dataset| Pixels::decode(set, &ids, 8).unwrap();
    (
        decode(&digits_train().unwrap()),
        decode(&digits_test().unwrap()),
    )
}

fn model() -> ResNet {
    let architecture: Architecture = "cifar-resnet8-w4".parse().unwrap();
    let classes = (0..10).map(|digit| digit.to_string()).collect();
    let normalisation = Normalisation {
        mean: [0.3; 3],
        deviation: [0.3; 3],
    };
    ResNet::initialise(architecture, classes, normalisation, 8, 1, &Device::Cpu).unwrap()
}

fn numbers(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Vec<f32>> {
    tensors
        .iter()
        .map(|(name, tensor)| {
            (
                name.clone(),
                tensor.flatten_all().unwrap().to_vec1().unwrap(),
            )
        })
        .collect()
}

fn train(recipe: &Recipe, first_segment: usize, folder: &Path) -> (ResNet, Vec<Epoch>) {
    let (train, test) = digits();
    let mut model = model();
    let history = fit(
        &mut model,
        first_segment,
        recipe,
        (&train, &test),
        folder,
        &mut Silent,
    )
    .unwrap();
    (model, history)
}

#[test]
fn learns_the_digits_and_writes_a_row_an_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        epochs: 12,
        augmentation: Augmentation::none(),
        ..recipe()
    };
    let (model, history) = train(&recipe, 0, folder.path());
    assert!(history[11].test_accuracy.unwrap() > 0.75, "{history:?}");
    assert!(history[11].train_loss < 0.5 * history[0].train_loss);
    let measured = Performance::measure(&model, &digits().1, None).unwrap();
    assert!((measured.loss - history[11].test_loss.unwrap()).abs() < 1e-6);
    let table = std::fs::read_to_string(folder.path().join("training.csv")).unwrap();
    assert_eq!(table.lines().count(), 13);
    assert!(table.starts_with(
        "epoch,learning_rate,train_loss,train_accuracy,test_loss,test_accuracy,seconds"
    ));
}

#[test]
fn an_interrupted_run_ends_bit_for_bit_as_an_uninterrupted_one() {
    let adversary = Adversary {
        start: Start::Random,
        ..Adversary::new(Norm::L2, 0.3, 2).unwrap()
    };
    let fast = Fast::new(Norm::Linf, 0.1, 2).unwrap();
    let free = Free::new(Norm::L2, 0.3, 2).unwrap();
    for training in [
        adversary.into(),
        AdversarialTraining::Fast(fast),
        AdversarialTraining::Free(free),
    ] {
        ends_the_same_where_interrupted(&Recipe {
            adversary: Some(training),
            ..recipe()
        });
    }
}

fn ends_the_same_where_interrupted(recipe: &Recipe) {
    let (whole, interrupted) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (expected, _) = train(recipe, 0, whole.path());
    let (again, _) = train(recipe, 0, tempfile::tempdir().unwrap().path());
    assert_eq!(numbers(expected.tensors()), numbers(again.tensors()));
    // Stops after the first epoch, as a kill between two epochs would.
    struct Stop;
    impl Observer for Stop {
        fn batch(&mut self, epoch: usize, _: usize, _: usize) {
            assert!(epoch < 2, "stopped on purpose");
        }
        fn epoch(&mut self, _: &Epoch) {}
    }
    let (train_images, test_images) = digits();
    let stopped = std::panic::catch_unwind(|| {
        let mut model = model();
        fit(
            &mut model,
            0,
            recipe,
            (&train_images, &test_images),
            interrupted.path(),
            &mut Stop,
        )
    });
    assert!(stopped.is_err());
    let (resumed, history) = train(recipe, 0, interrupted.path());
    assert_eq!(history.len(), 3);
    assert_eq!(numbers(expected.tensors()), numbers(resumed.tensors()));
    let looks = |folder: &Path| std::fs::read(folder.join("guard.csv")).ok();
    assert_eq!(looks(whole.path()), looks(interrupted.path()));
    let watched = matches!(recipe.adversary, Some(AdversarialTraining::Fast(_)));
    assert_eq!(looks(whole.path()).is_some(), watched);
    // Killed between the last checkpoint and the tables.
    let _ = std::fs::remove_file(interrupted.path().join("guard.csv"));
    train(recipe, 0, interrupted.path());
    assert_eq!(looks(whole.path()), looks(interrupted.path()));
}

#[test]
fn after_a_collapse_training_goes_on_from_the_look_before_with_three_steps() {
    let fast = Fast::new(Norm::Linf, 0.5, 100).unwrap();
    let against = |training, epochs| Recipe {
        adversary: Some(training),
        epochs,
        ..recipe()
    };
    let watched = |epochs| against(AdversarialTraining::Fast(fast), epochs);
    let folder = tempfile::tempdir().unwrap();
    train(&watched(1), 0, folder.path());
    // As if the first look had found nearly all images right under ten steps.
    let path = folder.path().join("checkpoint.safetensors");
    let mut checkpoint = Checkpoint::read(&path, &candle_core::Device::Cpu)
        .unwrap()
        .unwrap();
    assert!(!checkpoint.checks[0].collapsed);
    checkpoint.checks[0].ten_step_accuracy = 0.99;
    checkpoint.checks[0].single_step_accuracy = 0.0;
    checkpoint.write(&path).unwrap();
    let good = numbers(&checkpoint.state.tensors);
    let (back, _) = train(&watched(2), 0, folder.path());
    assert!(numbers(back.tensors()) == good);
    let looks = Checkpoint::read(&path, &candle_core::Device::Cpu)
        .unwrap()
        .unwrap()
        .checks;
    assert!(looks.len() == 2 && looks[1].collapsed, "{looks:?}");
    // From there as if three steps had been asked for.
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(&path, other.path().join("checkpoint.safetensors")).unwrap();
    let (expected, _) = train(&against(fast.fallback().into(), 3), 0, other.path());
    let (found, _) = train(&watched(3), 0, folder.path());
    assert!(numbers(found.tensors()) != good);
    assert!(numbers(found.tensors()) == numbers(expected.tensors()));
}

#[test]
fn a_training_does_not_go_on_from_what_it_did_not_leave() {
    let folder = tempfile::tempdir().unwrap();
    train(&recipe(), 0, folder.path());
    let path = folder.path().join("checkpoint.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let read = Checkpoint::read(&path, &candle_core::Device::Cpu);
        read.unwrap_err().to_string()
    };
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    let expected = "is not what the training left here; remove the file to train from the start";
    assert!(refused(&other).contains(expected));
    let epochs = String::from_utf8_lossy(&whole).find("epoch").unwrap();
    let mut other = whole.clone();
    let digit = (epochs..).find(|&at| whole[at].is_ascii_digit()).unwrap();
    other[digit] ^= 1;
    assert!(refused(&other).contains(expected));
    assert!(refused(&whole[..whole.len() - 1]).contains(expected));
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        pool.install(|| {
            numbers(
                train(
                    &Recipe {
                        epochs: 1,
                        ..recipe()
                    },
                    0,
                    folder.path(),
                )
                .0
                .tensors(),
            )
        })
    };
    assert_eq!(on(1), on(2));
}

#[test]
fn frozen_segments_stay_and_caching_them_changes_nothing() {
    let fresh = model();
    let folder = || tempfile::tempdir().unwrap();
    let frozen = Recipe {
        frozen_statistics: FrozenStatistics::Frozen,
        augmentation: Augmentation::none(),
        ..recipe()
    };
    let (cached, _) = train(&frozen, 3, folder().path());
    // An augmentation that does nothing visible but forbids the cache.
    let (computed, _) = train(
        &Recipe {
            augmentation: Augmentation {
                jitter: 1e-12,
                ..Augmentation::none()
            },
            ..frozen.clone()
        },
        3,
        folder().path(),
    );
    for (name, before) in numbers(fresh.tensors()) {
        let (cached, computed) = (
            numbers(cached.tensors())[&name].clone(),
            numbers(computed.tensors())[&name].clone(),
        );
        let trained = fresh.architecture().segment_of(&name) >= 3;
        assert_eq!(cached != before, trained, "{name}");
        let difference = cached
            .iter()
            .zip(&computed)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(difference < 1e-3, "{name} {difference}");
    }
    let (moving, _) = train(&recipe(), 4, folder().path());
    for (name, before) in numbers(fresh.tensors()) {
        let changes = name.starts_with("fc.") || name.contains("running");
        assert_eq!(
            numbers(moving.tensors())[&name] != before,
            changes,
            "{name}"
        );
    }
}

/// Of 33 digits the last is a batch by itself, whose channels come down to one pixel: refused before the first step, unless no trained
/// segment takes its statistics from the batch.
#[test]
fn a_last_batch_of_one_pixel_is_refused_before_there_is_work_to_lose() {
    struct NoWork;
    impl Observer for NoWork {
        fn batch(&mut self, _: usize, _: usize, _: usize) {
            panic!("a step was made")
        }
        fn epoch(&mut self, _: &Epoch) {}
    }
    let pixels = |count: usize, side: usize| {
        let ids: Vec<usize> = (0..count).collect();
        Pixels::decode(&digits_train().unwrap(), &ids, side).unwrap()
    };
    let fitted = |side: usize, count: usize, first: usize, observer: &mut dyn Observer| {
        let folder = tempfile::tempdir().unwrap();
        let recipe = Recipe {
            epochs: 1,
            frozen_statistics: FrozenStatistics::Frozen,
            ..recipe()
        };
        let images = pixels(count, side);
        let mut model = ResNet::initialise(
            "cifar-resnet8-w4".parse().unwrap(),
            (0..10).map(|digit| digit.to_string()).collect(),
            Normalisation {
                mean: [0.3; 3],
                deviation: [0.3; 3],
            },
            side,
            1,
            &Device::Cpu,
        )
        .unwrap();
        fit(
            &mut model,
            first,
            &recipe,
            (&images, &images),
            folder.path(),
            observer,
        )
        .map(drop)
    };
    let head = model().head_segment();
    for first in [0, head - 1] {
        let message = fitted(4, 33, first, &mut NoWork).unwrap_err().to_string();
        assert!(
            message.starts_with("--batch-size: a batch of one image"),
            "{message}"
        );
    }
    fitted(4, 33, head, &mut Silent).unwrap();
    fitted(4, 34, 0, &mut Silent).unwrap();
    fitted(8, 33, 0, &mut Silent).unwrap();
}

#[test]
fn a_small_loss_keeps_its_digits_and_the_first_of_equal_logits_is_predicted() {
    let weight = model().head_parameters().unwrap().0.zeros_like().unwrap();
    let images = digits().0.batch(&[0, 1], &Device::Cpu).unwrap();
    let labels = Tensor::new(&[0_u32, 1], &Device::Cpu).unwrap();
    let of_logits = |logits: [f32; 10]| {
        let classes = model().classes().to_vec();
        let bias = Tensor::new(&logits, &Device::Cpu).unwrap();
        let model = model().with_head(classes, weight.clone(), bias).unwrap();
        judged(&model, &images, &labels).unwrap()
    };
    let mut logits = [0.0; 10];
    assert_eq!(of_logits(logits).1, [true, false]);
    logits[0] = 33.0;
    let (losses, right) = of_logits(logits);
    assert_eq!(right, [true, false]);
    let expected = (9.0 * (-33.0_f64).exp()).ln_1p();
    assert!((losses[0] / expected - 1.0).abs() < 5e-3, "{losses:?}");
    assert!((losses[1] - 33.0).abs() < 1e-12, "{losses:?}");
}

#[test]
fn measurements_are_counted_as_they_are_made() {
    for (epochs, evaluate_every) in (1..8).flat_map(|epochs| (0..9).map(move |it| (epochs, it))) {
        let recipe = Recipe {
            epochs,
            evaluate_every,
            ..recipe()
        };
        let made = (0..epochs).filter(|&epoch| recipe.measures_after(epoch));
        assert_eq!(recipe.measurements(), made.count(), "{recipe:?}");
    }
}

#[test]
fn a_loss_that_is_not_finite_names_the_batch() {
    let (train, test) = digits();
    let refused = |recipe: &Recipe| {
        let (folder, images) = (tempfile::tempdir().unwrap(), (&train, &test));
        let fitted = fit(&mut model(), 0, recipe, images, folder.path(), &mut Silent);
        fitted.unwrap_err().to_string()
    };
    let recipe = Recipe {
        learning_rate: 1e30,
        ..recipe()
    };
    let message = refused(&recipe);
    assert!(
        message.contains("epoch 1, batch") && message.contains("--learning-rate"),
        "{message}"
    );
    // The only step: no loss is met after it but that of the test images.
    let once = Recipe {
        epochs: 1,
        batch_size: train.len(),
        ..recipe.clone()
    };
    let message = refused(&once);
    assert!(
        message.contains("the test images after epoch 1"),
        "{message}"
    );
    for (recipe, option) in [
        (
            Recipe {
                epochs: 0,
                ..recipe.clone()
            },
            "--epochs",
        ),
        (
            Recipe {
                momentum: 1.0,
                ..recipe.clone()
            },
            "--momentum",
        ),
        (
            Recipe {
                l2: -1.0,
                ..recipe.clone()
            },
            "--l2",
        ),
        (
            Recipe {
                learning_rate: f64::NAN,
                ..recipe.clone()
            },
            "--learning-rate",
        ),
    ] {
        let message = refused(&recipe);
        assert!(message.starts_with(option), "{message}");
    }
}
