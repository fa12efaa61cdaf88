//! The queries by label and prediction, and the training images behind each such cell: those whose scores, averaged over its
//! queries, are the highest and the lowest.

use crate::descending::descending;
use crate::influence::Examples;
use crate::report::Ranked;
use ndarray::ArrayView1;
use std::collections::BTreeMap;

/// Training images that a confusion lists at either end.
const LISTED: usize = 24;
/// Most cells that mean scores are computed for, the fullest.
const MEANS: usize = 400;

/// Queries with one label and one prediction.
pub(super) struct Cell {
    pub(super) label: usize,
    pub(super) prediction: usize,
    /// Their positions in the run.
    pub(super) queries: Vec<usize>,
}

/// Cells with at least one of the queries at `positions`, the fullest first.
pub(super) fn cells(queries: &Examples, positions: &[usize]) -> Vec<Cell> {
    let mut members: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    let images = queries.images();
    for &row in positions {
        let cell = (images.labels[row], images.predictions[row]);
        members.entry(cell).or_default().push(row);
    }
    let cell = |((label, prediction), queries)| Cell {
        label,
        prediction,
        queries,
    };
    let mut cells: Vec<Cell> = members.into_iter().map(cell).collect();
    cells.sort_by_key(|cell| std::cmp::Reverse(cell.queries.len()));
    cells
}

/// The queries at `positions`, and after them those of each of the first cells, as many as mean scores are computed for.
pub(super) fn groups(cells: &[Cell], positions: &[usize]) -> Vec<Vec<usize>> {
    let cells = cells.iter().take(MEANS).map(|cell| cell.queries.clone());
    std::iter::once(positions.to_vec()).chain(cells).collect()
}

/// The images with the highest `mean` scores above 0 and those with the lowest below 0: what has the other sign is neither helpful
/// nor harmful, however near the end it is. `place` is where an image is on the page.
pub(super) fn ends(
    mean: ArrayView1<f64>,
    place: impl Fn(usize) -> usize,
) -> (Vec<Ranked>, Vec<Ranked>) {
    let order = descending(&mean.to_vec());
    let ranked = |image: &usize| Ranked {
        train: place(*image),
        score: mean[*image],
        certified: None,
    };
    let helpful = order.iter().filter(|&&image| mean[image] > 0.0);
    let harmful = order.iter().rev().filter(|&&image| mean[image] < 0.0);
    (
        helpful.take(LISTED).map(ranked).collect(),
        harmful.take(LISTED).map(ranked).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Rows;
    use crate::derivative::head::SoftmaxHead;
    use crate::influence::FeatureSet;
    use candle_core::{DType, Device, Tensor};

    #[test]
    fn the_fullest_cell_comes_first() {
        // Class 0 is predicted above 0, class 1 below.
        let weights = vec![1.0f64, 0.0, -1.0, 0.0];
        let weights = Tensor::from_vec(weights, (2, 2), &Device::Cpu).unwrap();
        let head = SoftmaxHead::from_parameters(&weights).unwrap();
        let features = vec![1.0f64, -1.0, -2.0, -3.0, -4.0, -5.0];
        let features = Tensor::from_vec(features, (6, 1), &Device::Cpu).unwrap();
        let set = FeatureSet {
            features: &Rows::from(features),
            labels: &[0, 0, 1, 0, 1, 0],
            ids: &[0, 1, 2, 3, 4, 5],
        };
        let queries = Examples::new(&set, &head, DType::F64).unwrap();
        let found = cells(&queries, &[0, 1, 2, 3, 4, 5]);
        let found = found
            .iter()
            .map(|cell| (cell.label, cell.prediction, &cell.queries[..]));
        let expected: [(usize, usize, &[usize]); 3] =
            [(0, 1, &[1, 3, 5]), (1, 1, &[2, 4]), (0, 0, &[0])];
        assert!(found.eq(expected));
        let fewer: Vec<Vec<usize>> = (cells(&queries, &[0, 2, 5]).into_iter())
            .map(|cell| cell.queries)
            .collect();
        assert_eq!(fewer, [[0], [5], [2]]);
    }

    #[test]
    fn helpful_images_have_positive_means_and_harmful_ones_negative() {
        let listed = |means: &[f64]| {
            let (helpful, harmful) = ends(ArrayView1::from(means), |image| 10 + image);
            [helpful, harmful].map(|end| end.iter().map(|image| image.train).collect::<Vec<_>>())
        };
        assert_eq!(
            listed(&[0.5, -2.0, 0.0, 3.0, -1.0]),
            [vec![13, 10], vec![11, 14]]
        );
        assert_eq!(listed(&[0.5, 3.0]), [vec![11, 10], vec![]]);
        let many: Vec<f64> = (1..=40).map(f64::from).collect();
        assert_eq!(listed(&many).map(|end| end.len()), [LISTED, 0]);
    }

    #[test]
    fn means_are_of_all_queries_and_of_the_fullest_cells() {
        let cell = |label: usize| Cell {
            label,
            prediction: 0,
            queries: vec![label],
        };
        let cells: Vec<Cell> = (0..MEANS + 5).map(cell).collect();
        let groups = groups(&cells, &[0, 1, 2]);
        assert_eq!(groups.len(), 1 + MEANS);
        assert_eq!((&groups[0], &groups[1]), (&vec![0, 1, 2], &vec![0]));
    }
}
