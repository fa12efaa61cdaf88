//! Figure 5: test images, and below each the training image that is most helpful for it by each model.
//!
//! Drawn from `rankings.parquet` (columns `query`, `query_label`, `rank` = 1, `train`, `train_label`, `score`) and the
//! images of the data sets. Queries are one test image of each class, drawn at random from a seed ([`one_per_class`]) and
//! the same for every model. Small images are enlarged by a whole factor, so that their pixels stay squares; a frame and a
//! tick mark training images of the query's class, a cross the others. Scores are in nats, positive = helpful, shown with
//! the unit that suits the models (millinats …), in the CSV always in nats.
//!
//! Utrera et al. (2020, figure 5) show the same for one unseeded draw, the robust model above the natural one, without
//! labels' agreement or scores; our rows stand in the order the models are given.

mod drawing;
#[cfg(test)]
mod tests;

use super::{Drawn, Figure, Picture, Sheet, Style};
use crate::data::{Dataset, listed};
use crate::influence::{NATS, QueryRanking};
use crate::{Error, Result};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Queries that one figure can hold.
pub const MOST_QUERIES: usize = 200;
/// Queries that are listed in a line.
const LISTED: usize = 10;

/// Test images with the most helpful training image of each by each model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HelpfulExamples {
    /// From left to right.
    pub queries: Vec<QueryExample>,
    /// From top to bottom.
    pub models: Vec<ModelExamples>,
    /// Whether somebody named the queries; otherwise they are a random one of each class.
    #[serde(default)]
    pub named: bool,
}

/// A test image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryExample {
    /// Its id in the test set.
    pub query: usize,
    /// Its label's number.
    pub class: usize,
    /// Its label's name.
    pub label: String,
    /// What it looks like.
    pub picture: Picture,
}

/// One model's most helpful training images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelExamples {
    /// The model's name.
    pub model: String,
    /// The unit of its scores.
    #[serde(default = "nats")]
    pub unit: String,
    /// Whether test images count as images of the class that it predicts.
    #[serde(default)]
    pub predicted: bool,
    /// One for each query, in their order.
    pub helpful: Vec<HelpfulExample>,
}

/// The training image most helpful for a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HelpfulExample {
    /// Its id in the training set.
    pub train: usize,
    /// Its label's number.
    pub class: usize,
    /// Its label's name.
    pub label: String,
    /// In nats, positive = helpful.
    pub score: f64,
    /// What it looks like.
    pub picture: Picture,
}

/// A model's rankings of test images, and the set its training images are in.
#[derive(Debug, Clone, Copy)]
pub struct ModelImages<'a> {
    /// What the model is called.
    pub model: &'a str,
    /// The unit of its scores.
    pub unit: &'a str,
    /// Whether test images count as images of the class that it predicts.
    pub predicted: bool,
    /// With the test images as queries.
    pub rankings: &'a [QueryRanking],
    /// Where the ranked ids are to be found.
    pub train: &'a Dataset,
}

/// One query of each class that has any, by rising class; which one depends on seed, class and the ids alone.
#[must_use]
pub fn one_per_class(rankings: &[QueryRanking], seed: u64) -> Vec<usize> {
    let mut classes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for ranking in rankings {
        classes
            .entry(ranking.query_label)
            .or_default()
            .push(ranking.query);
    }
    let draw = |(class, mut queries): (usize, Vec<usize>)| {
        queries.sort_unstable();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(class as u64);
        queries[random.random_range(0..queries.len())]
    };
    classes.into_iter().map(draw).collect()
}

impl QueryExample {
    /// Looks up one image of the test set.
    ///
    /// # Errors
    /// No such id, or an image that does not decode.
    pub fn of(test: &Dataset, query: usize) -> Result<Self> {
        let example = test.get(query)?;
        Ok(Self {
            query,
            class: example.label,
            label: test.classes()[example.label].clone(),
            picture: example.image.into(),
        })
    }
}

impl HelpfulExamples {
    /// Looks up the given queries in the models' rankings, and the images in the data sets.
    ///
    /// # Errors
    /// A query that a model has not ranked, labels that differ between rankings and data, or an image that does not decode.
    pub fn of(queries: &[usize], models: &[ModelImages], test: &Dataset) -> Result<Self> {
        let query_example = |&query: &usize| QueryExample::of(test, query);
        let queries: Vec<QueryExample> =
            queries.iter().map(query_example).collect::<Result<_>>()?;
        // Each has its own class for a query that counts as one of the class that is predicted.
        let may_differ = models.len() > 1 && models.iter().any(|model| model.predicted);
        let models = models
            .iter()
            .map(|model| model.examples(&queries, may_differ));
        let figure = Self {
            models: models.collect::<Result<_>>()?,
            queries,
            named: false,
        };
        figure.check()?;
        Ok(figure)
    }
}

impl ModelImages<'_> {
    fn examples(&self, queries: &[QueryExample], may_differ: bool) -> Result<ModelExamples> {
        let by_query: HashMap<usize, &QueryRanking> = self
            .rankings
            .iter()
            .map(|ranking| (ranking.query, ranking))
            .collect();
        let helpful = queries
            .iter()
            .map(|query| self.most_helpful(query, by_query.get(&query.query).copied(), may_differ));
        Ok(ModelExamples {
            model: self.model.to_owned(),
            unit: self.unit.to_owned(),
            predicted: self.predicted,
            helpful: helpful.collect::<Result<_>>()?,
        })
    }

    fn most_helpful(
        &self,
        query: &QueryExample,
        ranking: Option<&QueryRanking>,
        may_differ: bool,
    ) -> Result<HelpfulExample> {
        let id = query.query;
        let first = ranking.and_then(|ranking| ranking.helpful.first());
        let (Some(ranking), Some(first)) = (ranking, first) else {
            let what = format!("rankings.parquet of {}", self.model);
            let queries = self.rankings.iter().map(|ranking| ranking.query);
            let queries: Vec<String> = queries.map(|query| query.to_string()).collect();
            let queries = listed(&queries, LISTED);
            let remedy = format!("choose --images among its queries: {queries}");
            return Err(Error::mismatch(
                what,
                format!("query {id} with its most helpful image"),
                "none",
                remedy,
            ));
        };
        if may_differ && ranking.query_label != query.class {
            let what = format!("class of query {id} in {}", self.model);
            let expected = format!("{}, as in the first run", query.class);
            let remedy = "choose other --images, or draw each run alone";
            return Err(Error::mismatch(what, expected, ranking.query_label, remedy));
        }
        self.check_label(&format!("query {id}"), query.class, ranking.query_label)?;
        let example = self.train.get(first.train)?;
        self.check_label(
            &format!("training image {}", first.train),
            example.label,
            first.train_label,
        )?;
        Ok(HelpfulExample {
            train: first.train,
            class: example.label,
            label: self.train.classes()[example.label].clone(),
            score: first.score,
            picture: example.image.into(),
        })
    }

    fn check_label(&self, image: &str, in_data: usize, in_rankings: usize) -> Result<()> {
        if in_data == in_rankings {
            return Ok(());
        }
        let what = format!("label of {image} in rankings.parquet of {}", self.model);
        let remedy = "give the data the run was made from";
        Err(Error::mismatch(
            what,
            format!("{in_data}, as in the data"),
            in_rankings,
            remedy,
        ))
    }
}

/// Of a record that says none.
fn nats() -> String {
    NATS.into()
}

/// One row of the table.
#[derive(Debug, Serialize)]
struct Row<'a> {
    class: usize,
    query: usize,
    query_label: &'a str,
    model: &'a str,
    train: usize,
    train_label: &'a str,
    score_positive_helpful: f64,
    unit: &'a str,
    r#match: bool,
    /// In figures where some are.
    #[serde(skip_serializing_if = "Option::is_none")]
    query_class_predicted: Option<bool>,
}

impl Figure for HelpfulExamples {
    fn title(&self) -> String {
        "Test images and the most helpful training image for each".into()
    }

    fn caption(&self) -> String {
        let mut caption = drawing::note(self);
        for ModelExamples {
            model,
            predicted,
            helpful,
            ..
        } in &self.models
        {
            let same = self
                .queries
                .iter()
                .zip(helpful)
                .filter(|(query, image)| query.class == image.class);
            let (same, all) = (same.count(), helpful.len());
            let class = match predicted {
                true => "predicted class",
                false => "class",
            };
            caption.push_str(&format!(
                " {model}: {same} of {all} of the query’s {class}."
            ));
        }
        caption
    }

    fn check(&self) -> Result<()> {
        let count = self.queries.len();
        if count == 0 || count > MOST_QUERIES || self.models.is_empty() {
            let expected = format!("1 to {MOST_QUERIES} queries and at least one model");
            let found = format!("{count} queries and {} models", self.models.len());
            return Err(Error::mismatch(
                "figure of examples",
                expected,
                found,
                "choose other queries or runs",
            ));
        }
        self.queries
            .iter()
            .try_for_each(|query| query.picture.check(&format!("query {}", query.query)))?;
        self.models.iter().try_for_each(|model| model.check(count))
    }

    fn size(&self, style: Style) -> (f64, f64) {
        drawing::size(self, style)
    }

    fn draw(&self, sheet: &Sheet) -> Drawn {
        drawing::draw(self, sheet)
    }

    fn table(&self, rows: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        let some_predicted = self.models.iter().any(|model| model.predicted);
        for (at, query) in self.queries.iter().enumerate() {
            for ModelExamples {
                model,
                unit,
                predicted,
                helpful,
            } in &self.models
            {
                let image = &helpful[at];
                rows.serialize(Row {
                    class: query.class,
                    query: query.query,
                    query_label: &query.label,
                    model,
                    train: image.train,
                    train_label: &image.label,
                    score_positive_helpful: image.score,
                    unit,
                    r#match: query.class == image.class,
                    query_class_predicted: some_predicted.then_some(*predicted),
                })?;
            }
        }
        Ok(())
    }
}

impl ModelExamples {
    fn check(&self, queries: usize) -> Result<()> {
        let what = format!("examples of {}", self.model);
        if self.helpful.len() != queries {
            let (expected, remedy) = (
                format!("{queries}, one for each query"),
                "make the record again",
            );
            return Err(Error::mismatch(what, expected, self.helpful.len(), remedy));
        }
        for image in &self.helpful {
            image
                .picture
                .check(&format!("training image {}", image.train))?;
            if !image.score.is_finite() {
                let place = format!("training image {}", image.train);
                return Err(Error::non_finite(what, place, "run ascribe rank again"));
            }
        }
        Ok(())
    }
}
