//! From rankings to a curve: matches by rank, their interval, and chance.

use super::{Curve, ModelRankings, Point, QuerySet};
use crate::evaluate::wilson;
use crate::influence::QueryRanking;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Ranks drawn at most.
const RANKS: usize = 100;

impl Curve {
    /// One model's match on one set of queries.
    ///
    /// # Errors
    /// As [`ClassMatch::of`](super::ClassMatch::of).
    pub fn of(rankings: &ModelRankings, queries: QuerySet) -> Result<Self> {
        let model = rankings.model;
        let of_queries = if queries == QuerySet::Test {
            rankings.test
        } else {
            rankings.train
        };
        if of_queries.is_empty() {
            let remedy = "rank again, with training images as queries too";
            let what = format!("rankings of {model}");
            return Err(Error::mismatch(what, "at least one query", "none", remedy));
        }
        check_ranks(model, of_queries)?;
        let matches: Vec<Vec<bool>> = of_queries
            .iter()
            .map(|query| query_matches(query, queries))
            .collect();
        let ranks = matches.iter().map(Vec::len).min().unwrap_or(0).min(RANKS);
        let query_count = of_queries.len();
        let percent_of = |met: &dyn Fn(&[bool]) -> bool| {
            let count = matches.iter().filter(|matches| met(matches)).count();
            (count, 100.0 * count as f64 / query_count as f64)
        };
        let points = (1..=ranks).map(|rank| {
            let (count, match_percent) = percent_of(&|matches| matches[rank - 1]);
            let (low_percent, high_percent) = wilson_percent(count, query_count);
            Point {
                rank,
                match_percent,
                low_percent,
                high_percent,
            }
        });
        let three_of_five =
            |matches: &[bool]| matches[..5].iter().filter(|matches| **matches).count() >= 3;
        Ok(Self {
            model: model.to_owned(),
            predicted: rankings.predicted && queries == QuerySet::Test,
            query_count,
            chance_percent: chance_percent(of_queries, rankings.labels, queries),
            three_of_top_five_percent: (ranks >= 5).then(|| percent_of(&three_of_five).1),
            points: points.collect(),
        })
    }

    /// The match of the most helpful image, in percent of queries.
    #[must_use]
    pub fn top_one_percent(&self) -> Option<f64> {
        self.points.first().map(|point| point.match_percent)
    }
}

/// Whether the images at ranks 1, 2, … have the query's class.
fn query_matches(query: &QueryRanking, queries: QuerySet) -> Vec<bool> {
    let passed_over = (queries == QuerySet::TrainingItselfExcluded).then_some(query.query);
    let ranked = query
        .helpful
        .iter()
        .filter(|image| Some(image.train) != passed_over);
    ranked
        .map(|image| image.train_label == query.query_label)
        .collect()
}

/// Refuses rankings without ranks, with scores that are not finite, or that no run would leave.
fn check_ranks(model: &str, rankings: &[QueryRanking]) -> Result<()> {
    let what = |query: usize| format!("ranking of query {query} by {model}");
    let remedy = "run ascribe rank again";
    for QueryRanking { query, helpful, .. } in rankings {
        if let Some(rank) = helpful.iter().position(|image| !image.score.is_finite()) {
            let place = format!("rank {}", rank + 1);
            return Err(Error::non_finite(what(*query), place, remedy));
        }
    }
    QueryRanking::check_ranks(rankings, |query, expected, found| {
        Error::mismatch(what(query), expected, found, remedy)
    })?;
    if rankings[0].helpful.is_empty() {
        let what = format!("rankings of {model}");
        let remedy = "rank with --top 1 or more";
        return Err(Error::mismatch(what, "at least one rank", "none", remedy));
    }
    Ok(())
}

/// The match expected from a random ranking, in percent.
fn chance_percent(of_queries: &[QueryRanking], labels: &[usize], queries: QuerySet) -> f64 {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for &label in labels {
        *counts.entry(label).or_default() += 1;
    }
    // An image passed over is missing from its own class and from the whole.
    let missing = usize::from(queries == QuerySet::TrainingItselfExcluded);
    let rankable = (labels.len().saturating_sub(missing)).max(1);
    let of_class = |query: &QueryRanking| {
        counts
            .get(&query.query_label)
            .map_or(0, |count| count - missing)
    };
    let candidates: usize = of_queries.iter().map(of_class).sum();
    100.0 * candidates as f64 / (rankable * of_queries.len()) as f64
}

/// The 95 % Wilson (1927) score interval of a share, in percent.
pub(super) fn wilson_percent(count: usize, total: usize) -> (f64, f64) {
    let (low, high) = wilson(count as f64 / total as f64, total);
    (100.0 * low, 100.0 * high)
}
