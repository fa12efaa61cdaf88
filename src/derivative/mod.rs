//! The only place that differentiates: gradients of a network, and the closed forms of the classifier head.

mod gradient;
pub mod head;
pub mod network;
mod pixels;

pub use gradient::gradient;
pub use pixels::pixel_gradients;
