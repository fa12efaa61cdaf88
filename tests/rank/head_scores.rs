//! Scores of a head by the parts that a run puts together.

use crate::sets::Set;
use ascribe::derivative::head::{HeadCoordinates, SoftmaxHead};
use ascribe::influence::{
    BlockSizes, Correction, Examples, Normalise, Provenance, Queries, ScoreMatrix, Scoring,
    corrected,
};
use ascribe::operator::{Damped, HeadHessian};
use ascribe::solve::Solver;
use candle_core::DType;
use ndarray::Array2;

pub(crate) fn examples(set: &Set, head: &SoftmaxHead, dtype: DType) -> Examples {
    Examples::new(&set.set(), head, dtype).unwrap()
}

/// How scores are made.
pub(crate) struct Settings<'a> {
    pub(crate) solver: &'a dyn Solver,
    pub(crate) dtype: DType,
    pub(crate) l2: f64,
    pub(crate) damping: f64,
    pub(crate) blocks: BlockSizes,
    pub(crate) row_chunk: usize,
    /// Solve for the training images rather than the queries.
    pub(crate) by_training: bool,
    pub(crate) normalise: Normalise,
    pub(crate) correction: Correction,
}

pub(crate) const BLOCKS: BlockSizes = BlockSizes {
    solved: 64,
    gradients: 128,
};

impl<'a> Settings<'a> {
    pub(crate) fn new(solver: &'a dyn Solver, dtype: DType, l2: f64, damping: f64) -> Self {
        Self {
            solver,
            dtype,
            l2,
            damping,
            blocks: BLOCKS,
            row_chunk: 1024,
            by_training: false,
            normalise: Normalise::None,
            correction: Correction::None,
        }
    }

    /// `[query, train]`; every solve must arrive.
    pub(crate) fn scores(&self, head: &SoftmaxHead, train: &Set, queries: &Set) -> Array2<f64> {
        let (train, queries) = (
            examples(train, head, self.dtype),
            examples(queries, head, self.dtype),
        );
        let coordinates = HeadCoordinates::of(train.inputs(), train.outputs()).unwrap();
        let (train, queries) = (
            train.in_coordinates(&coordinates).unwrap(),
            queries.in_coordinates(&coordinates).unwrap(),
        );
        let inputs = train.axes_inputs();
        let hessian = HeadHessian::in_coordinates(&coordinates, inputs, train.outputs(), self.l2)
            .unwrap()
            .with_row_chunk(self.row_chunk);
        let curvature = Damped::new(&hessian, self.damping).unwrap();
        let inverse = self.solver.prepare(&curvature).unwrap();
        let left_out = match self.correction {
            Correction::None => train,
            Correction::Leverage => corrected(&train, &hessian, &*inverse, 7).unwrap().0,
        };
        let mut matrix = ScoreMatrix::default();
        let set = Queries {
            examples: &queries,
            sinks: &mut [&mut matrix],
        };
        let scoring = Scoring {
            inverse: &*inverse,
            training: &left_out,
            normalise: self.normalise,
            blocks: self.blocks,
            provenance: &Provenance::default(),
        };
        let reports = if self.by_training {
            scoring.by_training(vec![set]).unwrap()
        } else {
            scoring.by_queries(set).unwrap()
        };
        assert!(
            reports.iter().all(|report| report.outcome.is_success()),
            "{reports:?}"
        );
        matrix.scores
    }
}
