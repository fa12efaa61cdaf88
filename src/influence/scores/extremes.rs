//! The extremes of each query in a block of products, chosen where the products are: of the scores that only rankings are made
//! of, a device sends the host the few that can be among them.

use crate::Result;
use candle_core::{DType, Device, Storage, Tensor, WithDType};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::ops::Range;

/// How many of a query's scores are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The highest.
    pub top: usize,
    /// The lowest.
    pub bottom: usize,
    /// Whether those of images at the same position on both sides are wanted too.
    pub own: bool,
}

impl Kept {
    /// None.
    pub const NONE: Self = Self {
        top: 0,
        bottom: 0,
        own: false,
    };

    /// As many as both want.
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            top: self.top.max(other.top),
            bottom: self.bottom.max(other.bottom),
            own: self.own || other.own,
        }
    }

    /// Whether these are some, but not all, of so many columns.
    pub(super) fn are_some_of(self, columns: usize) -> bool {
        (1..columns).contains(&(self.top + self.bottom))
    }
}

/// Chosen scores of the queries of a block, row by row, in no order.
#[derive(Debug, Default)]
pub struct Chosen {
    kept: usize,
    scores: Vec<f64>,
    columns: Vec<u32>,
}

impl Chosen {
    /// Those of a row: columns of the block, and scores in nats.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (usize, f64)> {
        let places = row * self.kept..(row + 1) * self.kept;
        let columns = self.columns[places.clone()].iter();
        (columns.map(|&column| column as usize)).zip(self.scores[places].iter().copied())
    }
}

/// Positions that a block's queries and training images share.
pub(in crate::influence) fn shared(
    queries: &Range<usize>,
    training: &Range<usize>,
) -> Range<usize> {
    queries.start.max(training.start)..queries.end.min(training.end)
}

/// What is wanted of a block of scores.
pub(super) struct Extremes {
    pub(super) highest: Chosen,
    pub(super) lowest: Chosen,
    /// Those at [`shared`] positions, where they are wanted.
    pub(super) own: Vec<f64>,
}

/// Extremes on their way from the device.
pub(super) struct Choosing {
    highest: Option<Choice>,
    lowest: Option<Choice>,
    own: Option<Tensor>,
}

/// Numbers and their columns `[rows, kept]`, and rows with a number that is not finite.
struct Choice {
    chosen: Tensor,
    columns: Tensor,
    unsound: Tensor,
}

impl Choosing {
    /// Of `products` `[queries.len(), training.len()]`; nothing is waited for.
    pub(super) fn begin(
        products: &Tensor,
        (queries, training): (&Range<usize>, &Range<usize>),
        kept: Kept,
    ) -> Result<Self> {
        let shared = shared(queries, training);
        let own = match kept.own && !shared.is_empty() {
            true => Some(diagonal(
                products,
                shared.len(),
                (shared.start - queries.start, shared.start - training.start),
            )?),
            false => None,
        };
        let of = |count: usize, smallest: bool| -> Result<Option<Choice>> {
            if count == 0 {
                return Ok(None);
            }
            let [chosen, columns, unsound] = extremes(products, count, smallest)?;
            Ok(Some(Choice {
                chosen,
                columns,
                unsound,
            }))
        };
        Ok(Self {
            highest: of(kept.top, false)?,
            lowest: of(kept.bottom, true)?,
            own,
        })
    }

    /// Waits for them; `scale` times a product is a score. None where some product is not finite.
    pub(super) fn finish(self, scale: f64) -> Result<Option<Extremes>> {
        let of = |choice: Option<Choice>| match choice {
            None => Ok(Some(Chosen::default())),
            Some(choice) => choice.finish(scale),
        };
        let (highest, lowest) = (of(self.highest)?, of(self.lowest)?);
        let own = match self.own {
            Some(own) => in_nats(&own, scale)?,
            None => Vec::new(),
        };
        Ok(highest.zip(lowest).map(|(highest, lowest)| Extremes {
            highest,
            lowest,
            own,
        }))
    }
}

impl Choice {
    fn finish(self, scale: f64) -> Result<Option<Chosen>> {
        if self.unsound.to_vec1::<u32>()?.iter().any(|&row| row > 0) {
            return Ok(None);
        }
        let kept = self.chosen.dims()[1];
        Ok(Some(Chosen {
            kept,
            scores: in_nats(&self.chosen, scale)?,
            columns: self.columns.flatten_all()?.to_vec1()?,
        }))
    }
}

/// Waits for products and scales them: scores, in f64. On the processor without a copy in between.
pub(super) fn in_nats(products: &Tensor, scale: f64) -> Result<Vec<f64>> {
    let products = products.contiguous()?;
    match products.dtype() {
        DType::F32 => scaled(&products, |product: f32| f64::from(product) * scale),
        _ => scaled(&products, |product: f64| product * scale),
    }
}

fn scaled<T: WithDType>(
    products: &Tensor,
    scale: impl Fn(T) -> f64 + Sync + Send,
) -> Result<Vec<f64>> {
    let (storage, layout) = products.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => {
            let start = layout.start_offset();
            let values = &storage.as_slice::<T>()?[start..start + products.elem_count()];
            Ok(values.par_iter().map(|&product| scale(product)).collect())
        }
        _ => {
            let values = products.flatten_all()?.to_vec1::<T>()?;
            Ok(values.into_par_iter().map(scale).collect())
        }
    }
}

/// The `count` numbers of a matrix from `(row, column)` on downwards and to the right.
fn diagonal(matrix: &Tensor, count: usize, (row, column): (usize, usize)) -> Result<Tensor> {
    let places = Tensor::arange(column as u32, (column + count) as u32, matrix.device())?;
    let rows = matrix.narrow(0, row, count)?.contiguous()?;
    Ok(rows.gather(&places.unsqueeze(1)?, 1)?.squeeze(1)?)
}

/// Of each row of `scores` `[rows, columns]` the `kept` largest or `smallest`, of equal ones the first, with their columns, both
/// `[rows, kept]` in no order; and `[rows]`, above 0 where a number of the row is not finite. The processor, on which nothing is sent,
/// has the plain twin that the kernel and what goes on with it are tested by.
fn extremes(scores: &Tensor, kept: usize, smallest: bool) -> Result<[Tensor; 3]> {
    #[cfg(feature = "cuda")]
    if scores.device().is_cuda() {
        let scores = scores.contiguous()?;
        return Ok(crate::model::op::cuda::extremes(&scores, kept, smallest)?);
    }
    let (rows, columns) = scores.dims2()?;
    let values = scores
        .to_dtype(DType::F64)?
        .flatten_all()?
        .to_vec1::<f64>()?;
    let order = |row: &[f64], a: u32, b: u32| -> Ordering {
        // Adding zero turns −0 into 0.
        let [x, y] = [a, b].map(|column| row[column as usize] + 0.0);
        let larger_first = y.total_cmp(&x);
        let wanted_first = if smallest {
            larger_first.reverse()
        } else {
            larger_first
        };
        wanted_first.then(a.cmp(&b))
    };
    let places: Vec<u32> = (values.par_chunks(columns.max(1)))
        .flat_map_iter(|row| {
            let mut places: Vec<u32> = (0..columns as u32).collect();
            if kept < columns {
                places.select_nth_unstable_by(kept, |&a, &b| order(row, a, b));
            }
            places.truncate(kept);
            places
        })
        .collect();
    let unsound: Vec<u32> = (values.chunks(columns.max(1)))
        .map(|row| u32::from(row.iter().any(|value| !value.is_finite())))
        .collect();
    let places = Tensor::from_vec(places, (rows, kept.min(columns)), &Device::Cpu)?;
    let unsound = Tensor::from_vec(unsound, rows, &Device::Cpu)?;
    Ok([scores.contiguous()?.gather(&places, 1)?, places, unsound])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few distinct values, most of them ties; in each row eight to ten zeros among them, half of them of either sign.
    fn scores() -> Tensor {
        let values: Vec<f32> = (0..5 * 31)
            .map(|i| ((i * i % 7) as f32 - 2.0) * if i % 2 == 0 { -0.5 } else { 0.5 })
            .collect();
        Tensor::from_vec(values, (5, 31), &Device::Cpu).unwrap()
    }

    /// The queries are the images 10 to 14, the training images those from 12 on.
    fn extremes_of(products: &Tensor, top: usize, bottom: usize) -> Option<Extremes> {
        let kept = Kept {
            top,
            bottom,
            own: true,
        };
        let choosing = Choosing::begin(products, (&(10..15), &(12..43)), kept).unwrap();
        choosing.finish(0.25).unwrap()
    }

    #[test]
    fn they_are_the_first_of_a_full_sort() {
        // Fifteen end among the zeros from either side.
        for (top, bottom) in [(1, 1), (7, 3), (15, 15), (30, 0), (0, 12)] {
            for dtype in [DType::F32, DType::F64] {
                let products = scores().to_dtype(dtype).unwrap();
                let Extremes {
                    highest,
                    lowest,
                    own,
                } = extremes_of(&products, top, bottom).unwrap();
                let values = scores().to_vec2::<f32>().unwrap();
                let expected = [values[2][0], values[3][1], values[4][2]];
                assert_eq!(own, expected.map(|value| 0.25 * f64::from(value)));
                for (row, values) in values.iter().enumerate() {
                    for (found, (count, sign)) in [&highest, &lowest]
                        .into_iter()
                        .zip([(top, -1.0), (bottom, 1.0)])
                    {
                        let mut all: Vec<(usize, f64)> = (values.iter().enumerate())
                            .map(|(column, &value)| (column, 0.25 * f64::from(value)))
                            .collect();
                        all.sort_by(|a, b| (sign * a.1).partial_cmp(&(sign * b.1)).unwrap());
                        all.truncate(count);
                        all.sort_by_key(|pair| pair.0);
                        let mut found: Vec<(usize, f64)> = found.row(row).collect();
                        found.sort_by_key(|pair| pair.0);
                        assert_eq!(found, all);
                    }
                }
            }
        }
    }

    #[test]
    fn a_product_that_is_not_finite_is_noticed_wherever_it_would_rank() {
        for broken in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = scores().to_vec2::<f32>().unwrap();
            values[3][17] = broken;
            let products = Tensor::new(values, &Device::Cpu).unwrap();
            assert!(extremes_of(&products, 2, 0).is_none());
            assert!(extremes_of(&products, 0, 2).is_none());
        }
    }
}
