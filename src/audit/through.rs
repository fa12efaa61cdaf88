//! What a run's scores go through, and what a page of such a run can say.

use crate::influence::{Normalise, StoredScores};
use crate::model::Blocks;
use crate::report::{Absence, Quantity};

/// What a run's scores go through.
#[derive(Debug, Clone, Copy)]
pub enum Through<'a> {
    /// The head: its system can be solved for other measurements, and it can be fitted again.
    Head,
    /// Residual blocks too, or training itself: what is known is what the run left.
    Blocks {
        /// Those before the head.
        blocks: Blocks,
        /// The run's score matrix, if it kept that.
        scores: Option<&'a StoredScores>,
    },
}

impl Through<'_> {
    pub(super) fn is_head(&self) -> bool {
        matches!(self, Self::Head)
    }

    /// What was differentiated, in words.
    pub(super) fn part(&self) -> String {
        match self {
            Self::Head => "the head alone".into(),
            Self::Blocks { blocks, .. } => match blocks {
                Blocks::Last(0) => "the head alone".into(),
                Blocks::Last(1) => "the last block and the head".into(),
                Blocks::Last(count) => format!("the last {count} blocks and the head"),
                Blocks::All => "the whole network".into(),
            },
        }
    }

    /// What a page has no numbers for, and why, of scores divided by `normalise`; whether self-influence is there is the run's matter.
    pub(super) fn absences(
        &self,
        normalise: Normalise,
        has_self_influence: bool,
        has_held_out_losses: bool,
    ) -> Vec<Absence> {
        let mut absences = Vec::new();
        let mut absent = |what, reason: &str| {
            absences.push(Absence {
                what,
                reason: reason.into(),
            });
        };
        match self {
            Self::Blocks { scores: None, .. } => absent(
                Quantity::MeanScores,
                "This run goes through residual blocks or training itself and kept no score matrix, so that mean scores (what is behind a confusion, what helps and harms on the whole) are not known: rank again with --scores.",
            ),
            Self::Head if normalise != Normalise::None => absent(
                Quantity::MeanScores,
                "Mean scores (what is behind a confusion, what helps and harms on the whole) are not known: scores that were divided (--normalise) add up to no rise of a mean loss; rank again without it.",
            ),
            _ => {}
        }
        if !has_self_influence {
            let reason = match self {
                Self::Head => {
                    "Self-influence is not known: this run left out training images as queries; rank again without --skip-train."
                }
                Self::Blocks { .. } => {
                    "Self-influence is not known: through residual blocks or training itself each training image would take as much work as a test image."
                }
            };
            absent(Quantity::SelfInfluence, reason);
        }
        if !has_held_out_losses {
            absent(
                Quantity::HeldOutLoss,
                "Losses by heads that never saw the image are not known: they were left out (--skip-held-out), or the head has no minimum to be fitted to (no L2 term, or too small a one).",
            );
        }
        absences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_said_with_its_remedy() {
        let blocks = |count| Through::Blocks {
            blocks: Blocks::Last(count),
            scores: None,
        };
        assert_eq!(blocks(0).part(), "the head alone");
        assert_eq!(blocks(1).part(), "the last block and the head");
        assert_eq!(blocks(3).part(), "the last 3 blocks and the head");
        let plain = Normalise::None;
        let absent = blocks(1).absences(plain, false, true);
        assert_eq!(
            [absent[0].what, absent[1].what],
            [Quantity::MeanScores, Quantity::SelfInfluence]
        );
        assert!(absent[0].reason.ends_with("rank again with --scores."));
        assert_eq!(Through::Head.absences(plain, true, true), []);
        assert!(
            Through::Head.absences(plain, false, true)[0]
                .reason
                .contains("--skip-train")
        );
        let divided = Through::Head.absences(Normalise::Cosine, true, true);
        assert_eq!(divided[0].what, Quantity::MeanScores);
        assert!(divided[0].reason.contains("--normalise"), "{divided:?}");
    }
}
