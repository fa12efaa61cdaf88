//! What a run solves for: every query, or every group of queries alone.

use super::part::FineTunedPart;
use crate::Result;
use crate::influence::Groups;
use crate::influence::faint::FaintCount;
use crate::operator::Vectors;
use candle_core::Tensor;
use std::ops::Range;

/// The right-hand sides of a run, and what they are called.
#[derive(Debug)]
pub(super) enum Asked<'a> {
    /// ∇ℓ of every query, by their ids; groups of them are ranked by the means of their scores.
    Queries(&'a [usize], Option<Groups>),
    /// The mean gradient of every group's queries: as many solves as there are groups.
    Groups(Groups),
}

impl Asked<'_> {
    /// How many solves.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Queries(ids, _) => ids.len(),
            Self::Groups(groups) => groups.count(),
        }
    }

    /// What `solves.parquet` calls them.
    pub(super) fn set(&self) -> &'static str {
        match self {
            Self::Queries(..) => "test",
            Self::Groups(_) => "group",
        }
    }

    /// Ids of the queries, or places of the groups in the order of their names.
    pub(super) fn ids(&self) -> Vec<usize> {
        match self {
            Self::Queries(ids, _) => ids.to_vec(),
            Self::Groups(groups) => (0..groups.count()).collect(),
        }
    }

    /// The names of groups that are solved for.
    pub(super) fn group_names(&self) -> Vec<String> {
        match self {
            Self::Queries(..) => Vec::new(),
            Self::Groups(groups) => groups.names(),
        }
    }

    /// What an error calls the one at `place`.
    pub(super) fn name(&self, place: usize) -> String {
        match self {
            Self::Queries(ids, _) => format!("query {}", ids[place]),
            Self::Groups(groups) => {
                let name = groups.iter().nth(place).map(|(name, _)| name);
                format!("the group {}", name.unwrap_or_default())
            }
        }
    }

    /// How many have right-hand sides too small for the precision, from whether the queries' are.
    pub(super) fn faint(&self, queries: &[bool]) -> FaintCount {
        let (name, one, count) = match self {
            Self::Queries(..) => {
                let count = queries.iter().filter(|&&faint| faint).count();
                ("queries_too_faint", "test image", count)
            }
            Self::Groups(groups) => {
                let all = |(_, members): &(&str, &[usize])| members.iter().all(|&at| queries[at]);
                (
                    "groups_too_faint",
                    "group",
                    groups.iter().filter(all).count(),
                )
            }
        };
        FaintCount {
            name,
            one,
            count,
            scores: "scores",
        }
    }

    /// Those at `places`, `[k, p]`, from the queries' images.
    pub(super) fn right_hand_sides<N: FineTunedPart>(
        &self,
        network: &N,
        queries: &N::Examples,
        places: Range<usize>,
    ) -> Result<Vectors> {
        let Self::Groups(groups) = self else {
            let positions: Vec<u32> = places.map(|position| position as u32).collect();
            return network.example_gradients(queries, &positions);
        };
        let members = groups.iter().skip(places.start).take(places.len());
        let mean = |(_, members): (&str, &[usize])| {
            let positions: Vec<u32> = members.iter().map(|&position| position as u32).collect();
            Ok((network.gradient(queries, &positions)? / members.len() as f64)?)
        };
        let means = members.map(mean).collect::<Result<Vec<Tensor>>>()?;
        Vectors::new(Tensor::stack(&means, 0)?)
    }
}
