//! The curvature of the training objective through the fine-tuned blocks, computed on a device.
//!
//! A = (1/n) Σ_i C_i + l2·I over the parameters of a [`DeviceNetwork`], with C_i the Hessian or the Gauss–Newton matrix of image
//! i: the same matrix as [`NetworkCurvature`](super::NetworkCurvature)'s, known by its products, and by the gradients that a Kronecker
//! form and a root are made of. Products are where the vectors are: on the network's device, or, for methods that keep their vectors on
//! the host, there. All vectors of a block share the values of a pass; nothing is kept between products, as a pass's values are a
//! fifth of a Gauss–Newton product with one vector and less of a block.

use super::network_curvature::{batch, structure};
use super::{
    KroneckerForm, LinearOperator, RootForm, Structure, SymmetricMatrix, Vectors, unit_vectors,
};
use crate::derivative::network::{Curvature, DeviceExamples, DeviceNetwork};
use crate::device::room;
use crate::{Error, Result, number_range};
use candle_core::DType;

/// Bytes that a block of vectors may take inside a product, if a quarter of a device's free memory allows it; larger blocks are taken
/// in parts.
const VECTOR_BYTES: usize = 4 << 30;
/// Bytes that the rows of a low rank take at most, if an eighth of a device's free memory allows it: they are held four times
/// while they are made.
const ROW_BYTES: usize = 4 << 30;

/// The curvature of mean cross-entropy + l2/2·‖θ‖² over a training set, θ the parameters of a [`DeviceNetwork`].
pub struct DeviceCurvature<'a> {
    network: &'a DeviceNetwork,
    examples: &'a DeviceExamples,
    curvature: Curvature,
    l2: f64,
    positions: Vec<u32>,
    /// Draws what stands for labels where there are too many of them.
    seed: u64,
}

impl<'a> DeviceCurvature<'a> {
    /// The curvature over all `examples`.
    ///
    /// # Errors
    /// An l2 that is negative or not finite.
    pub fn new(
        network: &'a DeviceNetwork,
        examples: &'a DeviceExamples,
        curvature: Curvature,
        l2: f64,
    ) -> Result<Self> {
        number_range::at_least_zero("l2", l2)?;
        Ok(Self {
            network,
            examples,
            curvature,
            l2,
            positions: (0..examples.count() as u32).collect(),
            seed: 0,
        })
    }

    /// Draws from `seed` what stands for labels in a Kronecker form.
    #[must_use]
    pub fn drawing_from(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The most rows that [`LinearOperator::low_rank`] has.
    ///
    /// # Errors
    /// The device does not say how much is free.
    pub fn low_rank_rows(network: &DeviceNetwork) -> Result<usize> {
        Ok(super::kronecker::rows_within(network, row_bytes(network)?))
    }

    /// Which matrix it is.
    pub fn curvature(&self) -> Curvature {
        self.curvature
    }

    /// The network whose parameters the vectors run over.
    pub fn network(&self) -> &'a DeviceNetwork {
        self.network
    }

    fn images(&self) -> (&DeviceExamples, &[u32]) {
        (self.examples, &self.positions)
    }

    /// (1/n) Σ C_i v + l2 v for some vectors.
    fn products(&self, vectors: &Vectors) -> Result<Vectors> {
        let there = vectors.tensor().to_device(self.network.device())?;
        let sums = (self.network).curvature_products(self.curvature, self.images(), &there)?;
        let means = (sums / self.positions.len() as f64)?;
        let products = match self.l2 {
            0.0 => means,
            l2 => (means + (there * l2)?)?,
        };
        Vectors::new(products.to_device(vectors.tensor().device())?)
    }
}

fn row_bytes(network: &DeviceNetwork) -> Result<u64> {
    Ok(room(network.device(), ROW_BYTES, 8)? as u64)
}

impl LinearOperator for DeviceCurvature<'_> {
    fn size(&self) -> usize {
        self.network.size()
    }

    fn dtype(&self) -> DType {
        self.network.dtype()
    }

    fn structure(&self) -> Structure {
        structure(self.curvature, self.l2)
    }

    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        vectors.check_size(self.size())?;
        // A direction as it is and turned, in the program's tensors, its sum, and the result.
        let bytes = 4 * self.size() * self.dtype().size_in_bytes();
        let room = room(self.network.device(), VECTOR_BYTES, 4)?;
        let part = (room / bytes.max(1)).max(1);
        vectors.in_parts(part, &|rows| self.products(rows))
    }

    /// By products with the unit vectors: for small networks.
    fn dense(&self, dtype: DType) -> Result<SymmetricMatrix> {
        unit_vectors::written_out(self, dtype)
    }

    fn diagonal(&self) -> Result<Vec<f64>> {
        let what = "the diagonal of a network's curvature on a device";
        let instead = "choose a solver without it, or --device cpu";
        Err(Error::unsupported(what, instead))
    }

    /// Of the Gauss–Newton matrix, whichever the curvature is, with the L2 term.
    fn ekfac(&self) -> Result<Option<KroneckerForm>> {
        let form = KroneckerForm::ekfac(self.network, self.images(), self.seed)?;
        Ok(Some(form.shifted(self.l2)))
    }

    /// Of the Gauss–Newton matrix, whichever the curvature is, with the L2 term; without rows where memory has no room.
    fn low_rank(&self) -> Result<Option<KroneckerForm>> {
        let drawn = (row_bytes(self.network)?, self.seed);
        let form = KroneckerForm::low_rank(self.network, self.images(), drawn)?;
        Ok(Some(form.shifted(self.l2)))
    }

    /// Of the Gauss–Newton matrix; the Hessian has none.
    fn root(&self) -> Result<Option<RootForm<'_>>> {
        match self.curvature {
            Curvature::Hessian => Ok(None),
            Curvature::GaussNewton => {
                let of = (2 * row_bytes(self.network)?, self.l2);
                RootForm::of_network(self.network, self.images(), of)
            }
        }
    }

    fn image_count(&self) -> usize {
        self.positions.len()
    }

    fn on_images(&self, positions: &[u32]) -> Result<Box<dyn LinearOperator + '_>> {
        Ok(Box::new(Self {
            positions: batch(&self.positions, positions)?,
            ..*self
        }))
    }
}
