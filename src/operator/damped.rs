//! A + λI for any operator A: the curvature that influence scores invert.

use super::{
    KroneckerForm, LinearOperator, PrincipalBlock, RootForm, Rounding, Structure, SymmetricMatrix,
    Vectors,
};
use crate::{Result, number_range};
use candle_core::{DType, Device};
use std::ops::Deref;

/// A + λI.
pub struct Damped<'a> {
    operator: Inner<'a>,
    damping: f64,
}

enum Inner<'a> {
    Borrowed(&'a dyn LinearOperator),
    Owned(Box<dyn LinearOperator + 'a>),
}

impl<'a> Deref for Inner<'a> {
    type Target = dyn LinearOperator + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Borrowed(operator) => *operator,
            Self::Owned(operator) => operator.as_ref(),
        }
    }
}

impl<'a> Damped<'a> {
    /// Adds `damping` ≥ 0 to every eigenvalue of `operator`.
    ///
    /// # Errors
    /// A damping that is negative or not finite.
    pub fn new(operator: &'a dyn LinearOperator, damping: f64) -> Result<Self> {
        Ok(Self {
            operator: Inner::Borrowed(operator),
            damping: number_range::at_least_zero("damping", damping)?,
        })
    }
}

impl LinearOperator for Damped<'_> {
    fn size(&self) -> usize {
        self.operator.size()
    }

    fn structure(&self) -> Structure {
        match self.operator.structure() {
            Structure::PositiveSemidefinite if self.damping > 0.0 => Structure::PositiveDefinite,
            other => other,
        }
    }

    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        let product = self.operator.apply(vectors)?;
        if self.damping == 0.0 {
            return Ok(product);
        }
        product.add_scaled(&vec![self.damping; vectors.count()], vectors)
    }

    fn residuals(&self, values: &Vectors, right_hand_sides: &Vectors) -> Result<Vectors> {
        right_hand_sides.less(&self.operator.apply(values)?, self.damping, values)
    }

    fn dtype(&self) -> DType {
        self.operator.dtype()
    }

    fn device(&self) -> Device {
        self.operator.device()
    }

    fn dense(&self, dtype: DType) -> Result<SymmetricMatrix> {
        let mut matrix = self.operator.dense(dtype)?;
        matrix.add_to_diagonal(self.damping)?;
        Ok(matrix)
    }

    fn diagonal(&self) -> Result<Vec<f64>> {
        let diagonal = self.operator.diagonal()?.into_iter();
        Ok(diagonal.map(|value| value + self.damping).collect())
    }

    fn principal_block(&self, size: usize) -> Result<Option<PrincipalBlock>> {
        let mut block = self.operator.principal_block(size)?;
        if let Some(block) = &mut block {
            block.matrix.add_to_diagonal(self.damping)?;
        }
        Ok(block)
    }

    fn ekfac(&self) -> Result<Option<KroneckerForm>> {
        let form = self.operator.ekfac()?;
        Ok(form.map(|form| form.shifted(self.damping)))
    }

    fn low_rank(&self) -> Result<Option<KroneckerForm>> {
        let form = self.operator.low_rank()?;
        Ok(form.map(|form| form.shifted(self.damping)))
    }

    fn root(&self) -> Result<Option<RootForm<'_>>> {
        let root = self.operator.root()?;
        Ok(root.map(|root| root.shifted(self.damping)))
    }

    fn rounding(&self) -> Result<Rounding> {
        let inner = self.operator.rounding()?;
        let grown = 1.0 + 4.0 * f64::EPSILON;
        Ok(Rounding {
            errors: inner.errors.iter().map(|error| error * grown).collect(),
            scalar: inner.scalar + 4.0 * f64::EPSILON * self.damping,
            ..inner
        })
    }

    fn image_count(&self) -> usize {
        self.operator.image_count()
    }

    fn on_images(&self, positions: &[u32]) -> Result<Box<dyn LinearOperator + '_>> {
        Ok(Box::new(Damped {
            operator: Inner::Owned(self.operator.on_images(positions)?),
            damping: self.damping,
        }))
    }
}
