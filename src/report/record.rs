//! What an audit's page shows: plain records, no tensors.
//!
//! Images are named by position: queries and training images each have one list that all models share, in the order of their
//! ids, and everything else says where in it. Scores are in nats, positive = helpful.

use crate::evaluate::{Interval, PairedRankings};
use serde::Serialize;

/// Everything on the page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    /// The page's heading.
    pub title: String,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// The test images.
    pub queries: Vec<LabelledImage>,
    /// Test images of the runs that are left out, as the models predict different classes and there are no labels.
    pub left_out: usize,
    /// Whether their labels are their own, rather than what the model predicts.
    pub labelled: bool,
    /// The training images of any model.
    pub training: Vec<LabelledImage>,
    /// Of what file these are.
    pub training_data: TrainingData,
    /// One model, or two side by side.
    pub models: Vec<AuditedModel>,
    /// How the second ranks the same queries, by their kind; empty where there is one model.
    pub paired: Vec<PairedQueries>,
    /// Images that are the same, or more or less so: the most alike first.
    pub duplicates: Vec<Duplicates>,
    /// Whose features say what is more or less the same.
    pub compared: Compared,
    /// How alike images are at least that the page begins with, and that tables hold.
    pub alike: f64,
}

impl Audit {
    /// Those that are at least as alike as is asked for.
    pub(crate) fn alike(&self) -> impl Iterator<Item = &Duplicates> {
        let alike = |group: &&Duplicates| group.similarity >= self.alike;
        self.duplicates.iter().filter(alike)
    }
}

/// The data set whose rows the training images are; decisions on them say that they are on this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrainingData {
    /// Its digest, as in `run.json`.
    pub digest: String,
    /// How many images it has: ids are below.
    pub rows: usize,
    /// The files of [`Audit::training`], one each, where the set is a folder of files; else none.
    pub files: Vec<String>,
    /// Those of [`Audit::queries`], likewise.
    pub query_files: Vec<String>,
}

/// An image of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LabelledImage {
    /// Its id in the data set.
    pub id: usize,
    /// Its label's number.
    pub label: usize,
}

/// What one model makes of the images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditedModel {
    /// What it is called.
    pub name: String,
    /// What was trained on what, and what came of it.
    pub facts: Vec<Fact>,
    /// How far the scores can be trusted, in plain words.
    pub statements: Vec<Statement>,
    /// The unit of the scores.
    pub unit: String,
    /// Class match by rank.
    pub class_match: Vec<ClassMatchCurve>,
    /// One for each query.
    pub queries: Vec<ModelQuery>,
    /// One for each training image; `None` where this model was not trained on it.
    pub training: Vec<Option<ModelTrainingImage>>,
    /// Groups of training images that were scored as a whole, in the order of their names.
    pub groups: Vec<TrainingGroup>,
    /// Cells of the confusion matrix with at least one query.
    pub confusions: Vec<Confusion>,
    /// What there are no numbers of, so that lists by it are empty.
    pub absences: Vec<Absence>,
}

/// Something that a run does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Absence {
    /// What.
    pub what: Quantity,
    /// Why, and what would help, in a sentence.
    pub reason: String,
}

/// Numbers that some runs do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Means of scores over queries: of a confusion, and of all.
    MeanScores,
    /// Scores of training images on themselves.
    SelfInfluence,
    /// Losses by heads that never saw the image.
    HeldOutLoss,
    /// The most helpful images of each query.
    HelpfulEnd,
    /// The most harmful images of each query.
    HarmfulEnd,
}

/// One line of a table of facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What.
    pub name: String,
    /// Its value with its unit.
    pub value: String,
}

/// A sentence on trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// What it does to trust.
    pub tone: Tone,
    /// The sentence.
    pub text: String,
}

/// What a statement does to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// A reason to trust.
    Good,
    /// To be known, neither way.
    Note,
    /// A reason to doubt.
    Warning,
}

/// How often the image at a rank has the query's class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassMatchCurve {
    /// The queries in words.
    pub queries: String,
    /// The match of a random ranking, in percent.
    pub chance_percent: f64,
    /// Percent by rank, from rank 1.
    pub percent: Vec<f64>,
}

/// How two models rank for the same queries.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairedQueries {
    /// The queries in words.
    pub queries: String,
    /// The second model held against the first.
    pub difference: PairedRankings,
}

/// A query at one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelQuery {
    /// The most probable class.
    pub prediction: usize,
    /// Of each class.
    pub probabilities: Vec<f64>,
    /// In nats, at the label.
    pub loss: f64,
    /// Most helpful first.
    pub helpful: Vec<Ranked>,
    /// Most harmful first.
    pub harmful: Vec<Ranked>,
    /// Groups behind it: places in [`AuditedModel::groups`] and scores, as ranked.
    pub groups: Vec<(usize, f64)>,
    /// What the loss does without the most helpful images, where it was measured.
    pub removal: Option<Removal>,
    /// Which images hold the prediction, where it was looked for.
    pub flip: Option<Flip>,
}

/// A training image behind a query.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ranked {
    /// Its position among the training images.
    pub train: usize,
    /// In nats.
    pub score: f64,
    /// Whether its rank is proven; `None` where no proof was asked for.
    pub certified: Option<bool>,
}

/// The rise of a query's loss without its most helpful training images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Removal {
    /// So many of the most helpful.
    pub images: usize,
    /// The sum of their scores, in nats.
    pub predicted: f64,
    /// After the head was fitted again without them, or the model trained again without their losses, in nats.
    pub measured: f64,
    /// Whether that fit converged; `None` of a training.
    pub converged: Option<bool>,
}

/// The fewest training images found without which the prediction is another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flip {
    /// Their positions; empty where none of the tried removals changed the prediction.
    pub images: Vec<usize>,
    /// The class that a head fitted to all images predicts: where training stopped short of that it may be another than the
    /// model's.
    pub before: usize,
    /// The class that a head fitted without them predicts.
    pub prediction: usize,
    /// Most images that were tried.
    pub tried: usize,
    /// The fit without so many did not converge, where the search ended.
    pub unsettled: Option<usize>,
}

/// A training image at one model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ModelTrainingImage {
    /// The label it was trained with: a decision may have changed it between two runs.
    pub label: usize,
    /// The most probable class.
    pub prediction: usize,
    /// Of its label.
    pub probability: f64,
    /// In nats.
    pub loss: f64,
    /// By a head fitted without the image, in nats, where such heads were fitted.
    pub held_out_loss: Option<f64>,
    /// Of the image on itself, in nats, where it was computed.
    pub self_influence: Option<f64>,
    /// The mean score over all queries, in nats, where it is known: positive = it helps them on the whole.
    pub mean_score: Option<f64>,
}

/// A group of training images, such as those of one origin.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainingGroup {
    /// What it is called.
    pub name: String,
    /// Positions of its images.
    pub images: Vec<usize>,
    /// The rise of the queries' mean loss in nats that is predicted without it.
    pub score: f64,
    /// What happens without it, where that was measured.
    pub measured: Option<MeasuredGroup>,
}

/// What happens without a group of training images, by a head fitted again; means over all queries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MeasuredGroup {
    /// Rise of the mean loss in nats.
    pub rise: Interval,
    /// What is added to the share of queries predicted right.
    pub right_change: Option<Interval>,
    /// Whether that fit converged.
    pub converged: bool,
}

/// The queries with one label and one prediction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confusion {
    /// The label.
    pub label: usize,
    /// The prediction.
    pub prediction: usize,
    /// Positions of the queries.
    pub queries: Vec<usize>,
    /// Whether mean scores over them were computed.
    pub computed: bool,
    /// Training images with the largest mean scores above 0.
    pub helpful: Vec<Ranked>,
    /// Those with the smallest below 0: without them the label becomes more probable.
    pub harmful: Vec<Ranked>,
}

/// Images that are the same, or more or less so.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Duplicates {
    /// Why they are listed together.
    pub kind: Likeness,
    /// How alike, the mean of the cosines of features and of thumbnails; 1 for equal pixels.
    pub similarity: f64,
    /// Positions of the training images.
    pub training: Vec<usize>,
    /// Positions of the queries: not empty is a leak from train to test.
    pub queries: Vec<usize>,
}

/// What near-duplicates were looked for by: features of one model. Equal pixels are looked for among all images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// The model's position.
    pub model: usize,
    /// How many of the training images have its features.
    pub images: usize,
}

/// In what images are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Likeness {
    /// Every pixel.
    Pixels,
    /// Features and thumbnails, nearly; features alone where there are no pictures.
    Near,
}
