use super::ball::lengths;
use super::*;
use crate::derivative::pixel_gradients;
use crate::model::{Architecture, Normalisation};
use crate::train::Fast;
use candle_core::{DType, Device};

fn model() -> ResNet {
    let architecture: Architecture = "cifar-resnet8-w4".parse().unwrap();
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    let normalisation = Normalisation {
        mean: [0.5; 3],
        deviation: [0.25; 3],
    };
    ResNet::initialise(architecture, classes, normalisation, 8, 1, &Device::Cpu).unwrap()
}

#[test]
fn stays_in_the_ball_and_in_the_pixel_range_and_raises_the_loss() {
    let model = model();
    let images = Tensor::rand(0.0_f32, 1.0, (4, 3, 8, 8), &Device::Cpu).unwrap();
    let labels = Tensor::new(&[0_u32, 1, 2, 0], &Device::Cpu).unwrap();
    let loss = |x: &Tensor| {
        candle_nn::loss::cross_entropy(&model.logits(x).unwrap(), &labels)
            .unwrap()
            .to_scalar::<f32>()
            .unwrap()
    };
    for (norm, epsilon) in [(Norm::L2, 0.5), (Norm::Linf, 8.0 / 255.0)] {
        for start in [Start::Image, Start::Random, Start::Inside] {
            let adversary = Adversary {
                start,
                ..Adversary::new(norm, epsilon, 5).unwrap()
            };
            let perturbed = adversary
                .perturb(&model, &images, &labels, [1, 2, 3])
                .unwrap();
            let difference = (&perturbed - &images).unwrap();
            let size = match norm {
                Norm::L2 => lengths(&difference).unwrap().max_all().unwrap(),
                Norm::Linf => difference.abs().unwrap().max_all().unwrap(),
            };
            let size = size.to_scalar::<f32>().unwrap();
            assert!(
                size <= epsilon as f32 * 1.0001 && size > 0.3 * epsilon as f32,
                "{norm:?} {size}"
            );
            let pixels = perturbed.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
            assert!(loss(&perturbed) > loss(&images), "{norm:?}");
            let again = adversary
                .perturb(&model, &images, &labels, [1, 2, 3])
                .unwrap();
            assert_eq!(
                again.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
                pixels
            );
        }
    }
    assert!(
        Adversary::new(Norm::L2, 0.0, 5)
            .unwrap_err()
            .to_string()
            .starts_with("--epsilon")
    );
    assert!(
        Adversary::new(Norm::L2, 1.0, 0)
            .unwrap_err()
            .to_string()
            .starts_with("--steps")
    );
}

/// One step in each norm, computed with NumPy in f64 from a given gradient (`fixtures/pytorch`).
#[test]
fn steps_and_projects_by_the_formulas() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/pytorch/pgd.safetensors"
    );
    let fixture = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let (images, slope) = (&fixture["data/images"], &fixture["data/gradient"]);
    for (norm, name) in [(Norm::L2, "l2"), (Norm::Linf, "linf")] {
        let entry = |part: &str| &fixture[&format!("{name}/{part}")];
        let number = |part: &str| entry(part).flatten_all().unwrap().to_vec1::<f64>().unwrap()[0];
        let adversary = Adversary {
            norm,
            epsilon: number("epsilon"),
            steps: 1,
            step_size: number("step"),
            start: Start::Image,
        };
        let moved = (entry("start")
            + (adversary.ball().direction(slope).unwrap() * adversary.step_size).unwrap())
        .unwrap();
        let result = adversary.ball().project(images, &moved).unwrap();
        for (found, expected) in [(&moved, "moved"), (&result, "result")] {
            let difference = (found - entry(expected))
                .unwrap()
                .abs()
                .unwrap()
                .max_all()
                .unwrap();
            assert!(
                difference.to_scalar::<f64>().unwrap() < 1e-14,
                "{name} {expected}"
            );
        }
    }
}

#[test]
fn a_largest_change_in_255ths_is_refused() {
    let message =
        |norm, epsilon| Adversary::new(norm, epsilon, 2).map_err(|error| error.to_string());
    assert!(message(Norm::L2, 8.0).is_ok() && message(Norm::Linf, 1.0).is_ok());
    let refused = message(Norm::Linf, 8.0).unwrap_err();
    assert!(refused.contains("found 8; 8 of 255 is 8/255"), "{refused}");
}

/// Where ascents from inside the ball begin, in radii from images that are grey, so that no pixel is clipped.
fn starts_inside(norm: Norm) -> Tensor {
    let images = Tensor::full(0.5_f64, (4000, 3, 2, 2), &Device::Cpu).unwrap();
    let ball = Ball {
        norm,
        epsilon: 0.25,
    };
    let begun = ball.start(Start::Inside, &images, [1, 2, 3]).unwrap();
    ((begun - images).unwrap() / 0.25).unwrap()
}

/// The largest distance of the distribution of these numbers from the uniform one in [0, 1].
fn distance_from_uniform(numbers: &Tensor) -> f64 {
    let mut numbers = numbers.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    numbers.sort_by(f64::total_cmp);
    let count = numbers.len() as f64;
    (numbers.iter().enumerate())
        .map(|(rank, number)| (number - rank as f64 / count).abs())
        .fold(0.0, f64::max)
}

/// Of 4,000 uniform numbers one sample in 200,000 is 0.04 away.
#[test]
fn ascents_begin_at_a_length_or_at_changes_uniform_up_to_the_radius() {
    let apart = distance_from_uniform(&lengths(&starts_inside(Norm::L2)).unwrap());
    assert!(apart < 0.04, "{apart}");
    let changes = (starts_inside(Norm::Linf) + 1.0).unwrap();
    let apart = distance_from_uniform(&(changes / 2.0).unwrap());
    assert!(apart < 0.04, "{apart}");
}

#[test]
fn fast_training_goes_five_quarters_of_the_radius_up_the_slope_from_inside_the_ball() {
    let model = model().to_dtype(DType::F64).unwrap();
    let wave = |i: usize| (0.5 + 0.6 * (1.7 * i as f64).sin()).clamp(0.0, 1.0);
    let pixels: Vec<f64> = (0..4 * 192).map(wave).collect();
    let images = Tensor::from_vec(pixels, (4, 3, 8, 8), &Device::Cpu).unwrap();
    let labels = Tensor::new(&[0_u32, 1, 2, 0], &Device::Cpu).unwrap();
    for norm in [Norm::L2, Norm::Linf] {
        let ball = Ball { norm, epsilon: 0.2 };
        let begun = ball.start(Start::Inside, &images, [1, 2, 3]).unwrap();
        let (slope, _) = pixel_gradients(&model, &begun, &[0, 1, 2, 0]).unwrap();
        let step = (ball.direction(&slope).unwrap() * 0.25).unwrap();
        let expected = ball.project(&images, &(begun + step).unwrap()).unwrap();
        let adversary = Fast::new(norm, 0.2, 1).unwrap().adversary;
        let found = adversary.perturb(&model, &images, &labels, [1, 2, 3]);
        let apart = (found.unwrap() - expected).unwrap().abs().unwrap();
        let apart = apart.max_all().unwrap().to_scalar::<f64>().unwrap();
        assert!(apart < 1e-9, "{norm:?} {apart}");
    }
}
