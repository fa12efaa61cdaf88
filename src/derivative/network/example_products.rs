//! Products of every image's gradient with fixed vectors, in either precision.

use super::pairing::{self, LayerWay, Pairs};
use super::program::Program;
use super::{Beside, Examples, Inner, Network};
use crate::Result;
use candle_core::{DType, Device, Tensor};

/// The products of every image's gradient with k fixed vectors: [`Network::pair`].
pub struct ExampleProducts<'a> {
    network: &'a Network,
    count: usize,
    pairs: InnerPairs<'a>,
}

enum InnerPairs<'a> {
    F32(Pairs<'a, f32>),
    F64(Pairs<'a, f64>),
}

impl ExampleProducts<'_> {
    /// Those of the images at `positions`, split by trained segment (the segments of the `ParameterSpace`), `[segments, k, m]` in
    /// f64.
    ///
    /// # Errors
    /// As [`Network::outputs`].
    pub fn products(&self, examples: &Examples, positions: &[u32]) -> Result<Tensor> {
        let segments = self.network.space().segments().len();
        let mut parts = Vec::new();
        for pass in positions.chunks(self.network.pass_images()) {
            let part = self.network.linearise(examples, pass, Beside::Gradients)?;
            let products = match &self.pairs {
                InnerPairs::F32(pairs) => Program::image_products(pairs, &part)?,
                InnerPairs::F64(pairs) => Program::image_products(pairs, &part)?,
            };
            let shape = (segments, self.count, pass.len());
            parts.push(Tensor::from_vec(products, shape, &Device::Cpu)?);
        }
        match parts.is_empty() {
            true => Ok(Tensor::zeros(
                (segments, self.count, 0),
                DType::F64,
                &Device::Cpu,
            )?),
            false => Ok(Tensor::cat(&parts, 2)?),
        }
    }

    /// ‖v − what stands for it‖ of each vector; 0 where nothing is approximated.
    pub fn errors(&self) -> Vec<f64> {
        let squares = match &self.pairs {
            InnerPairs::F32(pairs) => pairs.squared_errors(),
            InnerPairs::F64(pairs) => pairs.squared_errors(),
        };
        squares.into_iter().map(f64::sqrt).collect()
    }
}

impl Network {
    /// Prepares the products of every image's gradient with the rows of `vectors` `[k, p]`, each layer in its cheapest way;
    /// with a `rank`, vectors are approximated in the layers where that is cheaper still.
    ///
    /// # Errors
    /// Vectors of another size or precision.
    pub fn pair(&self, vectors: &Tensor, rank: Option<usize>) -> Result<ExampleProducts<'_>> {
        Ok(ExampleProducts {
            network: self,
            count: vectors.dims2()?.0,
            pairs: match &self.program {
                Inner::F32(program) => InnerPairs::F32(program.pairs(vectors, rank)?),
                Inner::F64(program) => InnerPairs::F64(program.pairs(vectors, rank)?),
            },
        })
    }

    /// Every layer's way to these products for `count` vectors.
    pub fn pairing_ways(&self, count: usize, rank: Option<usize>) -> Vec<LayerWay> {
        match &self.program {
            Inner::F32(program) => pairing::layer_ways(program, count, rank),
            Inner::F64(program) => pairing::layer_ways(program, count, rank),
        }
    }
}
