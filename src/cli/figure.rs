//! `ascribe figure`: a figure of the paper from finished runs of `ascribe rank`, or from a study.

mod drawn;
mod named_run;
mod of_runs;
mod of_study;
mod test_images;

use self::drawn::Asked;
use self::of_runs::{OfRuns, class_match, helpful_examples, influence_matrix, loss_sensitivity};
use self::of_study::OfStudy;
use self::test_images::TestImages;
use crate::Result;
use crate::artefact::Invocation;
use crate::study::Variable;
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// Options of `ascribe figure`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ascribe figure 6 natural-rank robust-rank --names natural,robust --out figures"
)]
pub struct Figure {
    #[command(subcommand)]
    number: Number,
}

#[derive(Debug, Subcommand)]
enum Number {
    /// Test accuracy against the number of training images, and the difference to the natural source
    #[command(
        name = "1",
        after_help = "Example:\n  ascribe figure 1 study --blocks 3 --out figures"
    )]
    Images(OfStudy),
    /// The same against the epoch
    #[command(
        name = "2",
        after_help = "Example:\n  ascribe figure 2 study --images 3200 --out figures"
    )]
    Epochs(OfStudy),
    /// The same against the number of fine-tuned blocks
    #[command(after_help = "Example:\n  ascribe figure blocks study --images 400 --out figures")]
    Blocks(OfStudy),
    /// The same against ε and norm of the source
    #[command(after_help = "Example:\n  ascribe figure epsilon study --images 400 --out figures")]
    Epsilon(OfStudy),
    /// Test images above how their loss responds to their pixels, by every run's model
    #[command(
        name = "4",
        after_help = "Example:\n  ascribe figure 4 natural-rank robust-rank --images 3,14,15 --out figures"
    )]
    Sensitivity {
        #[command(flatten)]
        of: OfRuns,
        #[command(flatten)]
        images: TestImages,
    },
    /// Test images above the most helpful training image of each, by every run
    #[command(
        name = "5",
        after_help = "Example:\n  ascribe figure 5 robust-rank natural-rank --seed 1 --out figures"
    )]
    Examples {
        #[command(flatten)]
        of: OfRuns,
        #[command(flatten)]
        images: TestImages,
    },
    /// How often the training image at each rank is of the query's class, by every run
    #[command(
        name = "6",
        after_help = "Example:\n  ascribe figure 6 natural-rank robust-rank --out figures"
    )]
    ClassMatch {
        #[command(flatten)]
        of: OfRuns,
    },
    /// Mean scores between classes, of test and training images as queries, by every run (made with --scores)
    #[command(
        name = "matrix",
        after_help = "Example:\n  ascribe figure matrix natural-rank robust-rank --out figures"
    )]
    Matrix {
        #[command(flatten)]
        of: OfRuns,
    },
}

impl Figure {
    /// Runs the command, which was asked for by `invocation`.
    ///
    /// # Errors
    /// A run that is missing, unfinished or without what the figure needs; data that has changed since.
    pub fn run(self, invocation: Invocation) -> Result<ExitCode> {
        let asked = |stem| Asked { stem, invocation };
        match &self.number {
            Number::Images(of) => of.draw(Variable::Images, asked("figure1")),
            Number::Epochs(of) => of.draw(Variable::Epoch, asked("figure2")),
            Number::Blocks(of) => of.draw(Variable::Blocks, asked("blocks")),
            Number::Epsilon(of) => of.draw(Variable::Epsilon, asked("epsilon")),
            Number::Sensitivity { of, images } => {
                of.draw(asked("figure4"), images.options(), |runs| {
                    loss_sensitivity(runs, images)
                })
            }
            Number::Examples { of, images } => {
                of.draw(asked("figure5"), images.options(), |runs| {
                    helpful_examples(runs, images)
                })
            }
            Number::ClassMatch { of } => of.draw(asked("figure6"), [], class_match),
            Number::Matrix { of } => of.draw(asked("influence_matrix"), [], influence_matrix),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}
