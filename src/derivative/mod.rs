//! The only place that differentiates: gradients of a network, and the closed forms of the classifier head.

mod gradient;
pub mod head;
pub mod network;

pub use gradient::gradient;
