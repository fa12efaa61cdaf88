//! The sign of a score, by hand.

use super::*;
use crate::operator::{Damped, HeadHessian};
use crate::solve::{Direct, Solver};
use ndarray::array;

/// At θ = 0 with two classes π = (½, ½): the softmax curvature has the eigenvalue ½ along (1, −1), where all residuals
/// lie, and Σ aaᵀ/n = I for x = ±1. Hence (H + ½I)⁻¹ leaves every gradient as it is, and
/// score = ½ · (r_q·r_i) · (x_q x_i + 1) with r_q·r_i = ½ for equal labels and −½ for different ones.
#[test]
fn the_sign_by_hand_same_label_helps_other_label_harms() {
    let head = SoftmaxHead::zeros(2, 1, DType::F64, &Device::Cpu).unwrap();
    let train = examples(vec![1.0, -1.0], 1, &[0, 1], &head);
    let queries = examples(vec![1.0, 1.0, -1.0], 1, &[0, 1, 1], &head);
    let hessian = HeadHessian::new(&head, train.inputs(), 0.25).unwrap();
    let curvature = Damped::new(&hessian, 0.25).unwrap();
    let inverse = Direct.prepare(&curvature).unwrap();
    let mut found = ScoreMatrix::default();
    let by_queries = (Normalise::None, false);
    score(&*inverse, (&train, &queries), by_queries, &mut found).unwrap();
    let scores = found.scores;
    assert!(
        (&scores - &array![[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5]])
            .iter()
            .all(|error| error.abs() < 1e-15),
        "{scores}"
    );
}
