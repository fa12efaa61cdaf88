//! The attack is the ascent that PyTorch computes, stays where it may, and never ends below where it began.

use crate::pytorch_fixture::{load, network};
use ascribe::train::{Adversary, Attack, Norm, Start};
use candle_core::{DType, Tensor};

fn largest(x: &Tensor) -> f64 {
    let x = x.to_dtype(DType::F64).unwrap().abs().unwrap();
    x.max_all().unwrap().to_scalar().unwrap()
}

/// The longest of the perturbations, each image's measured in f64.
fn longest(norm: Norm, images: &Tensor, perturbed: &Tensor) -> f64 {
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    let away = (wide(perturbed) - wide(images)).unwrap();
    match norm {
        Norm::Linf => largest(&away),
        Norm::L2 => {
            let squares = away.sqr().unwrap().flatten_from(1).unwrap().sum(1).unwrap();
            largest(&squares.sqrt().unwrap())
        }
    }
}

fn numbers(x: &Tensor) -> Vec<f64> {
    let x = x.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    x.to_vec1().unwrap()
}

#[test]
fn agrees_with_an_independent_ascent_in_pytorch() {
    let (fixture, model) = (load("attack"), network(DType::F64));
    let images = &fixture["data/images"];
    let labels = fixture["data/labels"].to_dtype(DType::U32).unwrap();
    for (norm, name) in [(Norm::L2, "l2"), (Norm::Linf, "linf")] {
        let entry = |part: &str| &fixture[&format!("{name}/{part}")];
        let adversary = Adversary {
            step_size: numbers(entry("step"))[0],
            ..Adversary::new(norm, numbers(entry("epsilon"))[0], 8).unwrap()
        };
        let found = adversary
            .perturb(&model, images, &labels, [0, 0, 0])
            .unwrap();
        let error = largest(&(&found - entry("perturbed")).unwrap());
        assert!(error < 1e-10, "{name}: {error:e}");
        let attack = Attack {
            adversary,
            restarts: 1,
        };
        let found = attack.run(&model, images, &labels, 0).unwrap();
        let (clean, end) = (
            numbers(&fixture["data/clean_losses"]),
            numbers(entry("losses")),
        );
        for (index, loss) in found.losses.iter().enumerate() {
            let expected = end[index].max(clean[index]);
            assert!(
                (loss - expected).abs() < 1e-9,
                "{name} {index}: {loss} {expected}"
            );
            assert!(end[index] > clean[index], "the fixture's ascent climbs");
        }
    }
}

#[test]
fn stays_in_the_ball_and_keeps_the_worst_of_all_restarts() {
    let (fixture, model) = (load("attack"), network(DType::F32));
    let images = fixture["data/images"].to_dtype(DType::F32).unwrap();
    let labels = fixture["data/labels"].to_dtype(DType::U32).unwrap();
    for (norm, epsilon) in [(Norm::L2, 1.0), (Norm::L2, 0.05), (Norm::Linf, 8.0 / 255.0)] {
        let run = |restarts: usize, start: Start| {
            let mut attack = Attack::new(norm, epsilon, 10, restarts).unwrap();
            attack.adversary.start = start;
            attack.run(&model, &images, &labels, 3).unwrap()
        };
        let clean = numbers(&fixture["data/clean_losses"]);
        let mut before = (clean.clone(), vec![true; clean.len()]);
        for restarts in 1..=4 {
            let found = run(restarts, Start::Image);
            let length = longest(norm, &images, &found.images);
            assert!(length <= epsilon + 1e-6, "{norm}: {length}");
            assert!(
                numbers(&found.images)
                    .iter()
                    .all(|pixel| (0.0..=1.0).contains(pixel))
            );
            for (index, (&loss, &right)) in found.losses.iter().zip(&found.right).enumerate() {
                assert!(loss >= before.0[index] - 1e-5, "{norm} {restarts} {index}");
                assert!(!right || before.1[index], "right again after {restarts}");
            }
            // What is returned has the loss that is said.
            let logits = model.logits(&found.images).unwrap();
            let log = candle_nn::ops::log_softmax(&logits, 1).unwrap();
            let log = log.gather(&labels.unsqueeze(1).unwrap(), 1).unwrap();
            for (own, loss) in numbers(&log).iter().zip(&found.losses) {
                assert!((own + loss).abs() < 1e-5);
            }
            before = (found.losses, found.right);
        }
        // A start at random elsewhere is another attack, and as much in the ball.
        let other = run(1, Start::Inside);
        assert!(longest(norm, &images, &other.images) <= epsilon + 1e-6);
        assert!((other.losses.iter().zip(&clean)).all(|(loss, clean)| *loss >= clean - 1e-5));
    }
}

/// Steps across the whole range of pixels end below the clean loss for some image; the image itself is kept then.
#[test]
fn an_ascent_that_ends_lower_is_not_kept() {
    let (fixture, model) = (load("attack"), network(DType::F64));
    let images = &fixture["data/images"];
    let labels = fixture["data/labels"].to_dtype(DType::U32).unwrap();
    let adversary = Adversary {
        step_size: 1.0,
        ..Adversary::new(Norm::Linf, 1.0, 2).unwrap()
    };
    let clean = numbers(&fixture["data/clean_losses"]);
    let attack = Attack {
        adversary,
        restarts: 1,
    };
    let found = attack.run(&model, images, &labels, 0).unwrap();
    let end = adversary
        .perturb(&model, images, &labels, [0, 0, 0])
        .unwrap();
    let alone = Attack::new(Norm::L2, 1e-12, 1, 1).unwrap();
    let ends = alone.run(&model, &end, &labels, 0).unwrap().losses;
    assert!(
        ends.iter().zip(&clean).any(|(end, clean)| end < clean),
        "no ascent ended lower: {ends:?} {clean:?}"
    );
    for (index, loss) in found.losses.iter().enumerate() {
        assert!((loss - ends[index].max(clean[index])).abs() < 1e-9);
    }
}
