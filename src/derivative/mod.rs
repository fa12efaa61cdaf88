//! The only place that differentiates: gradients of a network, and the closed forms of the classifier head.

mod gradient;
pub mod head;

pub use gradient::gradient;
