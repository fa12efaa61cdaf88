//! The curvature of the training objective through the fine-tuned blocks, computed on a device.
//!
//! A = (1/n) Σ_i C_i + l2·I over the parameters of a [`DeviceNetwork`], with C_i the Hessian or the Gauss–Newton matrix of image
//! i: the same matrix as [`NetworkCurvature`](super::NetworkCurvature)'s, known by its products alone. Products are where the
//! vectors are: on the network's device, or, for methods that keep their vectors on the host, there. All vectors of a block share the
//! values of a pass; nothing is kept between products, as a pass's values are a fifth of a Gauss–Newton product with one vector and
//! less of a block.

use super::{KroneckerForm, LinearOperator, Structure, SymmetricMatrix, Vectors};
use crate::derivative::network::{Curvature, DeviceExamples, DeviceNetwork};
use crate::{Error, Result, number_range};
use candle_core::DType;

/// Bytes that a block of vectors may take inside a product; larger blocks are taken in parts.
const VECTOR_BYTES: usize = 4 << 30;

/// The curvature of mean cross-entropy + l2/2·‖θ‖² over a training set, θ the parameters of a [`DeviceNetwork`].
pub struct DeviceCurvature<'a> {
    network: &'a DeviceNetwork,
    examples: &'a DeviceExamples,
    curvature: Curvature,
    l2: f64,
    positions: Vec<u32>,
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
        })
    }

    /// Which matrix it is.
    pub fn curvature(&self) -> Curvature {
        self.curvature
    }

    /// The network whose parameters the vectors run over.
    pub fn network(&self) -> &'a DeviceNetwork {
        self.network
    }

    /// (1/n) Σ C_i v + l2 v for some vectors.
    fn products(&self, vectors: &Vectors) -> Result<Vectors> {
        let images = (self.examples, &self.positions[..]);
        let there = vectors.tensor().to_device(self.network.device())?;
        let sums = (self.network).curvature_products(self.curvature, images, &there)?;
        let means = (sums / self.positions.len() as f64)?;
        let products = match self.l2 {
            0.0 => means,
            l2 => (means + (there * l2)?)?,
        };
        Vectors::new(products.to_device(vectors.tensor().device())?)
    }
}

impl LinearOperator for DeviceCurvature<'_> {
    fn size(&self) -> usize {
        self.network.size()
    }

    fn dtype(&self) -> DType {
        self.network.dtype()
    }

    fn structure(&self) -> Structure {
        match self.curvature {
            Curvature::Hessian => Structure::Symmetric,
            Curvature::GaussNewton if self.l2 > 0.0 => Structure::PositiveDefinite,
            Curvature::GaussNewton => Structure::PositiveSemidefinite,
        }
    }

    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        vectors.check_size(self.size())?;
        // A direction as it is and turned, in the program's tensors, its sum, and the result.
        let bytes = 4 * self.size() * self.dtype().size_in_bytes();
        let part = (VECTOR_BYTES / bytes.max(1)).max(1);
        if vectors.count() <= part {
            return self.products(vectors);
        }
        let parts = (0..vectors.count()).step_by(part).map(|start| {
            let rows = start..vectors.count().min(start + part);
            self.products(&vectors.narrow(rows)?)
        });
        Vectors::concatenate(&parts.collect::<Result<Vec<_>>>()?)
    }

    fn dense(&self, _: DType) -> Result<SymmetricMatrix> {
        Err(unsupported("writing a network's curvature out"))
    }

    fn diagonal(&self) -> Result<Vec<f64>> {
        Err(unsupported("the diagonal of a network's curvature"))
    }

    /// Of the Gauss–Newton matrix, whichever the curvature is, with the L2 term.
    fn low_rank(&self) -> Result<Option<KroneckerForm>> {
        let form = KroneckerForm::of_device(self.network, (self.examples, &self.positions))?;
        Ok(Some(form.shifted(self.l2)))
    }

    fn image_count(&self) -> usize {
        self.positions.len()
    }

    fn on_images(&self, positions: &[u32]) -> Result<Box<dyn LinearOperator + '_>> {
        let count = self.positions.len();
        if let Some(position) = positions.iter().find(|&&p| p as usize >= count) {
            return Err(Error::mismatch(
                "batch: position of an image",
                format!("below {count}"),
                position,
                "draw positions among the images of the curvature",
            ));
        }
        if positions.is_empty() {
            return Err(Error::config("batch-size", "at least 1 is needed"));
        }
        let place = |&position: &u32| self.positions[position as usize];
        Ok(Box::new(Self {
            positions: positions.iter().map(place).collect(),
            ..*self
        }))
    }
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported {
        what: format!("{what} on a device"),
        instead: "choose --solver cg or identity, or --device cpu".into(),
    }
}
