//! The ResNet family: architecture, layers, parameters, weight files.

mod architecture;
mod blocks;
mod checkpoint;
mod features;
mod forward;
mod layers;
mod normalisation;
pub mod op;
mod parameters;
mod pass;
mod resnet;
mod source;
mod trace;
mod weight_file;

pub use architecture::{Architecture, Block, BlockKind, Stem};
pub use blocks::Blocks;
pub use checkpoint::{Checkpoint, Misfit, Origin, SourceSettings, source_from_bytes};
pub use features::features;
pub(crate) use features::{fewer_if_large, images_at_once};
pub(crate) use layers::{NormedConvolution, Segment};
pub use normalisation::Normalisation;
pub(crate) use parameters::check_side;
pub use parameters::expected_shapes;
pub use pass::Pass;
pub use resnet::ResNet;
pub(crate) use resnet::{EPSILON, MOMENTUM, is_statistic};
pub use source::{Backbone, open_backbone, open_source};
pub(crate) use source::{holds_weights, is_weight_file, source_bytes, weight_files};
pub(crate) use trace::{LayerTrace, NormTrace, Traced};
pub use weight_file::{StoredWeights, model_from_bytes, read_model, write_model, write_model_with};
pub(crate) use weight_file::{tensors_from_bytes, write_tensors};
