//! The curvature of the training objective through the fine-tuned blocks, by products over the training images.
//!
//! A = (1/n) Σ_i C_i + l2·I with C_i the Hessian ∇²ℓ_i or the Gauss–Newton matrix J_iᵀ (diag π_i − π_i π_iᵀ) J_i of image i in
//! the parameters of [`Network`]. Images are taken some at a time, and what does not depend on the vectors is shared by all
//! vectors of a block; as much of it as fits into the given memory is kept for the next product. For the Gauss–Newton matrix these
//! are the gradients of all rows of the softmax's root, where those of all images fit or solves go by rows: products then take half
//! the convolutions.
//!
//! The Gauss–Newton matrix is positive semi-definite; the Hessian is not as a rule, and says so by its structure: a solver
//! that meets a negative direction reports it, and [`crate::solve::smallest_eigenvalue`] says how much damping is missing.

use super::{
    KroneckerForm, LinearOperator, RootForm, RootPasses, Structure, SymmetricMatrix, Vectors,
    unit_vectors,
};
use crate::derivative::network::{Beside, Curvature, Examples, Linearisation, Network};
use crate::{Error, Result, number_range};
use candle_core::DType;
use std::sync::{Arc, Mutex};

/// Bytes that a block of vectors takes inside a product at most.
const VECTOR_BYTES: u64 = 1 << 30;
/// Bytes that the rows of a Kronecker form take at most.
const ROW_BYTES: u64 = 1 << 29;

/// The curvature of mean cross-entropy + l2/2·‖θ‖² over a training set, θ the parameters of a [`Network`].
pub struct NetworkCurvature<'a> {
    network: &'a Network,
    examples: &'a Examples,
    curvature: Curvature,
    l2: f64,
    positions: Vec<u32>,
    /// Bytes that the rows of a Kronecker form may take.
    row_bytes: u64,
    /// Those that rows of a root may take at once, with the matrix between them where they are not written out.
    root_bytes: u64,
    /// Those that a block of vectors may take inside a product; larger blocks are taken in parts.
    vector_bytes: u64,
    /// Draws what stands for labels where there are too many of them.
    seed: u64,
    /// How root gradients are taken, where they are.
    roots: RootPasses,
    /// What a kept pass holds beside the values: root gradients only where those of all images fit, or solves go by rows.
    kept_beside: Beside,
    /// One place for each pass that may be kept.
    kept: Mutex<Vec<Option<Arc<Linearisation>>>>,
}

impl<'a> NetworkCurvature<'a> {
    /// The curvature over all `examples`; `memory` bytes may be taken to keep passes between products.
    ///
    /// # Errors
    /// An l2 that is negative or not finite.
    pub fn new(
        network: &'a Network,
        examples: &'a Examples,
        curvature: Curvature,
        l2: f64,
        memory: u64,
    ) -> Result<Self> {
        number_range::at_least_zero("l2", l2)?;
        let positions: Vec<u32> = (0..examples.count() as u32).collect();
        let roots = positions.len() * network.linearisation_bytes(Beside::RootGradients);
        let kept_beside = match curvature {
            Curvature::GaussNewton
                if network.root_gradients_pay(1, true) && roots as u64 <= memory =>
            {
                Beside::RootGradients
            }
            curvature => needed(curvature),
        };
        let images = network.pass_images_beside(kept_beside);
        let pass = network.linearisation_bytes(kept_beside) * images;
        let passes = positions.len().div_ceil(images);
        let (kept, roots) = match kept_beside {
            Beside::RootGradients => (passes, RootPasses::whole(network, positions.len())),
            _ => (
                (memory / pass.max(1) as u64).min(passes as u64) as usize,
                roots_within(network, positions.len(), memory),
            ),
        };
        Ok(Self {
            network,
            examples,
            curvature,
            l2,
            positions,
            row_bytes: memory.min(ROW_BYTES),
            root_bytes: memory,
            vector_bytes: VECTOR_BYTES,
            seed: 0,
            roots,
            kept_beside,
            kept: Mutex::new(vec![None; kept]),
        })
    }

    /// For solves by the rows of its root, where it has one: what is kept are the root gradients of as many images as fit beside the
    /// matrix between the rows.
    #[must_use]
    pub fn solved_by_rows(mut self) -> Self {
        if self.has_roots() {
            self.roots = roots_within(self.network, self.positions.len(), self.root_bytes);
            self.kept_beside = Beside::RootGradients;
            let kept = self.roots.held.div_ceil(self.roots.images);
            self.kept = Mutex::new(vec![None; kept]);
        }
        self
    }

    /// Of the memory, `low_rank` bytes are for the rows of a low rank and `vectors` for those of a product.
    #[must_use]
    pub fn with_bytes(mut self, low_rank: u64, vectors: u64) -> Self {
        self.row_bytes = low_rank.min(ROW_BYTES);
        self.vector_bytes = vectors.min(VECTOR_BYTES);
        self
    }

    /// Draws from `seed` what stands for labels in a Kronecker form.
    #[must_use]
    pub fn drawing_from(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The most rows that [`LinearOperator::low_rank`] has within `memory` bytes.
    pub fn low_rank_rows(network: &Network, memory: u64) -> usize {
        super::kronecker::rows_within(network, memory.min(ROW_BYTES))
    }

    /// Which matrix it is.
    pub fn curvature(&self) -> Curvature {
        self.curvature
    }

    /// The network whose parameters the vectors run over.
    pub fn network(&self) -> &'a Network {
        self.network
    }

    /// The images it is a mean over.
    pub fn examples(&self) -> &'a Examples {
        self.examples
    }

    /// l2.
    pub fn l2(&self) -> f64 {
        self.l2
    }

    /// Passes kept at the moment.
    pub fn kept_passes(&self) -> usize {
        self.lock().iter().flatten().count()
    }

    /// What passes hold for products with `count` vectors, those of a size that can be kept and those that are made anew: of these
    /// and the memory alone, so that a run has the same products whatever came before.
    fn beside(&self, count: usize) -> (Beside, Beside) {
        let roots = self.network.root_gradients_pay(count, false);
        match (self.kept_beside, roots) {
            (Beside::Nothing, true) => (Beside::RootGradients, Beside::RootGradients),
            (Beside::RootGradients, false) => (Beside::RootGradients, Beside::Nothing),
            (kept, _) => (kept, kept),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Arc<Linearisation>>>> {
        // What is in there is whole, whatever became of the thread that put it there.
        self.kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The linearisation of a pass, made or kept.
    fn pass(
        &self,
        index: usize,
        positions: &[u32],
        (kept, anew): (Beside, Beside),
    ) -> Result<Arc<Linearisation>> {
        let make = |beside| {
            Ok(Arc::new(self.network.linearise(
                self.examples,
                positions,
                beside,
            )?))
        };
        if kept != self.kept_beside || index >= self.lock().len() {
            return make(anew);
        }
        if let Some(Some(kept)) = self.lock().get(index) {
            return Ok(Arc::clone(kept));
        }
        let made = make(kept)?;
        if let Some(place) = self.lock().get_mut(index) {
            *place = Some(Arc::clone(&made));
        }
        Ok(made)
    }

    /// Whether solves can go by root gradients.
    fn has_roots(&self) -> bool {
        let is_root = self.curvature == Curvature::GaussNewton;
        is_root && RootPasses::serve(self.network, self.positions.len())
    }

    /// How root gradients are taken.
    pub(super) fn root_passes(&self) -> RootPasses {
        self.roots
    }

    /// Them, pass by pass from the one numbered `first`, made or kept.
    pub(super) fn root_linearisations(
        &self,
        first: usize,
    ) -> impl Iterator<Item = Result<Arc<Linearisation>>> {
        let positions = self.positions.chunks(self.roots.images).enumerate();
        let beside = (Beside::RootGradients, Beside::RootGradients);
        let positions = positions.skip(first);
        positions.map(move |(index, positions)| self.pass(index, positions, beside))
    }

    /// Σ C_i v for some vectors.
    fn sums(&self, vectors: &Vectors) -> Result<Vectors> {
        let (kept, anew) = self.beside(vectors.count());
        let images = match (kept, self.kept_beside) {
            (Beside::RootGradients, Beside::RootGradients) => self.roots.images,
            _ => self.network.pass_images_beside(kept),
        };
        let passes = self.positions.chunks(images).enumerate();
        let mut parts = passes.map(|(index, positions)| self.pass(index, positions, (kept, anew)));
        let network = self.network;
        Vectors::new(network.curvature_products(self.curvature, vectors.tensor(), &mut parts)?)
    }

    fn images(&self) -> (&Examples, &[u32]) {
        (self.examples, &self.positions)
    }

    fn scale(&self) -> f64 {
        1.0 / self.positions.len() as f64
    }
}

/// For solves by rows, whatever the memory.
fn roots_within(network: &Network, images: usize, memory: u64) -> RootPasses {
    let passes = RootPasses::within(network, images, memory);
    passes.unwrap_or_else(|| RootPasses::fewest(network))
}

/// What products cannot do without.
fn needed(curvature: Curvature) -> Beside {
    match curvature {
        Curvature::Hessian => Beside::Gradients,
        Curvature::GaussNewton => Beside::Nothing,
    }
}

/// What is known of a network's curvature with its L2 term.
pub(super) fn structure(curvature: Curvature, l2: f64) -> Structure {
    match curvature {
        Curvature::Hessian => Structure::Symmetric,
        Curvature::GaussNewton if l2 > 0.0 => Structure::PositiveDefinite,
        Curvature::GaussNewton => Structure::PositiveSemidefinite,
    }
}

/// Of a curvature's `images` those at `positions`.
///
/// # Errors
/// No position, or one out of range.
pub(super) fn batch(images: &[u32], positions: &[u32]) -> Result<Vec<u32>> {
    let count = images.len();
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
    let place = |&position: &u32| images[position as usize];
    Ok(positions.iter().map(place).collect())
}

impl LinearOperator for NetworkCurvature<'_> {
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
        let bytes = self.network.product_bytes().max(1) as u64;
        let part = (self.vector_bytes / bytes).max(1) as usize;
        let sums = vectors.in_parts(part, &|rows| self.sums(rows))?;
        let scale = vec![self.scale(); vectors.count()];
        match self.l2 {
            0.0 => sums.scaled(&scale),
            l2 => vectors
                .scaled(&vec![l2; vectors.count()])?
                .add_scaled(&scale, &sums),
        }
    }

    /// By products with the unit vectors: for small networks.
    fn dense(&self, dtype: DType) -> Result<SymmetricMatrix> {
        unit_vectors::written_out(self, dtype)
    }

    /// (1/n) Σ_i Σ_c π_ic (∇ℓ_i(c))² + l2 with ℓ_i(c) the loss of image i at the label c: exact for the Gauss–Newton matrix, at
    /// C backward passes for each image.
    fn diagonal(&self) -> Result<Vec<f64>> {
        if self.curvature == Curvature::Hessian {
            let what = "the diagonal of a network's Hessian";
            let instead = "choose --curvature gauss-newton, or a solver without it";
            return Err(Error::unsupported(what, instead));
        }
        let mut sums = vec![0.0; self.size()];
        self.network
            .add_gauss_newton_diagonal(self.examples, &self.positions, &mut sums)?;
        let mean = |sum: f64| sum * self.scale() + self.l2;
        Ok(sums.into_iter().map(mean).collect())
    }

    /// Of the Gauss–Newton matrix, whichever the curvature is, with the L2 term.
    fn ekfac(&self) -> Result<Option<KroneckerForm>> {
        let form = KroneckerForm::ekfac(self.network, self.images(), self.seed)?;
        Ok(Some(form.shifted(self.l2)))
    }

    /// Of the Gauss–Newton matrix, whichever the curvature is, with the L2 term; without rows where memory has no room.
    fn low_rank(&self) -> Result<Option<KroneckerForm>> {
        let drawn = (self.row_bytes, self.seed);
        let form = KroneckerForm::low_rank(self.network, self.images(), drawn)?;
        Ok(Some(form.shifted(self.l2)))
    }

    /// Of the Gauss–Newton matrix; the Hessian has none.
    fn root(&self) -> Result<Option<RootForm<'_>>> {
        match self.curvature {
            Curvature::Hessian => Ok(None),
            Curvature::GaussNewton if self.has_roots() => Ok(Some(RootForm::of_curvature(self))),
            Curvature::GaussNewton => {
                let of = (self.root_bytes, self.l2);
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
            kept_beside: needed(self.curvature),
            kept: Mutex::new(Vec::new()),
            ..*self
        }))
    }
}
