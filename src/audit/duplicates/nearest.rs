//! The image nearest to each by the cosines of features and thumbnails, the mean of the training images taken off: 2 · columns
//! operations a pair, in blocks.

use super::look::Look;
use crate::Result;
use crate::data::Rows;
use crate::product::product;
use candle_core::DType;
use faer::{Accum, Mat, MatRef};

/// Images of a block of the products.
const BLOCK: usize = 1024;

/// What is taken off every image: the mean of the training images.
pub(super) struct Centre {
    features: Vec<f64>,
    thumbnail: Option<Vec<f64>>,
}

/// Images as vectors whose products are their likeness.
pub(super) struct Directions {
    /// `[n, columns]`, of length 1, or shorter where a part is nothing but the mean.
    values: Vec<f32>,
    columns: usize,
}

impl Centre {
    /// Of training images; `looks` are there for all of them or for none.
    pub(super) fn of(features: &Rows, looks: Option<&[&Look]>) -> Result<Self> {
        let mut sums = vec![0.0; features.columns()];
        for step in features.steps() {
            for row in values(features, step)?.chunks_exact(sums.len()) {
                add(&mut sums, row);
            }
        }
        let thumbnail = looks.and_then(|looks| {
            let mut sums = vec![0.0; looks.first()?.thumbnail.len()];
            (looks.iter()).for_each(|look| add(&mut sums, &look.thumbnail));
            Some(mean(sums, looks.len()))
        });
        Ok(Self {
            features: mean(sums, features.count()),
            thumbnail,
        })
    }

    /// Images as they are seen from here.
    pub(super) fn directions(
        &self,
        features: &Rows,
        looks: Option<&[&Look]>,
    ) -> Result<Directions> {
        let columns = self.features.len() + self.thumbnail.as_ref().map_or(0, Vec::len);
        // Of two parts each counts half.
        let length = self.thumbnail.as_ref().map_or(1.0, |_| 0.5f64.sqrt());
        let mut directions = Vec::with_capacity(features.count() * columns);
        let mut looks = looks.unwrap_or_default().iter();
        for step in features.steps() {
            for row in values(features, step)?.chunks_exact(self.features.len()) {
                extend(&mut directions, row, &self.features, length);
                if let (Some(centre), Some(look)) = (&self.thumbnail, looks.next()) {
                    extend(&mut directions, &look.thumbnail, centre, length);
                }
            }
        }
        Ok(Directions {
            values: directions,
            columns,
        })
    }
}

impl Directions {
    fn count(&self) -> usize {
        self.values.len() / self.columns
    }

    /// At most [`BLOCK`] rows from `start` on, as a matrix.
    fn block(&self, start: usize) -> MatRef<'_, f32> {
        let rows = BLOCK.min(self.count() - start);
        let values = &self.values[start * self.columns..][..rows * self.columns];
        MatRef::from_row_major_slice(values, rows, self.columns)
    }
}

fn add(sums: &mut [f64], row: &[f64]) {
    (sums.iter_mut().zip(row)).for_each(|(sum, x)| *sum += x);
}

fn mean(sums: Vec<f64>, count: usize) -> Vec<f64> {
    let mean = |sum: f64| sum / count.max(1) as f64;
    sums.into_iter().map(mean).collect()
}

/// Appends `row` less `centre`, of `length`, or 0 where they are equal.
fn extend(directions: &mut Vec<f32>, row: &[f64], centre: &[f64], length: f64) {
    let centred: Vec<f64> = row.iter().zip(centre).map(|(x, m)| x - m).collect();
    let own = centred.iter().map(|x| x * x).sum::<f64>().sqrt();
    let factor = if own > 0.0 { length / own } else { 0.0 };
    directions.extend(centred.iter().map(|x| (x * factor) as f32));
}

fn values(rows: &Rows, step: std::ops::Range<usize>) -> Result<Vec<f64>> {
    let rows = rows.chunk(step)?.to_dtype(DType::F64)?;
    Ok(rows.flatten_all()?.to_vec1()?)
}

/// For each of `images` the nearest of `others` and their likeness; `own`: they are the same list, and none is its own neighbour.
pub(super) fn nearest(
    images: &Directions,
    others: &Directions,
    own: bool,
) -> Vec<Option<(usize, f32)>> {
    let mut found = vec![None; images.count()];
    for (block, found) in found.chunks_mut(BLOCK).enumerate() {
        let left = images.block(block * BLOCK);
        for start in (0..others.count()).step_by(BLOCK) {
            let right = others.block(start);
            // [others, images]: a column for each image.
            let mut likeness = Mat::<f32>::zeros(right.nrows(), left.nrows());
            let replace = Accum::Replace;
            product(likeness.as_mut(), replace, right, left.transpose(), 1.0);
            for (row, best) in found.iter_mut().enumerate() {
                for at in 0..right.nrows() {
                    let is_itself = own && start + at == block * BLOCK + row;
                    let alike = likeness[(at, row)];
                    if !is_itself && best.is_none_or(|(_, most)| alike > most) {
                        *best = Some((start + at, alike));
                    }
                }
            }
        }
    }
    found
}
