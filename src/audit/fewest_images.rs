//! A search for the fewest images that hold a prediction: refits without more of them until it changes, then half-way back.

use crate::report::Flip;

/// One query's search for the fewest images.
pub(super) struct Search {
    /// Images that lower the margin most when they leave, first.
    pub(super) order: Vec<usize>,
    /// Without so many the prediction stays.
    stays: usize,
    /// Without so many it changes, to this class.
    changes: Option<(usize, usize)>,
    /// The fit without so many did not converge.
    unsettled: Option<usize>,
    /// How many the next refit leaves out; none: the search has ended.
    pub(super) next: Option<usize>,
}

impl Search {
    /// From the change of the margin without each image, and the margin.
    pub(super) fn new(changes: &[f64], margin: f64) -> Self {
        let mut order: Vec<usize> = (0..changes.len()).filter(|&at| changes[at] < 0.0).collect();
        order.sort_by(|&a, &b| changes[a].total_cmp(&changes[b]));
        order.truncate((changes.len() / 4).max(1));
        let mut left = margin;
        let enough = order.iter().position(|&image| {
            left += changes[image];
            left < 0.0
        });
        let first = enough.map_or(order.len(), |at| at + 1);
        Self {
            next: (first > 0).then_some(first),
            order,
            stays: 0,
            changes: None,
            unsettled: None,
        }
    }

    /// The refit without the first `count` images did not converge: what it predicts says nothing, nor would one without more.
    pub(super) fn stop(&mut self, count: usize) {
        self.unsettled = Some(count);
        self.next = None;
    }

    /// What a refit without the first `count` images predicts, and whether that is another class.
    pub(super) fn learn(&mut self, count: usize, prediction: usize, is_another: bool) {
        match is_another {
            true => self.changes = Some((count, prediction)),
            false => self.stays = self.stays.max(count),
        }
        self.next = match self.changes {
            Some((most, _)) if most - self.stays <= 1.max(most / 20) => None,
            Some((most, _)) => Some((most + self.stays) / 2),
            None if count >= self.order.len() => None,
            None => Some((count + 1).max(count * 3 / 2).min(self.order.len())),
        };
    }

    /// What was found, of a query whose prediction was `before`.
    pub(super) fn flip(self, before: usize) -> Flip {
        let (count, prediction) = self.changes.unwrap_or((0, before));
        Flip {
            tried: self.stays.max(count),
            images: self.order[..count].to_vec(),
            before,
            prediction,
            unsettled: self.unsettled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search against a prediction that changes from `threshold` images on.
    fn searched(changes: &[f64], margin: f64, threshold: usize) -> (Flip, usize) {
        let mut search = Search::new(changes, margin);
        let mut refits = 0;
        while let Some(count) = search.next {
            refits += 1;
            search.learn(count, 7, count >= threshold);
        }
        (search.flip(3), refits)
    }

    #[test]
    fn a_search_finds_the_fewest_images_of_its_order() {
        let changes: Vec<f64> = (0..400).map(|at| -1.0 / (1.0 + f64::from(at))).collect();
        for threshold in [1, 2, 3, 7, 19] {
            let (flip, refits) = searched(&changes, 2.0, threshold);
            assert_eq!((flip.images.len(), flip.prediction), (threshold, 7));
            assert_eq!(flip.images, (0..threshold).collect::<Vec<_>>());
            assert!(refits <= 10, "{refits}");
        }
        // Beyond twenty the last twentieth is not worth a refit.
        let (flip, _) = searched(&changes, 2.0, 80);
        assert!(
            (80..=84).contains(&flip.images.len()),
            "{}",
            flip.images.len()
        );
    }

    #[test]
    fn a_prediction_that_nothing_changes_is_said_to_stay() {
        let changes: Vec<f64> = (0..40).map(|_| -1e-3).collect();
        let (flip, _) = searched(&changes, 5.0, usize::MAX);
        assert_eq!((flip.images.len(), flip.prediction, flip.tried), (0, 3, 10));
        assert_eq!(flip.unsettled, None);
        let (flip, refits) = searched(&[1.0, 2.0], 5.0, 1);
        assert_eq!((flip.images.len(), flip.tried, refits), (0, 0, 0));
    }

    #[test]
    fn a_fit_that_does_not_converge_ends_the_search_and_is_no_evidence() {
        let changes: Vec<f64> = (0..400).map(|at| -1.0 / (1.0 + f64::from(at))).collect();
        let mut search = Search::new(&changes, 2.0);
        let first = search.next.unwrap();
        search.stop(first);
        assert_eq!(search.next, None);
        let flip = search.flip(3);
        assert_eq!((flip.tried, flip.unsettled), (0, Some(first)));
        assert!(flip.images.is_empty());
        // What was found before stands.
        let mut search = Search::new(&changes, 2.0);
        search.learn(first, 7, true);
        let second = search.next.unwrap();
        search.stop(second);
        let flip = search.flip(3);
        assert_eq!((flip.images.len(), flip.prediction), (first, 7));
        assert_eq!((flip.tried, flip.unsettled), (first, Some(second)));
    }
}
