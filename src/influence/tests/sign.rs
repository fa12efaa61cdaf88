//! The sign of a score, by hand.

use super::*;
use crate::operator::{Damped, HeadHessian};
use crate::solve::{Direct, Inverse, Solver};
use ndarray::{Array2, array};

fn matrix(inverse: &dyn Inverse, train: &Examples, queries: &Examples) -> Array2<f64> {
    let mut scores = ScoreMatrix::default();
    let blocks = BlockSizes {
        solved: 2,
        gradients: 3,
    };
    let queries = Queries {
        examples: queries,
        sinks: &mut [&mut scores],
    };
    let scoring = Scoring {
        inverse,
        training: train,
        normalise: Normalise::None,
        blocks,
        provenance: &Provenance::default(),
    };
    scoring.by_queries(queries).unwrap();
    scores.scores
}

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
    let scores = matrix(&*Direct.prepare(&curvature).unwrap(), &train, &queries);
    assert!(
        (&scores - &array![[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5]])
            .iter()
            .all(|error| error.abs() < 1e-15),
        "{scores}"
    );
}
