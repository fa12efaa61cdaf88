//! What an audit says of finished runs: everything on the page that is not in a run's files already.
//!
//! | what | how | where |
//! |---|---|---|
//! | which training images a confusion rests on | mean scores over its queries, one solve a cell | [`audited`] |
//! | what the loss does without the most helpful images | the head fitted again without them | [`Measured`] |
//! | how few images hold a prediction | a margin's scores give the order, refits the answer | [`Measured`] |
//! | which images are the same | pixels by digest, features by cosine | [`duplicates`] |
//! | to which pixels a loss is sensitive | its gradient, clipped | [`sensitivity`] |
//! | how far to trust all that | sentences from what the run recorded | `statements` |

mod duplicates;
mod measured;
mod model;
mod sensitivity;
mod statements;

pub use duplicates::{Side, duplicates};
pub use measured::{MeasureOptions, Measured};
pub use model::{Lists, Subject, audited, worth_measuring};
pub use sensitivity::sensitivity;
