//! The only place that differentiates: gradients of a network, and the closed forms of the classifier head.

mod gradient;
pub mod head;
pub mod network;
mod pixels;
mod reverse;

pub use gradient::gradient;
pub use pixels::pixel_gradients;
pub use reverse::{
    LossGradients, LossGradientsOf, OfInput, loss_gradients, weighted_loss_gradients,
};
