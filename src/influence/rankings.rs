//! `rankings.parquet`: one row for each query and rank.
//!
//! Ranks count from 1, most helpful first. Harmful images, where asked for, are ranked from the other end: −1 is the
//! most harmful, −2 the next. `bound`, `certified` and `tied` are those of a [`Certificate`], null where none was asked for.

use super::{Certificate, CertifiedRanks, Provenance, TopRanks, table};
use crate::artefact::{Column, Columns};
use crate::{Error, Result};
use arrow::array::{Array, AsArray, BooleanArray, Float64Array, RecordBatch};
use arrow::datatypes::Float64Type;
use std::borrow::Borrow;
use std::path::Path;

/// Queries whose rows are in memory at once while they are written.
const AT_ONCE: usize = 512;

/// One training image behind a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankedImage {
    /// Its id in the training data set.
    pub train: usize,
    /// Its label.
    pub train_label: usize,
    /// In nats, positive = helpful.
    pub score: f64,
    /// What is proven of its rank, if that was asked for.
    pub certificate: Option<Certificate>,
}

/// One query's images.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryRanking {
    /// The query's id in its data set.
    pub query: usize,
    /// Its label.
    pub query_label: usize,
    /// What the head predicts.
    pub query_prediction: usize,
    /// Most helpful first.
    pub helpful: Vec<RankedImage>,
    /// Most harmful first.
    pub harmful: Vec<RankedImage>,
}

/// What rankings say of the images of one side, by position.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// Ids in the data set.
    pub ids: &'a [usize],
    /// Labels.
    pub labels: &'a [usize],
    /// What the model predicts.
    pub predictions: &'a [usize],
}

impl QueryRanking {
    /// The rankings that `top` collected, or where there are any the `certified` ones, query by query, each made when it is asked for.
    pub fn each<'a>(
        top: &'a TopRanks,
        certified: Option<&'a CertifiedRanks>,
        training: Images<'a>,
        queries: Images<'a>,
    ) -> impl Iterator<Item = Self> + 'a {
        let image = move |position: usize, score: f64, certificate| RankedImage {
            train: training.ids[position],
            train_label: training.labels[position],
            score,
            certificate,
        };
        let plain = move |ranks: Vec<(usize, f64)>| {
            let ranks = ranks.into_iter();
            ranks.map(move |(position, score)| image(position, score, None))
        };
        let ranking = move |position: usize| Self {
            query: queries.ids[position],
            query_label: queries.labels[position],
            query_prediction: queries.predictions[position],
            helpful: match certified {
                None => plain(top.helpful(position)).collect(),
                Some(certified) => (certified.ranks(position).iter())
                    .map(|&(at, score, certificate)| image(at, score, Some(certificate)))
                    .collect(),
            },
            harmful: plain(top.harmful(position)).collect(),
        };
        (0..queries.ids.len()).map(ranking)
    }

    /// Refuses rankings whose queries have different numbers of helpful images, or whose scores do not fall with the rank, by what
    /// `refusal` makes of the query, what was expected and what was found.
    pub(crate) fn check_ranks(
        rankings: &[Self],
        refusal: impl Fn(usize, String, String) -> Error,
    ) -> Result<()> {
        let ranks = rankings.first().map_or(0, |first| first.helpful.len());
        for Self { query, helpful, .. } in rankings {
            if helpful.len() != ranks {
                let expected = format!("{ranks} ranks, as the first query has");
                return Err(refusal(*query, expected, helpful.len().to_string()));
            }
            let rises = |pair: &[RankedImage]| pair[0].score < pair[1].score;
            if let Some(rank) = helpful.windows(2).position(rises) {
                let expected = "scores that fall with the rank".to_owned();
                let found = format!("a higher one at rank {}", rank + 2);
                return Err(refusal(*query, expected, found));
            }
        }
        Ok(())
    }

    /// All rows of this query: rank and image.
    pub(super) fn rows(&self) -> impl Iterator<Item = (i32, &RankedImage)> {
        from_both_ends(&self.helpful, &self.harmful)
    }
}

/// Ranks 1, 2 … with what is `helpful`, then −1, −2 … with what is `harmful`.
pub(super) fn from_both_ends<T>(
    helpful: impl IntoIterator<Item = T>,
    harmful: impl IntoIterator<Item = T>,
) -> impl Iterator<Item = (i32, T)> {
    let harmful = (1..).zip(harmful).map(|(rank, it): (i32, T)| (-rank, it));
    (1..).zip(helpful).chain(harmful)
}

/// Writes rankings as Parquet, so many queries at a time; `provenance` goes into the file's metadata.
///
/// # Errors
/// The file cannot be written.
pub fn write_rankings<R: Borrow<QueryRanking>>(
    path: &Path,
    rankings: impl IntoIterator<Item = R>,
    provenance: &Provenance,
) -> Result<()> {
    let mut rankings = rankings.into_iter();
    let mut part = || rankings.by_ref().take(AT_ONCE).collect::<Vec<R>>();
    let first = columns(&part());
    let others = std::iter::from_fn(|| Some(part()).filter(|part| !part.is_empty()));
    let others = others.map(|part| columns(&part));
    table::write_in_parts(path, provenance, first, others)
}

/// A row of the table: its query, rank and image.
type Row<'a> = (&'a QueryRanking, i32, &'a RankedImage);

fn columns(rankings: &[impl Borrow<QueryRanking>]) -> Vec<Column<'static>> {
    let rows: Vec<Row> = (rankings.iter())
        .map(|query| query.borrow())
        .flat_map(|query: &QueryRanking| {
            query.rows().map(move |(rank, image)| (query, rank, image))
        })
        .collect();
    Columns::of(rows.iter())
        .integers("query", |row| row.0.query as i64)
        .narrow_integers("query_label", |row| row.0.query_label as i32)
        .narrow_integers("query_prediction", |row| row.0.query_prediction as i32)
        .narrow_integers("rank", |row| row.1)
        .integers("train", |row| row.2.train as i64)
        .narrow_integers("train_label", |row| row.2.train_label as i32)
        .numbers("score", |row| row.2.score)
        .optional_numbers("bound", |row| Some(row.2.certificate?.bound))
        .optional_flags("certified", |row| Some(row.2.certificate?.certified))
        .optional_flags("tied", |row| Some(row.2.certificate?.tied))
        .done()
}

/// Reads what [`write_rankings`] wrote, queries in the order of the file.
///
/// # Errors
/// The file cannot be read or is not such a table, as where queries have different numbers of helpful images.
pub fn read_rankings(path: &Path) -> Result<Vec<QueryRanking>> {
    let batch = table::read(path)?;
    if batch.num_rows() == 0 {
        let remedy = "rank again with a number of images to keep: --top, --bottom";
        return Err(Error::format(
            path,
            "table",
            "a ranked image",
            "none",
            remedy,
        ));
    }
    let mut rankings: Vec<QueryRanking> = Vec::new();
    let (query, train) = (
        table::ids(path, &batch, "query")?,
        table::ids(path, &batch, "train")?,
    );
    let (label, prediction) = (
        table::labels(path, &batch, "query_label")?,
        table::labels(path, &batch, "query_prediction")?,
    );
    let (rank, train_label) = (
        table::ranks(path, &batch, "rank")?,
        table::labels(path, &batch, "train_label")?,
    );
    let score = table::numbers(path, &batch, "score")?;
    let certificates = Certificates::of(path, &batch)?;
    for row in 0..batch.num_rows() {
        let id = query.value(row) as usize;
        if rankings.last().is_none_or(|last| last.query != id) {
            rankings.push(QueryRanking {
                query: id,
                query_label: label.value(row) as usize,
                query_prediction: prediction.value(row) as usize,
                helpful: Vec::new(),
                harmful: Vec::new(),
            });
        }
        let image = RankedImage {
            train: train.value(row) as usize,
            train_label: train_label.value(row) as usize,
            score: score.value(row),
            certificate: certificates.row(row),
        };
        if let Some(last) = rankings.last_mut() {
            if rank.value(row) > 0 {
                last.helpful.push(image)
            } else {
                last.harmful.push(image)
            }
        }
    }
    QueryRanking::check_ranks(&rankings, |query, expected, found| {
        let (place, remedy) = (format!("query {query}"), "run ascribe rank again");
        Error::format(path, place, expected, found, remedy)
    })?;
    Ok(rankings)
}

/// The columns of the certificates.
struct Certificates<'a> {
    bounds: &'a Float64Array,
    certified: &'a BooleanArray,
    tied: &'a BooleanArray,
}

impl<'a> Certificates<'a> {
    fn of(path: &Path, batch: &'a RecordBatch) -> Result<Self> {
        let wrong = || table::damaged(path, "certificate columns of another type".into());
        let flags = |name| {
            table::column(path, batch, name).and_then(|c| c.as_boolean_opt().ok_or_else(wrong))
        };
        let bounds = table::column(path, batch, "bound")?.as_primitive_opt::<Float64Type>();
        Ok(Self {
            bounds: bounds.ok_or_else(wrong)?,
            certified: flags("certified")?,
            tied: flags("tied")?,
        })
    }

    fn row(&self, row: usize) -> Option<Certificate> {
        (self.bounds.is_valid(row) && self.certified.is_valid(row)).then(|| Certificate {
            bound: self.bounds.value(row),
            certified: self.certified.value(row),
            tied: self.tied.value(row),
        })
    }
}
