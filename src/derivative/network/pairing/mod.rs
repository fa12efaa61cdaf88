//! ⟨∇ℓ_i, v_q⟩ for k fixed vectors and every image, without a gradient of all parameters.
//!
//! The gradient of a convolution's kernel is a sum over the places t of its output, Σ_t a_t ⊗ g_t with a_t the unfolded input
//! (K numbers, K = k²·C_in) and g_t the output gradient (C_out numbers). With T places there are these ways to the products
//! with k vectors V, counted in multiplications for an image:
//!
//! | | | |
//! |---|---|---|
//! | [`Way::Products`] | Σ_t ⟨V ∗ a, g⟩, a convolution for each vector | k·c |
//! | [`Way::Gradients`] | the gradient written out, a matrix product | T·K·C_out + (k + w)·K·C_out |
//! | [`Way::Tiles`] | the same in Winograd's form | c + (k + w)·16·C_in·C_out |
//! | [`Way::LowRank`] | V ≈ P Qᵀ of rank R: Σ_t ⟨Pᵀ a_t, Qᵀ g_t⟩ | k·T·R·(K + C_out + 1) + w·T·K |
//!
//! with c = T·K·C_out, or 2.25 times less where Winograd's algorithm applies, and w for a number that is written and read again:
//! that takes as long as 24 multiplications. Every layer goes by whichever takes fewest; the
//! first three agree but for rounding. Low rank is an approximation, taken only where a rank is given, is below the matrix's
//! own, and is the cheapest way: elsewhere it would cost accuracy and time. It is that of the query gradients of Grosse et
//! al. 2023, here of the solutions, which are what meets the training gradients.

mod low_rank;
mod products;
mod scale_and_shift;
mod written;

pub(super) use scale_and_shift::ScaleAndShift;

use super::layer::Site;
use super::planes::{Planes, Scalar};
use super::program::Program;
use super::space::ParameterSpace;
use crate::model::op::channels_last::Buffer;
use crate::model::op::channels_last::{Form, Geometry, PLACES};
use low_rank::LowRank;
use products::Products;
use std::ops::Range;
use written::Written;

/// Multiplications that take as long as writing a number of a gradient, or of an unfolded image, and reading it again: 0.5 ns
/// at 50 million multiplications a millisecond and core.
const WRITTEN: f64 = 24.0;

/// How the products of one layer are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// A convolution with each vector.
    Products,
    /// Gradients written out, a block of rows at a time, and a matrix product.
    Gradients,
    /// The same in Winograd's form.
    Tiles,
    /// The vectors approximated by this rank.
    LowRank(usize),
}

/// A layer with its way.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LayerWay {
    /// The name of its first tensor, without `.weight` and `.bias`.
    pub layer: String,
    /// The way that takes fewest multiplications.
    pub way: Way,
    /// Multiplications of this way for an image, what is written counted as such.
    pub multiplications: f64,
    /// Those of a product for each vector.
    pub by_products: f64,
    /// Those of gradients written out, in whichever form is cheaper.
    pub by_gradients: f64,
}

/// One layer's products with k vectors, prepared once for all images.
pub(crate) trait Pairing<T: Scalar>: Send + Sync {
    /// Adds those of every image to `sums` `[k, m]`.
    fn add(&self, site: &Site<T>, gradient: &Planes<T>, sums: &mut [f64]);

    /// ‖V − what stands for it‖² of each vector; empty where that is nothing.
    fn squared_errors(&self) -> &[f64] {
        &[]
    }
}

/// k parameter vectors as stored, `[k, p]`.
pub(crate) struct Rows<'a, T> {
    pub(super) space: &'a ParameterSpace,
    pub(super) values: &'a [T],
}

impl<'a, T: Scalar> Rows<'a, T> {
    /// k.
    pub(crate) fn count(&self) -> usize {
        self.values.len() / self.space.size().max(1)
    }

    /// Of each vector, the tensor whose place in the computation is `inner`.
    pub(crate) fn stored(&self, inner: &Range<usize>) -> Vec<&'a [T]> {
        let range = self.space.stored_range(inner);
        let rows = self.values.chunks_exact(self.space.size().max(1));
        rows.map(|row| &row[range.clone()]).collect()
    }

    /// The same as the computation has it, or as taps `[K, C_out]`.
    fn kernels(&self, inner: &Range<usize>, form: Form) -> Vec<Buffer<T>> {
        let rows = self.stored(inner).into_iter();
        rows.map(|row| self.space.kernel(inner, row, form))
            .collect()
    }
}

/// The ways of a convolution and their multiplications for an image; the cheapest first.
pub(super) fn convolution_ways(g: &Geometry, count: usize, rank: Option<usize>) -> Vec<(Way, f64)> {
    let (t, k, c) = (g.output().positions(), g.columns(), g.c_out);
    let unfolded = (t * k * c) as f64;
    let vectors = count as f64;
    let written = vectors + WRITTEN;
    let mut ways = vec![(Way::Gradients, unfolded + written * (k * c) as f64)];
    let single = match g.form() {
        Form::Taps => unfolded,
        Form::Winograd => {
            let places = (PLACES * g.input.channels * c) as f64;
            let single = g.tiles() as f64 * places;
            ways.push((Way::Tiles, single + written * places));
            single
        }
    };
    ways.push((Way::Products, vectors * single));
    if let Some(rank) = rank.filter(|&rank| rank < k.min(c)) {
        let cost = vectors * (t * rank * (k + c + 1)) as f64;
        ways.push((Way::LowRank(rank), cost + WRITTEN * (t * k) as f64));
    }
    ways.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    ways
}

/// The products of a convolution with the kernel at `weight`.
pub(super) fn of_convolution<'a, T: Scalar>(
    geometry: Geometry,
    weight: &Range<usize>,
    rows: &Rows<T>,
    way: Way,
) -> Box<dyn Pairing<T> + 'a> {
    let kernels = |form| rows.kernels(weight, form);
    match way {
        Way::Products => Box::new(Products::new(geometry, kernels(geometry.form()))),
        Way::Gradients => Box::new(Written::new(geometry, Form::Taps, &kernels(Form::Taps))),
        Way::Tiles => Box::new(Written::new(
            geometry,
            Form::Winograd,
            &kernels(Form::Winograd),
        )),
        Way::LowRank(rank) => Box::new(LowRank::new(geometry, &kernels(Form::Taps), rank)),
    }
}

/// All layers' products with k vectors.
pub(super) struct Pairs<'a, T: Scalar> {
    program: &'a Program<T>,
    count: usize,
    /// One for each node; none without parameters.
    layers: Vec<Option<Box<dyn Pairing<T> + 'a>>>,
    /// The place of each node's segment among those that are trained.
    segments: Vec<usize>,
}

impl<'a, T: Scalar> Pairs<'a, T> {
    pub(super) fn new(program: &'a Program<T>, values: &[T], rank: Option<usize>) -> Self {
        let rows = Rows {
            space: &program.space,
            values,
        };
        let trained = program.space.segments();
        let count = rows.count();
        let layers = program.nodes.iter().map(|node| {
            let &(way, _) = node.layer.ways(count, rank).first()?;
            node.layer.pairing(&rows, way)
        });
        let segment = |place: Option<Range<usize>>| {
            let block = place.and_then(|place| program.space.stored_block(&place));
            let segment = block.map_or(0, |block| block.segment);
            trained.iter().position(|&at| at == segment).unwrap_or(0)
        };
        let nodes = program.nodes.iter();
        Self {
            count,
            layers: layers.collect(),
            segments: nodes.map(|node| segment(node.layer.place())).collect(),
            program,
        }
    }

    /// `[segments, k, m]` for the images whose values and gradients these are.
    pub(super) fn products(&self, values: &[Planes<T>], gradients: &[Planes<T>]) -> Vec<f64> {
        let images = values[0].images();
        let size = self.count * images;
        let mut sums = vec![0.0; self.program.space.segments().len() * size];
        for (index, layer) in self.layers.iter().enumerate() {
            if let Some(layer) = layer {
                let site = self.program.site(values, index);
                let target = &mut sums[self.segments[index] * size..][..size];
                layer.add(&site, &gradients[index], target);
            }
        }
        sums
    }

    /// ‖v − what stands for it‖² of each vector.
    pub(super) fn squared_errors(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.count];
        for layer in self.layers.iter().flatten() {
            let errors = layer.squared_errors();
            (sums.iter_mut().zip(errors)).for_each(|(sum, error)| *sum += error);
        }
        sums
    }
}

/// Every layer's way for k vectors.
pub(super) fn layer_ways<T: Scalar>(
    program: &Program<T>,
    count: usize,
    rank: Option<usize>,
) -> Vec<LayerWay> {
    let of_node = |layer: &dyn super::layer::Layer<T>| {
        let ways = layer.ways(count, rank);
        let &(way, multiplications) = ways.first()?;
        let name = &program.space.stored_block(&layer.place()?)?.name;
        let name = name.strip_suffix(".weight").unwrap_or(name);
        let least = |wanted: &dyn Fn(Way) -> bool| {
            let found = ways.iter().find(|(way, _)| wanted(*way));
            found.map_or(multiplications, |way| way.1)
        };
        Some(LayerWay {
            layer: name.to_owned(),
            way,
            multiplications,
            by_products: least(&|way| way == Way::Products),
            by_gradients: least(&|way| matches!(way, Way::Gradients | Way::Tiles)),
        })
    };
    let nodes = program.nodes.iter();
    nodes.filter_map(|node| of_node(&*node.layer)).collect()
}

#[cfg(test)]
mod tests;
