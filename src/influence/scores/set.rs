//! A set of queries at work: its sinks, and blocks of scores on their way to them.

use super::Queries;
use super::extremes::{Choosing, Extremes, Kept, in_nats};
use crate::Result;
use crate::influence::checkpoint::Recordable;
use crate::influence::side_by_side::{LANES, side_by_side};
use crate::influence::{Examples, ExtremeBlock, Provenance, ScoreBlock, ScoreHeader, SinkState};
use candle_core::{Device, Tensor};
use ndarray::ArrayView2;
use std::ops::Range;

/// A set of queries at work.
pub(in crate::influence) struct Set<'a, 'b> {
    header: ScoreHeader,
    pub(in crate::influence) queries: Queries<'a, 'b>,
}

/// Queries and the training images that they are scored against.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

impl Recordable for Set<'_, '_> {
    fn save(&mut self) -> Result<Option<Vec<SinkState>>> {
        let mut states = Vec::new();
        for sink in self.queries.sinks.iter_mut() {
            let Some(state) = sink.save()? else {
                return Ok(None);
            };
            states.push(state);
        }
        Ok(Some(states))
    }

    fn restore(&mut self, states: &mut std::slice::Iter<SinkState>) -> Result<bool> {
        for sink in self.queries.sinks.iter_mut() {
            let restored = states.next().map(|state| sink.restore(state)).transpose()?;
            if restored != Some(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn begin_anew(&mut self) -> Result<()> {
        let header = &self.header;
        (self.queries.sinks.iter_mut()).try_for_each(|sink| sink.begin(header))
    }
}

impl<'a, 'b> Set<'a, 'b> {
    pub(in crate::influence) fn begin(
        training: &Examples,
        queries: Queries<'a, 'b>,
        provenance: &Provenance,
    ) -> Result<Self> {
        let header = ScoreHeader {
            queries: queries.examples.ids().to_vec(),
            training: training.ids().to_vec(),
            provenance: provenance.clone(),
        };
        for sink in queries.sinks.iter_mut() {
            sink.begin(&header)?;
        }
        Ok(Self { header, queries })
    }

    /// Computes the products of each block, `[rows.len(), columns.len()]`, and hands them on as scores in the order of the
    /// blocks.
    ///
    /// A device works while the host takes in what it has done: the products of a block are begun before the sinks get those of
    /// the block before. The processor computes some side by side.
    pub(super) fn score(
        &mut self,
        blocks: Vec<Block>,
        device: &Device,
        products: impl Fn(&Block) -> Result<Tensor> + Sync,
    ) -> Result<()> {
        if device.is_cpu() {
            let scale = self.scale();
            for group in blocks.chunks(LANES) {
                let scored = side_by_side(group.iter().collect(), device, |block| {
                    in_nats(&products(block)?, scale)
                })?;
                for (block, scores) in group.iter().zip(scored) {
                    self.write_scores(block.rows.clone(), block.columns.clone(), &scores)?;
                }
            }
            return Ok(());
        }
        self.score_there(blocks, products)
    }

    /// What makes a product a score in nats.
    fn scale(&self) -> f64 {
        1.0 / self.header.training.len() as f64
    }

    /// On a device, which sends no more of a block than the sinks need.
    fn score_there(
        &mut self,
        blocks: Vec<Block>,
        products: impl Fn(&Block) -> Result<Tensor>,
    ) -> Result<()> {
        let (wanted, scale) = (self.extremes_wanted(), self.scale());
        let mut last: Option<(Block, Arrived)> = None;
        for block in blocks {
            let begun = Begun::new(&block, products(&block)?, wanted)?;
            if let Some((block, arrived)) = last.take() {
                self.write(block, arrived)?;
            }
            last = Some((block, begun.arrived(scale)?));
        }
        last.map_or(Ok(()), |(block, arrived)| self.write(block, arrived))
    }

    /// How many of each query's scores do, if these are all that the sinks need; of equal scores the first column is that of the
    /// smaller id.
    fn extremes_wanted(&mut self) -> Option<Kept> {
        let in_order = self.header.training.is_sorted();
        let mut wanted = Kept::NONE;
        for sink in self.queries.sinks.iter_mut() {
            wanted = wanted.with(sink.as_extremes()?.kept());
        }
        in_order.then_some(wanted)
    }

    fn write(&mut self, block: Block, arrived: Arrived) -> Result<()> {
        let Block { rows, columns } = block;
        let extremes = match arrived {
            Arrived::Scores(scores) => return self.write_scores(rows, columns, &scores),
            Arrived::Extremes(extremes) => extremes,
        };
        let block = ExtremeBlock {
            queries: rows,
            training: columns,
            highest: extremes.highest,
            lowest: extremes.lowest,
            own: extremes.own,
        };
        (self.queries.sinks.iter_mut())
            .filter_map(|sink| sink.as_extremes())
            .try_for_each(|sink| sink.write_extremes(&block))
    }

    /// Hands the scores `[rows.len(), columns.len()]` in nats on, if all are finite.
    pub(in crate::influence) fn write_scores(
        &mut self,
        rows: Range<usize>,
        columns: Range<usize>,
        scores: &[f64],
    ) -> Result<()> {
        let scores = ArrayView2::from_shape((rows.len(), columns.len()), scores)
            .map_err(ndarray_linalg::error::LinalgError::from)?;
        let name = |place: usize| format!("query {}", self.header.queries[place]);
        let block = ScoreBlock::of_finite((&self.header, &name), rows, columns, scores)?;
        self.queries
            .sinks
            .iter_mut()
            .try_for_each(|sink| sink.write(&block))
    }

    pub(in crate::influence) fn finish(&mut self) -> Result<()> {
        self.queries
            .sinks
            .iter_mut()
            .try_for_each(|sink| sink.finish())
    }
}

/// A block on its way from a device.
struct Begun {
    products: Tensor,
    choosing: Option<Choosing>,
}

/// What came of it, in nats.
enum Arrived {
    /// `[rows, columns]`
    Scores(Vec<f64>),
    /// Of each query.
    Extremes(Extremes),
}

impl Begun {
    fn new(block: &Block, products: Tensor, wanted: Option<Kept>) -> Result<Self> {
        let Block { rows, columns } = block;
        let wanted = wanted.filter(|kept| kept.are_some_of(columns.len()));
        let choosing = wanted.map(|kept| Choosing::begin(&products, (rows, columns), kept));
        Ok(Self {
            choosing: choosing.transpose()?,
            products,
        })
    }

    /// All scores where all are wanted, or where one is not finite, so that it can be named.
    fn arrived(self, scale: f64) -> Result<Arrived> {
        if let Some(choosing) = self.choosing
            && let Some(extremes) = choosing.finish(scale)?
        {
            return Ok(Arrived::Extremes(extremes));
        }
        in_nats(&self.products, scale).map(Arrived::Scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derivative::head::SoftmaxHead;
    use crate::influence::{Diagonal, FeatureSet, ScoreMatrix, ScoreSink, TopRanks};
    use candle_core::DType;

    const TRAINING: usize = 40;
    const QUERIES: usize = 6;

    fn examples(ids: Vec<usize>) -> Examples {
        let count = ids.len();
        let set = FeatureSet {
            features: &Tensor::zeros((count, 1), DType::F64, &Device::Cpu)
                .unwrap()
                .into(),
            labels: &vec![0; count],
            ids: &ids,
        };
        let head = SoftmaxHead::zeros(2, 1, DType::F64, &Device::Cpu).unwrap();
        Examples::new(&set, &head, DType::F64).unwrap()
    }

    /// Products of few distinct values, in blocks of 4 queries and 17 training images.
    fn score(
        ids: Vec<usize>,
        sinks: &mut [&mut dyn ScoreSink],
        there: bool,
        broken: Option<f64>,
    ) -> Result<()> {
        let values = (0..QUERIES * TRAINING).map(|i| (i * i % 11) as f64 - 5.0);
        let mut values: Vec<f64> = values.collect();
        values[2 * TRAINING + 30] = broken.unwrap_or(0.0);
        let products = Tensor::from_vec(values, (QUERIES, TRAINING), &Device::Cpu)?;
        let (training, queries) = (examples(ids), examples((0..QUERIES).collect()));
        let queries = Queries {
            examples: &queries,
            sinks,
        };
        let mut set = Set::begin(&training, queries, &Provenance::default())?;
        let mut blocks = Vec::new();
        for (start, end) in [(0, 4), (4, 6)] {
            for (first, last) in [(0, 17), (17, 34), (34, 40)] {
                blocks.push(Block {
                    rows: start..end,
                    columns: first..last,
                });
            }
        }
        let part = |Block { rows, columns }: &Block| -> Result<Tensor> {
            let rows = products.narrow(0, rows.start, rows.len())?;
            Ok(rows.narrow(1, columns.start, columns.len())?.contiguous()?)
        };
        match there {
            true => set.score_there(blocks, part)?,
            false => set.score(blocks, &Device::Cpu, part)?,
        }
        set.finish()
    }

    fn ranks(ids: Vec<usize>, there: bool) -> Vec<Vec<(usize, f64)>> {
        let mut top = TopRanks::new(9, 4);
        score(ids, &mut [&mut top], there, None).unwrap();
        let of = |query| [top.helpful(query), top.harmful(query)];
        (0..QUERIES).flat_map(of).collect()
    }

    #[test]
    fn extremes_give_the_ranks_of_all_scores() {
        let ascending: Vec<usize> = (0..TRAINING).map(|at| 3 * at + 1).collect();
        // Where ids are not in order the first of equal scores is not the one of the smallest id, so that all are looked at.
        let descending: Vec<usize> = ascending.iter().rev().copied().collect();
        for ids in [ascending, descending] {
            assert_eq!(ranks(ids.clone(), true), ranks(ids, false));
        }
    }

    #[test]
    fn every_sink_gets_what_it_needs() {
        let ids: Vec<usize> = (0..TRAINING).collect();
        let found = [true, false].map(|there| {
            let (mut top, mut diagonal) = (TopRanks::new(3, 0), Diagonal::default());
            score(ids.clone(), &mut [&mut top, &mut diagonal], there, None).unwrap();
            let (mut beside, mut matrix) = (TopRanks::new(3, 0), ScoreMatrix::default());
            score(ids.clone(), &mut [&mut beside, &mut matrix], there, None).unwrap();
            assert_eq!(beside.helpful(0), top.helpful(0));
            (diagonal.values, top.helpful(0), matrix.scores)
        });
        assert_eq!(found[0], found[1]);
    }

    #[test]
    fn a_score_that_is_not_finite_is_named_among_extremes_too() {
        let ids: Vec<usize> = (0..TRAINING).map(|at| 100 + at).collect();
        for there in [true, false] {
            let mut top = TopRanks::new(3, 0);
            let refused = score(ids.clone(), &mut [&mut top], there, Some(f64::NEG_INFINITY));
            let message = refused.unwrap_err().to_string();
            assert!(message.contains("query 2, training image 130"), "{message}");
        }
    }
}
