//! Data sets: images with labels, ids, class names and a digest, whatever the format on disk.
//!
//! | type or function | what it is |
//! |---|---|
//! | [`Dataset`] | labelled images as stored, still encoded |
//! | [`Pixels`] | some of them decoded, RGB, of one size: the source of batches |
//! | [`Framing`] | their size, and what of an image is left at it |
//! | [`Augmentation`] | train-time crop, flip, colour jitter and rotation |
//! | [`Transform`] | greyscale and low-pass variants of a set |
//! | [`Features`], [`HeadFile`] | images that are already vectors, and a classifier's last layer for them |
//! | [`Rows`] | a matrix used some rows at a time, in memory or in a mapped file |
//! | [`subset`], [`order`], [`batches`] | which examples, in which order |
//! | [`Decisions`], [`flipped`] | images left out, and labels that are not those of the file |
//! | [`faults()`] | all that cannot be used |
//! | [`check_same_classes`] | train and test fit together |
//! | [`digits_train`], [`digits_test`] | the set that is built in |
//!
//! ```
//! use ascribe::data::{Augmentation, Pixels, digits_train, subset};
//! use candle_core::Device;
//!
//! let digits = digits_train()?;
//! let ids = subset(digits.labels(), digits.classes().len(), 100, 0)?;
//! let pixels = Pixels::decode(&digits, &ids, 16)?;
//! let batch = pixels.augmented_batch(&[0, 1, 2], &Augmentation::standard(), 0, 0, &Device::Cpu)?;
//! assert_eq!(batch.dims(), [3, 3, 16, 16]);
//! # Ok::<(), ascribe::Error>(())
//! ```

mod arrays;
mod augmentation;
mod cifar_binary;
mod classes;
mod dataset;
mod decision_files;
mod decisions;
mod digest;
mod digits;
mod directory;
mod faults;
mod features;
mod folder;
mod framing;
mod head_file;
mod idx;
mod image;
mod label_changes;
mod mapped;
mod matlab;
mod npy;
mod npy_header;
mod npz;
mod order;
mod parquet;
mod pixels;
mod present_classes;
pub(crate) mod random;
mod raw_numbers;
mod recognised;
mod resampling;
mod row_writer;
mod rows;
mod safetensors;
mod shards;
mod stored;
mod subset;
mod svhn;
#[cfg(test)]
mod tests;
mod transform;

pub use augmentation::Augmentation;
pub use classes::check_same_classes;
pub(crate) use classes::{are_numbers, listed, numbered};
pub use dataset::{Dataset, Example};
pub use decision_files::DecisionFiles;
pub use decisions::Decisions;
pub(crate) use decisions::line_of;
pub(crate) use digits::is_built_in;
pub use digits::{digits_test, digits_train};
pub(crate) use directory::names_in;
pub use faults::faults;
pub use features::Features;
pub(crate) use folder::has_class_folders;
pub use framing::Framing;
pub use head_file::HeadFile;
pub(crate) use head_file::L2;
pub use image::Image;
pub(crate) use label_changes::{EXCLUDED, RELABELLED, flips_none};
pub use label_changes::{NewLabels, TrainingImages, classes_without, flipped};
pub(crate) use npy::numbers_of_file;
pub(crate) use npy_header::Fault;
pub use order::{batches, order};
pub use pixels::Pixels;
pub(crate) use present_classes::PresentClasses;
pub(crate) use recognised::has_files_of_a_set;
pub use row_writer::RowWriter;
pub use rows::Rows;
pub(crate) use rows::{little_endian, moved};
pub use subset::subset;
pub(crate) use subset::{evenly_spaced, held_back};
pub use transform::Transform;
