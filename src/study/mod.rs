//! Studies: a grid of transfers over the paper's six variables, its results in one table, and curves drawn from it.
//!
//! Source (ε, norm), target set, number of images, fine-tuned blocks, epochs and seed make a grid of [`Cell`]s. Each is one
//! call of [`transfer`](crate::train::transfer()), the one behind `ascribe transfer`, in a folder named by the digest of
//! everything that determines it: what is finished is not done again, whatever else changed in the spec.
//!
//! | | |
//! |---|---|
//! | [`Spec`] | the grid and the recipe, from a TOML file |
//! | [`Material`] | sources and target sets, opened once |
//! | [`Study`] | which runs there are and which are finished; runs the rest side by side |
//! | [`Plan`] | how long that takes, from timed steps |
//! | [`Row`], [`SearchRow`] | the tables |
//! | [`Summary`] | means over seeds with bootstrap intervals, differences paired by seed |

mod axes;
mod finished;
mod grid;
mod image_count;
mod material;
mod plan;
mod radius;
mod run;
mod search;
mod spec;
mod summary;
mod table;
mod target;
mod work;

pub use axes::Axes;
pub use grid::{Cell, Job};
pub use image_count::ImageCount;
pub use material::Material;
pub use plan::{Plan, Timing};
pub use run::Outcome;
pub use search::SearchRow;
pub use spec::{Search, SourceSpec, Spec, TargetSpec};
pub use summary::{Curve, Point, Selection, Summary, Variable};
pub use table::{RESULTS, Row, SEARCH, read_results, run_count, write_results, write_search};
pub use work::{Follower, Study};
