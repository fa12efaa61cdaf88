//! What an audit says of finished runs: everything on the page that is not in a run's files already.
//!
//! | what | how | where |
//! |---|---|---|
//! | which training images a confusion rests on | mean scores over its queries: a solve a cell, or through residual blocks rows of the run's score matrix | [`audited`] |
//! | what the loss does without the most helpful images | the head fitted again without them, or the transfer trained again | [`Measured`], `trained_again` |
//! | how few images hold a prediction | a margin's scores give the order, refits the answer | [`Measured`] |
//! | how two models rank for the same queries | class match and overlap, query by query | [`paired`] |
//! | which images are the same | pixels by digest, features by cosine | [`duplicates`] |
//! | to which pixels a loss is sensitive | its gradient, clipped | [`sensitivity`] |
//! | how far to trust all that | sentences from what the run recorded | `statements`, `through_blocks`, `unrolled` |

mod confusions;
mod duplicates;
mod facts;
mod fewest_images;
mod fitted;
mod groups;
mod measured;
mod model;
mod paired;
mod sensitivity;
mod statements;
mod subject;
mod through;
mod through_blocks;
mod trained_again;
mod unrolled;

pub use duplicates::{Side, duplicates};
pub use groups::RunGroups;
pub use measured::{MeasureOptions, Measured};
pub use model::audited;
pub use paired::paired;
pub use sensitivity::sensitivity;
pub use subject::{Lists, Subject, worth_measuring};
pub use through::Through;
pub use trained_again::{Retraining, Trainings};
pub use unrolled::is_unrolled;
