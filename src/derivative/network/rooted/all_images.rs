//! R v, Rᵀ t and RRᵀ over all images of some linearisations, with RᵀR = Σ J_iᵀ (diag π_i − π_i π_iᵀ) J_i.

use super::super::kronecker::RootKind;
use super::super::products::{Precision, kit_of};
use super::super::program::Program;
use super::super::{Inner, Linearisation, Linearisations, Network};
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
    pub fn root_products(&self, vectors: &Tensor, parts: &mut Linearisations) -> Result<Tensor> {
        in_precision!(self, program => program.root_products_of_all(vectors, parts))
    }

    /// Σ t_s Jᵀs over these rows, for every row t of `weights` `[k, N]` in f64: `[k, p]`.
    ///
    /// # Errors
    /// Another number of rows, or linearisations without root gradients.
    pub fn root_sums(&self, weights: &Tensor, parts: &mut Linearisations) -> Result<Tensor> {
        in_precision!(self, program => program.root_sums_of_all(weights, parts))
    }

    /// Adds ⟨Jᵀs, Jᵀs'⟩ of these rows with each other to the lower triangle of `into` `[N, N]`.
    ///
    /// # Errors
    /// As [`Network::root_sums`].
    pub fn add_root_gram(&self, parts: &[Arc<Linearisation>], into: MatMut<f64>) -> Result<()> {
        in_precision!(self, program => program.root_gram_of_all((parts, parts), true, into))
    }

    /// The same of the rows of some linearisations with those of others, `[N, N']`.
    ///
    /// # Errors
    /// As [`Network::root_sums`].
    pub fn add_root_gram_with(
        &self,
        (parts, others): (&[Arc<Linearisation>], &[Arc<Linearisation>]),
        into: MatMut<f64>,
    ) -> Result<()> {
        in_precision!(self, program => program.root_gram_of_all((parts, others), false, into))
    }
}

impl<T: Precision> Program<T> {
    fn root_products_of_all(&self, vectors: &Tensor, parts: &mut Linearisations) -> Result<Tensor> {
        let directions = self.directions(vectors)?;
        let mut rows = vec![Vec::new(); directions.len()];
        for part in parts {
            let part = part?;
            let pass = pass_of(&part)?;
            for (direction, row) in directions.iter().zip(&mut rows) {
                row.extend(self.root_products(pass, direction));
            }
        }
        let shape = (rows.len(), rows.first().map_or(0, Vec::len));
        Ok(Tensor::from_vec(rows.concat(), shape, &Device::Cpu)?)
    }

    fn root_sums_of_all(&self, weights: &Tensor, parts: &mut Linearisations) -> Result<Tensor> {
        let (count, found) = weights.dims2()?;
        let weights = weights.to_vec2::<f64>()?;
        let zeros = |_| Buffer::zeros(self.space.inner_size());
        let mut sums: Vec<_> = (0..count).map(zeros).collect();
        let mut rows = 0..0;
        for part in parts {
            let part = part?;
            let pass = pass_of(&part)?;
            rows = rows.end..rows.end + self.rows_of(&[pass]);
            for (weights, sum) in weights.iter().zip(&mut sums) {
                let own = weights.get(rows.clone());
                let own = own.ok_or_else(|| other_rows(rows.end, found))?;
                self.add_root_sum(pass, own, sum);
            }
        }
        match rows.end == found {
            true => self.outward(sums),
            false => Err(other_rows(rows.end, found)),
        }
    }

    fn root_gram_of_all(
        &self,
        (parts, others): (&[Arc<Linearisation>], &[Arc<Linearisation>]),
        lower: bool,
        into: MatMut<f64>,
    ) -> Result<()> {
        let (passes, others) = (passes_of(parts)?, passes_of(others)?);
        for (passes, found) in [(&passes, into.nrows()), (&others, into.ncols())] {
            let expected = self.rows_of(passes);
            if found != expected {
                return Err(other_rows(expected, found));
            }
        }
        self.add_root_gram((&passes, &others), lower, into);
        Ok(())
    }

    fn rows_of(&self, passes: &[Pass<T>]) -> usize {
        let images = passes.iter().map(|(values, _)| values[0].images());
        self.root_rows() * images.sum::<usize>()
    }
}

fn other_rows(expected: usize, found: usize) -> Error {
    let remedy = "give classes − 1 for each image";
    Error::mismatch("rows of a root", expected, found, remedy)
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
