//! Images of little influence, and classes of none.

use super::*;
use crate::derivative::head::{HeadInputs, SoftmaxHead};
use candle_core::DType;

/// Of features so large that each image says next to nothing: without it the gradient is within the tolerance from the start.
#[test]
fn what_an_image_of_little_influence_does_is_not_lost_in_the_tolerance() {
    let (count, width, classes) = (60, 90, 3);
    let labels: Vec<usize> = (0..count).map(|at| at % classes).collect();
    let value = |at: usize| {
        let (row, column) = (at / width, at % width);
        let own = f64::from(column % classes == row % classes);
        30.0 * (own + (at as f64 * 12.9898).sin())
    };
    let rows: Vec<f64> = (0..count * width).map(value).collect();
    let rows = Tensor::from_vec(rows, (count, width), &Device::Cpu).unwrap();
    let training = HeadInputs::new(&Rows::from(&rows), &labels, DType::F64).unwrap();
    let kept: Vec<Kept> = (0..count).map(|at| Kept::without(count, &[at])).collect();
    let rises = |gradient_norm: f64| {
        let options = RefitOptions {
            gradient_norm,
            ..RefitOptions::default()
        };
        let zeros = SoftmaxHead::zeros(classes, width, DType::F64, &Device::Cpu).unwrap();
        let fit = FullFit::new(&training, zeros, 1e-6, options).unwrap();
        let before = fit.measured(&training).unwrap().losses;
        let refitting = fit.refitting(&training).unwrap();
        let (refits, work) = refitting.refit(&kept).unwrap();
        let rise = |at: usize| refits[at].losses[at] / before[at] - 1.0;
        ((0..count).map(rise).collect::<Vec<f64>>(), work)
    };
    let ((found, work), (expected, _)) = (rises(1e-10), rises(1e-13));
    assert_eq!(work.not_converged, 0);
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found / expected - 1.0).abs() < 1e-2, "{found} {expected}");
    }
}

/// Classes whose images are all gone have one logit, but for what the fit leaves.
#[test]
fn of_classes_without_images_the_first_is_predicted() {
    let (count, width, classes) = (40, 12, 5);
    let labels: Vec<usize> = (0..count).map(|at| at * 7 % classes).collect();
    let value = |at: usize| (at as f64 * 12.9898).sin();
    let rows: Vec<f64> = (0..count * width).map(value).collect();
    let rows = Tensor::from_vec(rows, (count, width), &Device::Cpu).unwrap();
    let training = HeadInputs::new(&Rows::from(&rows), &labels, DType::F64).unwrap();
    let zeros = SoftmaxHead::zeros(classes, width, DType::F64, &Device::Cpu).unwrap();
    let fit = FullFit::new(&training, zeros, 1e-3, RefitOptions::default()).unwrap();
    let of_class_3: Vec<usize> = (0..count).filter(|&at| labels[at] == 3).collect();
    let kept = [&of_class_3[..1], &of_class_3].map(|kept| Kept::subset(count, kept));
    let (refits, _) = fit.refitting(&training).unwrap().refit(&kept).unwrap();
    for refit in refits {
        let others: Vec<&usize> = refit.predictions.iter().filter(|&&of| of != 3).collect();
        assert!(
            !others.is_empty() && others.iter().all(|&&of| of == 0),
            "{others:?}"
        );
    }
}
