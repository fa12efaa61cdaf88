//! A = RᵀR/n + σI with fewer rows in R than parameters, which are made when they are asked for.
//!
//! The mean Gauss–Newton matrix of n images is RᵀR/n of their gradients Jᵀs for all rows s of a square root of the softmax's
//! curvature ([`CurvatureRoots`]): C − 1 an image, fewer where the network is sure of it. What the matrix does, it does to the span of
//! these rows, so that it can be inverted exactly by what they are to each other, however many parameters there are.

use crate::Result;
use crate::derivative::network::{CurvatureRoots, RootKind, WrittenGradients};
use candle_core::{DType, Device, Tensor};
use std::ops::Range;

/// The share of Σ tr (diag π − ππᵀ) that rows hold in f32, where what is left out is rounding.
const SINGLE_SHARE: f64 = 1.0 - 1e-7;

/// Most rows: what they are to each other takes 2 GiB.
pub const MOST_ROWS: usize = 16_384;
/// How many times as many rows as are kept roots are looked at for: in f32 a network that is sure has fewer than C − 1 an image.
const LEFT_OUT: usize = 10;

/// Blocks of rows that are held beside the one that is being made.
const HELD: usize = 2;

/// RᵀR/n + σI.
pub struct RootForm<'a> {
    rows: Box<dyn RootRows + 'a>,
    device: Device,
    images: usize,
    shift: f64,
}

/// R, block by block.
trait RootRows: Sync {
    fn blocks(&self) -> &[Range<usize>];

    /// `[r, p]`, where gradients are.
    fn block(&self, index: usize) -> Result<Tensor>;
}

impl<'a> RootForm<'a> {
    /// Of the mean Gauss–Newton matrix over the images at `positions`, with σ = `shift`; none where it has more than [`MOST_ROWS`].
    /// `bytes` are what rows may take at once.
    ///
    /// # Errors
    /// As [`WrittenGradients::outputs`].
    pub fn of_network<N: WrittenGradients>(
        network: &'a N,
        (examples, positions): (&'a N::Examples, &'a [u32]),
        (bytes, shift): (u64, f64),
    ) -> Result<Option<Self>> {
        let all = positions.len() * (network.class_count() - 1);
        if all > LEFT_OUT * MOST_ROWS {
            return Ok(None);
        }
        let outputs = network.outputs(examples, positions)?;
        let share = match network.dtype() {
            DType::F64 => 1.0,
            _ => SINGLE_SHARE,
        };
        let roots = CurvatureRoots::of(&outputs, positions, RootKind::Exact { share })?;
        if roots.count() > MOST_ROWS {
            return Ok(None);
        }
        let row = (network.size() * network.dtype().size_in_bytes()) as u64;
        let images = roots.groups((bytes / (HELD as u64 + 1) / row.max(1)) as usize);
        let mut end = 0;
        let count = |images: &Range<usize>| {
            let start = end;
            end += images
                .clone()
                .map(|image| roots.of_image(image).len())
                .sum::<usize>();
            start..end
        };
        let blocks = images.iter().map(count).collect();
        let rows = NetworkRows {
            network,
            examples,
            positions,
            images,
            blocks,
            roots,
        };
        Ok(Some(Self {
            rows: Box::new(rows),
            device: network.device(),
            images: positions.len(),
            shift,
        }))
    }

    /// Adds `value` to σ.
    #[must_use]
    pub fn shifted(mut self, value: f64) -> Self {
        self.shift += value;
        self
    }

    /// σ.
    pub fn shift(&self) -> f64 {
        self.shift
    }

    /// Where rows are made.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// n.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Blocks of which the rows may be held while others are made.
    pub fn held(&self) -> usize {
        HELD
    }

    /// Rows of R.
    pub fn count(&self) -> usize {
        self.blocks().last().map_or(0, |block| block.end)
    }

    /// The rows that are made at once, one block after the other.
    pub fn blocks(&self) -> &[Range<usize>] {
        self.rows.blocks()
    }

    /// Those of a block, `[r, p]`, where the network computes.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn block(&self, index: usize) -> Result<Tensor> {
        self.rows.block(index)
    }
}

/// Gradients of a network over some images.
struct NetworkRows<'a, N: WrittenGradients> {
    network: &'a N,
    examples: &'a N::Examples,
    positions: &'a [u32],
    roots: CurvatureRoots,
    /// Images of a block.
    images: Vec<Range<usize>>,
    /// Their rows.
    blocks: Vec<Range<usize>>,
}

impl<N: WrittenGradients> RootRows for NetworkRows<'_, N> {
    fn blocks(&self) -> &[Range<usize>] {
        &self.blocks
    }

    fn block(&self, index: usize) -> Result<Tensor> {
        let images = self.images[index].clone();
        (self.network).root_gradients(self.examples, self.positions, &self.roots, images)
    }
}
