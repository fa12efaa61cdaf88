//! R v, Rᵀ t and RRᵀ over all images of some linearisations, with RᵀR = Σ J_iᵀ (diag π_i − π_i π_iᵀ) J_i.

use super::super::kronecker::RootKind;
use super::super::products::{Precision, kit_of};
use super::super::program::Program;
use super::super::{Inner, Linearisation, Network};
use super::gram::Pass;
use crate::model::op::channels_last::Buffer;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use faer::MatMut;
use std::sync::Arc;

impl Network {
    /// Whether Gauss–Newton products with `count` vectors take less time by root gradients, which are kept or are made for them.
    pub fn root_gradients_pay(&self, count: usize, kept: bool) -> bool {
        let few_classes = self.classes <= RootKind::EXACT_CLASSES;
        few_classes && in_precision!(self, program => program.root_gradients_pay(count, kept))
    }

    /// Multiplications by root gradients: those of a Gauss–Newton product with one vector for an image, and of the products of two
    /// images' rows with each other.
    pub fn root_multiplications(&self) -> (f64, f64) {
        in_precision!(self, program => {
            (program.root_product_multiplications(), program.root_gram_multiplications())
        })
    }

    /// ⟨Jᵀs, v⟩ of all rows s of the softmax's roots, image by image, for every row v of `vectors` `[k, p]`: `[k, N]` in f64.
    ///
    /// # Errors
    /// Vectors of another size or precision, or linearisations without root gradients.
    pub fn root_products(&self, vectors: &Tensor, parts: &[Arc<Linearisation>]) -> Result<Tensor> {
        in_precision!(self, program => program.rooted_products(vectors, parts))
    }

    /// Σ t_s Jᵀs over these rows, for every row t of `weights` `[k, N]` in f64: `[k, p]`.
    ///
    /// # Errors
    /// Another number of rows, or linearisations without root gradients.
    pub fn root_sums(&self, weights: &Tensor, parts: &[Arc<Linearisation>]) -> Result<Tensor> {
        in_precision!(self, program => program.rooted_sums(weights, parts))
    }

    /// Adds ⟨Jᵀs, Jᵀs'⟩ of these rows with each other to the lower triangle of `into` `[N, N]`.
    ///
    /// # Errors
    /// As [`Network::root_sums`].
    pub fn add_root_gram(&self, parts: &[Arc<Linearisation>], into: MatMut<f64>) -> Result<()> {
        in_precision!(self, program => program.rooted_gram(parts, into))
    }
}

impl<T: Precision> Program<T> {
    fn rooted_products(&self, vectors: &Tensor, parts: &[Arc<Linearisation>]) -> Result<Tensor> {
        self.check(vectors)?;
        let passes = passes_of::<T>(parts)?;
        let of_all = |vector: Vec<T>| {
            let direction = self.space.inward(&vector);
            let products = |&pass| self.root_products(pass, &direction);
            passes.iter().flat_map(products).collect::<Vec<f64>>()
        };
        let rows: Vec<Vec<f64>> = vectors.to_vec2()?.into_iter().map(of_all).collect();
        let shape = (rows.len(), rows.first().map_or(0, Vec::len));
        Ok(Tensor::from_vec(rows.concat(), shape, &Device::Cpu)?)
    }

    fn rooted_sums(&self, weights: &Tensor, parts: &[Arc<Linearisation>]) -> Result<Tensor> {
        let passes = passes_of::<T>(parts)?;
        self.check_rows(&passes, weights.dim(1)?)?;
        let sum = |weights: Vec<f64>| {
            let mut sum = Buffer::zeros(self.space.inner_size());
            let mut rest = &weights[..];
            for &(values, gradients) in &passes {
                let (own, others) = rest.split_at(values[0].images() * self.root_rows());
                self.add_root_sum((values, gradients), own, &mut sum);
                rest = others;
            }
            self.space.outward(&sum).to_vec()
        };
        let rows: Vec<Vec<T>> = weights.to_vec2::<f64>()?.into_iter().map(sum).collect();
        let shape = (rows.len(), self.space.size());
        Ok(Tensor::from_vec(rows.concat(), shape, &Device::Cpu)?)
    }

    fn rooted_gram(&self, parts: &[Arc<Linearisation>], into: MatMut<f64>) -> Result<()> {
        let passes = passes_of::<T>(parts)?;
        self.check_rows(&passes, into.nrows())?;
        self.check_rows(&passes, into.ncols())?;
        self.add_root_gram(&passes, into);
        Ok(())
    }

    fn check_rows(&self, passes: &[Pass<T>], found: usize) -> Result<()> {
        let images = passes.iter().map(|(values, _)| values[0].images());
        let expected = self.root_rows() * images.sum::<usize>();
        if found == expected {
            return Ok(());
        }
        let remedy = "give classes − 1 for each image";
        Err(Error::mismatch("rows of a root", expected, found, remedy))
    }
}

/// What linearisations with root gradients hold.
fn passes_of<T: Precision>(parts: &[Arc<Linearisation>]) -> Result<Vec<Pass<'_, T>>> {
    parts.iter().map(|part| pass_of(part)).collect()
}

fn pass_of<T: Precision>(part: &Linearisation) -> Result<Pass<'_, T>> {
    let kit = kit_of::<T>(part)?;
    let lacking = || {
        let remedy = "linearise with root gradients";
        Error::mismatch("linearisation", "root gradients", "none", remedy)
    };
    Ok((&kit.values[..], kit.roots.as_ref().ok_or_else(lacking)?))
}
