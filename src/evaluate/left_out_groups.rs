//! Groups of training images left out as a whole: what the sums of their scores predict, and what happens.
//!
//! Where a head is fitted again the others keep their weight (the divisor stays n), as a score assumes, and so they do where a group's losses
//! alone are left out of a training; otherwise a model that is trained again is trained with their own mean loss. The first order of influence grows in proportion to a group, and what happens does not: the images
//! that are left share more and more of the curvature.

use super::bootstrap::{Bootstrap, Interval};
use super::estimator::Measured;
use super::retrained::Retrained;
use crate::influence::{Groups, NATS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All groups, each left out alone; means over queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupsLeftOut {
    /// Queries behind every mean.
    pub queries: usize,
    /// Share of them that is predicted right when nothing is left out, where that is known.
    pub correct: Option<Interval>,
    /// Whether heads were fitted again, so that the other images kept their weight.
    pub of_heads: bool,
    /// Whether the groups' losses alone were left out of trainings, so that the other images kept their weight there too.
    #[serde(default)]
    pub losses_alone: bool,
    /// In the order of their names, which is that of the retrainings.
    pub groups: Vec<GroupLeftOut>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupLeftOut {
    /// Its name.
    pub group: String,
    /// Its training images.
    pub images: usize,
    /// Mean rise of the queries' losses in nats that each estimator predicts, the sum of its scores; scores in another unit predict none.
    pub predicted: BTreeMap<String, f64>,
    /// Mean rise that was measured; of one query without an interval ([`Interval::over`]).
    pub actual: Interval,
    /// Share of queries that is predicted right without the group, where that is known.
    pub correct: Option<Interval>,
    /// What that is more than with it, of the same queries.
    pub correct_change: Option<Interval>,
}

impl GroupsLeftOut {
    /// From retrainings without each of `groups`, in their order.
    pub fn of(
        groups: &Groups,
        estimators: &[Measured],
        retrained: &Retrained,
        bootstrap: &Bootstrap,
    ) -> Self {
        let rises = retrained.rises();
        let predicted: Vec<_> = (estimators.iter())
            .filter(|found| found.unit == NATS)
            .map(|found| (&found.name, retrained.predicted(&found.estimate.scores)))
            .collect();
        let share =
            |hits: &[bool]| Interval::of_shares(&hits.iter().map(as_number).collect::<Vec<_>>());
        let group = |(place, (name, members)): (usize, (&str, &[usize]))| {
            let hits = retrained.hits.as_ref().map(|hits| hits.row(place).to_vec());
            let both = hits.as_ref().zip(retrained.hits_before.as_ref());
            let change = both.map(|(after, before)| {
                let pairs = after.iter().zip(before);
                let changes: Vec<f64> = pairs
                    .map(|(after, before)| as_number(after) - as_number(before))
                    .collect();
                Interval::of_differences(&changes)
            });
            let mean = |changes: &ndarray::Array2<f64>| changes.column(place).mean().unwrap_or(0.0);
            GroupLeftOut {
                group: name.to_owned(),
                images: members.len(),
                predicted: (predicted.iter())
                    .map(|(name, changes)| ((*name).clone(), mean(changes)))
                    .collect(),
                actual: Interval::of_mean(&rises.column(place).to_vec(), bootstrap),
                correct: hits.as_deref().map(share),
                correct_change: change,
            }
        };
        Self {
            queries: retrained.before.len(),
            correct: retrained.hits_before.as_deref().map(share),
            of_heads: retrained.is_of_heads(),
            losses_alone: retrained.losses_alone,
            groups: groups.iter().enumerate().map(group).collect(),
        }
    }
}

fn as_number(hit: &bool) -> f64 {
    f64::from(u8::from(*hit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Estimate;
    use ndarray::array;

    #[test]
    fn groups_are_predicted_by_their_sums_and_measured_by_their_retrainings() {
        let groups = Groups::by_class(&[0, 1, 0], &["a".into(), "b".into()]);
        let run = Measured {
            name: "run".into(),
            unit: NATS,
            estimate: Estimate {
                scores: array![[0.5, 0.25, -1.0], [1.0, 2.0, 3.0]],
                certified: None,
                failures: 0,
                notes: Vec::new(),
            },
            seconds: 0.0,
            bytes: None,
        };
        let cosine = Measured {
            name: "feature-cosine".into(),
            unit: "cosine",
            ..run.clone()
        };
        let retrained = Retrained {
            left_out: vec![vec![0, 2], vec![1]],
            losses: array![[1.5, 2.0], [1.0, 4.0]],
            hits: Some(array![[false, true], [true, true]]),
            before: vec![1.0, 2.0],
            hits_before: Some(vec![true, false]),
            refits: Vec::new(),
            work: Default::default(),
            losses_alone: false,
        };
        let bootstrap = Bootstrap { seed: 0, draws: 50 };
        let found = GroupsLeftOut::of(&groups, &[run, cosine], &retrained, &bootstrap);
        assert_eq!(found.correct.unwrap().value, 0.5);
        let [a, b] = found.groups.as_slice() else {
            panic!("two groups")
        };
        assert_eq!((a.group.as_str(), a.images, b.images), ("a", 2, 1));
        assert_eq!((a.predicted["run"], b.predicted["run"]), (1.75, 1.125));
        // A sum of cosines is no rise of a loss.
        assert_eq!((a.predicted.len(), b.predicted.len()), (1, 1));
        assert!(!found.of_heads);
        assert_eq!((a.actual.value, b.actual.value), (0.25, 1.0));
        assert_eq!(a.correct.unwrap().value, 0.5);
        assert_eq!(a.correct_change.unwrap().value, 0.0);
        assert_eq!(b.correct_change.unwrap().value, 0.5);
    }
}
