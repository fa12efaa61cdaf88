//! Bytes of a run, and the blocks that fit into those there are.

use super::ProblemSize;
use crate::artefact::{gib, physical_memory_bytes};
use crate::influence::BlockSizes;
use crate::influence::damping_path::Systems;
use crate::influence::side_by_side::LANES;
use crate::solve::{MIXED_ABOVE, Method, TILE, are_residuals_by_matrix, strong_parameters};
use crate::{Error, Result};

/// Rows in memory: as read, with a constant appended, and in feature axes.
const COPIES: f64 = 3.0;
/// Matrices of the size of the features' second moment that are alive while its eigenvectors are found.
const AXES: f64 = 6.0;
/// The share of the memory that the resident rows of one side may take.
const RESIDENT_SHARE: f64 = 1.0 / 8.0;
/// Bytes of axes of so few classes that the least memory for anything else is asked for by name.
const FEW_CLASSES: f64 = 1e8;

/// Blocks of solutions that are alive at once: right-hand sides, solutions, products, residuals and copies; where steps are
/// preconditioned, directions and what makes these besides.
fn blocks_alive(method: Method) -> f64 {
    match method {
        Method::Cg | Method::Astra => 10.0,
        _ => 6.0,
    }
}

impl ProblemSize {
    fn width(&self) -> f64 {
        if self.double { 8.0 } else { 4.0 }
    }

    /// Bytes that are needed whatever the blocks.
    pub(super) fn fixed_bytes(&self, method: Method) -> f64 {
        let matrix = match method {
            Method::Direct | Method::Auto => self.factor_bytes(),
            // That of the preconditioner.
            Method::Cg | Method::Astra => {
                self.width() * (strong_parameters(self.parameters() as usize) as f64).powi(2)
            }
            _ => 0.0,
        };
        self.row_bytes() + self.kept_bytes() + self.certificate_bytes() + matrix
    }

    /// The factor is f32 but for small f64 problems. Half of it holds the matrix where residuals are by that, with its diagonal's tiles
    /// besides. Else nearly half is never written, and takes memory only where the system hands out large pages unasked: that is not
    /// counted on.
    fn factor_bytes(&self) -> f64 {
        let parameters = self.parameters();
        let size = parameters as usize;
        let number = match self.double && size <= MIXED_ABOVE {
            true => 8.0,
            false => 4.0,
        };
        let tiles = match are_residuals_by_matrix(self.train, size, self.precision()) {
            true => (TILE.min(size)) as f64,
            false => 0.0,
        };
        number * parameters * (parameters + tiles)
    }

    /// Resident rows in their three forms, and the axes.
    fn row_bytes(&self) -> f64 {
        let columns = (self.features + 1) as f64;
        COPIES * self.width() * self.resident_rows() * columns + 8.0 * columns * columns
    }

    fn resident_rows(&self) -> f64 {
        let resident = |count: usize, mapped: bool| if mapped { 0 } else { count };
        let train = resident(self.train, self.mapped_train);
        (train + resident(self.test, self.mapped_test)) as f64
    }

    /// Both sides once more in f64, where they are wanted so and are not already, and for certificates all solutions where they are
    /// the training images': in f64, and in the precision of the run what is left of each for another round, and each scaled for
    /// products, which a device joins from parts.
    fn certificate_bytes(&self) -> f64 {
        let columns = (self.features + 1) as f64;
        let wider = match self.is_in_f64_too() && !self.double {
            true => 2.0 * 8.0,
            false => 0.0,
        };
        let solutions = match self.solves() {
            ("train", count) if self.certified => count,
            _ => 0.0,
        };
        let copies = match self.device_memory {
            Some(_) => 3.0,
            None => 2.0,
        };
        let number = 8.0 + copies * self.width();
        wider * self.resident_rows() * columns + number * solutions * self.parameters()
    }

    /// Position and score of up to four times the ranks kept, and twice once more while they are recorded; and sums of groups,
    /// once more likewise.
    fn kept_bytes(&self) -> f64 {
        let train = if self.train_queries { self.train } else { 0 };
        let kept = self.kept.min(self.train);
        let most = (4 * kept).min(self.train) + 2 * kept;
        16.0 * (most * (self.test + train) + self.train_groups * self.test) as f64
    }

    /// What finding the axes takes at its height.
    fn axes_bytes(&self) -> f64 {
        let columns = (self.features + 1) as f64;
        let largest = self.train.max(self.test).min(4096) as f64;
        8.0 * (AXES * columns * columns + 3.0 * largest * columns)
    }

    fn block_bytes(&self, method: Method, blocks: BlockSizes) -> f64 {
        let solved = blocks.solved.min(self.solves().1 as usize) as f64;
        let gradients = blocks.gradients.min(self.train.max(self.test)) as f64;
        let row = self.width() * self.parameters();
        let rows = blocks_alive(method) * solved + 2.0 * gradients;
        row * rows + self.score_bytes() * solved * gradients
    }

    /// Products and scores of a pair of images, in the blocks that are at work side by side.
    fn score_bytes(&self) -> f64 {
        LANES as f64 * (self.width() + 8.0)
    }

    /// The axes of the classes are a matrix `[C, C − 1]`, whose number a single wrong label can make absurd.
    pub(super) fn check_classes(&self, memory: Option<f64>) -> Result<()> {
        let room = memory.or_else(|| physical_memory_bytes().map(|bytes| bytes as f64));
        let bytes = 2.0 * 8.0 * (self.classes as f64).powi(2);
        match room {
            Some(room) if bytes > room.max(FEW_CLASSES) => Err(Error::mismatch(
                "classes",
                format!("few enough for {} GiB of memory", gib(room)),
                format!("{}, which take {}", self.classes, gib(bytes)),
                "look for a label that is far above the others: classes are counted from 0 to the largest",
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn peak(&self, method: Method, blocks: BlockSizes, path: f64) -> f64 {
        let scoring = self.fixed_bytes(method) + self.block_bytes(method, blocks).max(path);
        scoring.max(self.row_bytes() + self.axes_bytes())
    }

    /// What of `memory` bytes is left beside what is there whatever the blocks; `None` where there is no limit.
    pub fn room(&self, method: Method, memory: Option<f64>) -> Option<f64> {
        memory.map(|memory| memory - self.fixed_bytes(method))
    }

    /// Bytes and operations of a damping path; none where there is no path.
    pub(super) fn path(&self, method: Method, memory: Option<f64>) -> Result<(f64, f64)> {
        let Some(queries) = self.path_queries else {
            return Ok((0.0, 0.0));
        };
        let (queries, parameters) = (queries.min(self.test), self.parameters());
        let room = self.room(method, memory);
        let systems = Systems::plan(method, queries, self.train, parameters, room)?;
        let operations = systems.operations(queries, self.train, parameters);
        Ok((systems.bytes, self.in_double(operations)))
    }

    /// Blocks on a device, where these may take a quarter of what certificates leave free, and of a limit.
    fn device_blocks(
        &self,
        method: Method,
        (free, memory): (f64, Option<f64>),
    ) -> Result<BlockSizes> {
        let held = self.certificate_bytes();
        if held > 0.75 * free {
            let (option, remedy) = match self.certified {
                true => (
                    "certify",
                    "add --skip-train, so that queries are solved for and not all training images, or ",
                ),
                false => ("damping-path", ""),
            };
            let reason = format!(
                "keeps {} GiB on the device, where {} are free; {remedy}choose --device cpu",
                gib(held),
                gib(free)
            );
            return Err(Error::config(option, reason));
        }
        let free = memory.unwrap_or(f64::INFINITY).min(free - held);
        let usual = BlockSizes::usual(self.parameters() as usize, true);
        let rows = free / 4.0 / (self.width() * self.parameters());
        Ok(BlockSizes {
            solved: (usual.solved).min((0.75 * rows / blocks_alive(method)).max(1.0) as usize),
            gradients: usual.gradients.min((0.25 * rows / 2.0).max(1.0) as usize),
        })
    }

    /// The usual blocks, or smaller ones that fit.
    pub(super) fn blocks(&self, method: Method, memory: Option<f64>) -> Result<BlockSizes> {
        if let Some(free) = self.device_memory {
            return self.device_blocks(method, (free as f64, memory));
        }
        let usual = BlockSizes::usual(self.parameters() as usize, false);
        let Some(memory) = memory else {
            return Ok(usual);
        };
        let row = self.width() * self.parameters();
        let rows = (memory - self.fixed_bytes(method)) / row;
        let alive = blocks_alive(method);
        let least = alive + 2.0;
        if rows < least {
            let needed = self.fixed_bytes(method) + least * row;
            let reason = format!(
                "{} GiB are too little for {method}, which needs {}; give more, or choose another --solver",
                gib(memory),
                gib(needed)
            );
            return Err(Error::config("memory", reason));
        }
        // Half for solutions, and the rest for gradients and the scores of both.
        let solved = usual.solved.min((0.5 * rows / alive).max(1.0) as usize);
        let left = (rows - alive * solved as f64) * row;
        let gradients = left / (2.0 * row + self.score_bytes() * solved as f64);
        Ok(BlockSizes {
            solved,
            gradients: usual.gradients.min(gradients.max(1.0) as usize),
        })
    }
}

/// The most bytes that a file of f32 features may have before it is mapped: its rows in memory would take more than an
/// eighth of `memory`, or of the machine's where there is no limit; `None` where that is unknown.
pub fn resident_limit(memory: Option<f64>, double: bool) -> Option<u64> {
    let memory = memory.or_else(|| physical_memory_bytes().map(|bytes| bytes as f64))?;
    let wider = if double { 2.0 } else { 1.0 };
    Some((memory * RESIDENT_SHARE / (COPIES * wider)) as u64)
}
