//! Which training images a transferred image classifier's prediction rests on, and how far that answer can be trusted.
//!
//! Data flows one way through the modules, top to bottom; a module imports only from those above it:
//!
//! | module | what lives there |
//! |---|---|
//! | [`error`] | the one error type |
//! | [`device`] | the processor or a CUDA device |
//! | [`artefact`] | files that are never half-written, run folders, `run.json` |
//! | [`fetch`] | named data sets and models from the hub, checked by digest |
//! | [`data`] | data sets, their formats, transforms, subsets, digests |
//! | [`model`] | the ResNet family, its blocks and layers, weight files |
//! | [`derivative`] | the only place that differentiates |
//! | [`train`] | source training (natural, adversarial) and transfer |
//! | [`operator`] | curvature as linear operators |
//! | [`solve`] | one file per solver; outcomes |
//! | [`influence`] | queries in, scores out |
//! | [`evaluate`] | whether a ranking is true |
//! | [`study`] | grids of transfers, their tables and means |
//! | [`figure`] | one file per figure, drawn from plain records |
//! | [`report`] | the audit, a page written from plain records |
//! | [`audit`] | what a page says of runs that is not in their files |
//! | [`repetition`] | whether a repeated run left the same |
//! | [`cli`] | one file per command |
#![deny(missing_docs)]

pub mod artefact;
pub mod audit;
pub mod cli;
pub mod data;
mod decoder_panic;
pub mod derivative;
mod descending;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod fetch;
pub mod figure;
mod in_parallel;
pub mod influence;
mod median;
pub mod model;
mod number_range;
pub mod operator;
mod product;
pub mod repetition;
pub mod report;
pub mod solve;
mod stand_in;
pub mod study;
pub mod train;

pub use decoder_panic::silence_caught;
pub use error::{Error, Result};
pub use product::start_with_best_kernels;
