//! An audit of any size over the embedded digits, with numbers that are easy to tell.

use ascribe::data::{Dataset, digits_test, digits_train};
use ascribe::evaluate::{Interval, PairedRankings};
use ascribe::report::{
    Audit, AuditedModel, ClassMatchCurve, Compared, Confusion, Duplicates, Fact, Flip,
    LabelledImage, Layout, Likeness, MeasuredGroup, ModelQuery, ModelTrainingImage, PairedQueries,
    Pictures, Ranked, Removal, Statement, Tone, TrainingData, TrainingGroup, write,
};
use std::collections::BTreeMap;
use std::path::Path;

/// A class name that is markup, were it taken for that.
pub const HOSTILE: &str = "<img src=x onerror=\"window.hostile=1\"><b>zero</b></script>";
/// Training images.
pub const TRAINING: usize = 3200;

/// Writes the page; queries have ids from 1,000, every third is wrong.
pub fn large_audit(queries: usize, folder: &Path, embed: bool) {
    write_page(queries, folder, embed, |_| {});
}

/// Writes the page of one model whose queries have no labels, but files.
pub fn unlabelled_audit(queries: usize, folder: &Path) {
    write_page(queries, folder, false, |audit| {
        audit.labelled = false;
        audit.models.truncate(1);
        audit.paired.clear();
        let model = &mut audit.models[0];
        for (image, query) in audit.queries.iter_mut().zip(&model.queries) {
            image.label = query.prediction;
        }
        (model.confusions).retain(|cell| cell.label == cell.prediction);
        let files = (0..queries).map(|at| format!("new-{at}.png"));
        audit.training_data.query_files = files.collect();
    });
}

/// Writes the page of a run with so many classes; its queries have as many of them as there are queries, and every third is taken for
/// the next class.
pub fn many_classes_audit(queries: usize, classes: usize, folder: &Path) {
    write_page(queries, folder, false, |audit| {
        audit.classes = (0..classes).map(|class| format!("class {class}")).collect();
        for (at, image) in audit.queries.iter_mut().enumerate() {
            image.label = at % classes;
        }
        for model in &mut audit.models {
            let mut cells: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
            for (at, query) in model.queries.iter_mut().enumerate() {
                let label = audit.queries[at].label;
                query.prediction = (label + usize::from(at.is_multiple_of(3))) % classes;
                query.probabilities = vec![0.0; classes];
                query.probabilities[query.prediction] = 1.0;
                cells.entry((label, query.prediction)).or_default().push(at);
            }
            let cell = |((label, prediction), queries)| Confusion {
                label,
                prediction,
                queries,
                computed: true,
                helpful: ranked(1, 1.0),
                harmful: ranked(2, -1.0),
            };
            model.confusions = cells.into_iter().map(cell).collect();
        }
    });
}

fn write_page(queries: usize, folder: &Path, embed: bool, change: impl FnOnce(&mut Audit)) {
    let (test, train) = (digits_test().unwrap(), digits_train().unwrap());
    let (of_test, of_train) = (image_of(&test), image_of(&train));
    let pictures = [
        Pictures {
            layout: Layout::new("test", queries, 8),
            get: &of_test,
        },
        Pictures {
            layout: Layout::new("train", TRAINING, 8),
            get: &of_train,
        },
    ];
    let mut audit = audit(queries, &test, &train);
    change(&mut audit);
    write(&audit, &pictures, embed, folder).unwrap();
}

fn image_of(set: &Dataset) -> impl Fn(usize) -> ascribe::Result<ascribe::data::Image> + '_ {
    |position| Ok(set.get(position % set.len())?.image)
}

fn audit(queries: usize, test: &Dataset, train: &Dataset) -> Audit {
    let labelled = |set: &Dataset, count: usize, first: usize| -> Vec<LabelledImage> {
        (0..count)
            .map(|at| LabelledImage {
                id: first + at,
                label: set.label(at % set.len()),
            })
            .collect()
    };
    let mut classes: Vec<String> = (0..10).map(|class| format!("digit {class}")).collect();
    classes[test.label(0)] = HOSTILE.into();
    let (queries, training) = (labelled(test, queries, 1000), labelled(train, TRAINING, 0));
    let models = ["natural", "robust"].map(|name| model(name, &queries, &training));
    Audit {
        title: "Digits, natural and robust".into(),
        duplicates: vec![
            Duplicates {
                kind: Likeness::Pixels,
                similarity: 1.0,
                training: vec![5, 9],
                queries: vec![1],
            },
            near(0.97, 11),
            near(0.91, 12),
        ],
        paired: vec![paired()],
        compared: Compared {
            model: 0,
            images: TRAINING,
        },
        alike: 0.95,
        classes,
        queries,
        left_out: 0,
        training,
        labelled: true,
        training_data: TrainingData {
            digest: "0f1e".into(),
            rows: TRAINING + 100,
            files: (0..TRAINING).map(|at| format!("some/{at}.png")).collect(),
            query_files: Vec::new(),
        },
        models: models.into(),
    }
}

/// A difference whose intervals are not symmetric.
fn paired() -> PairedQueries {
    let interval = |value: f64| Interval {
        value,
        low: value - 0.02,
        high: value + 0.04,
    };
    PairedQueries {
        queries: "test images".into(),
        difference: PairedRankings {
            query_count: 1234,
            ranks: 10,
            first_match: interval(-0.03),
            ranks_match: interval(0.125),
            shared: Some(interval(0.25)),
            rank_biased_overlap: Some(interval(0.3)),
        },
    }
}

/// A training image and the next, nearly the same.
fn near(similarity: f64, image: usize) -> Duplicates {
    Duplicates {
        kind: Likeness::Near,
        similarity,
        training: vec![image, image + 1],
        queries: Vec::new(),
    }
}

fn model(name: &str, queries: &[LabelledImage], images: &[LabelledImage]) -> AuditedModel {
    let confusion = |label: usize, prediction: usize| Confusion {
        label,
        prediction,
        queries: (0..queries.len())
            .filter(|&at| queries[at].label == label && predicted(at, label) == prediction)
            .collect(),
        computed: true,
        helpful: ranked(1, 1.0),
        harmful: ranked(2, -1.0),
    };
    AuditedModel {
        name: name.into(),
        facts: vec![Fact {
            name: "test accuracy".into(),
            value: "66.7 %".into(),
        }],
        statements: vec![Statement {
            tone: Tone::Good,
            text: "All solves are exact.".into(),
        }],
        unit: "nats".into(),
        class_match: vec![ClassMatchCurve {
            queries: "test images".into(),
            chance_percent: 10.0,
            percent: (0..100).map(|rank| 90.0 - 0.8 * f64::from(rank)).collect(),
        }],
        queries: (0..queries.len())
            .map(|at| query(at, queries[at].label))
            .collect(),
        training: (0..TRAINING)
            .map(|at| Some(training(at, images[at].label)))
            .collect(),
        groups: vec![group("lab A", 0, 2e-3), group(HOSTILE, 1, -1e-3)],
        confusions: (0..10)
            .flat_map(|label| [confusion(label, label), confusion(label, (label + 1) % 10)])
            .filter(|cell| !cell.queries.is_empty())
            .collect(),
        absences: Vec::new(),
    }
}

/// Every second training image, from one on; the second group was not measured.
fn group(name: &str, from: usize, score: f64) -> TrainingGroup {
    let interval = |value: f64| Interval {
        value,
        low: value - 1e-3,
        high: value + 1e-3,
    };
    TrainingGroup {
        name: name.into(),
        images: (from..TRAINING).step_by(2).collect(),
        score,
        measured: (from == 0).then(|| MeasuredGroup {
            rise: interval(3e-3),
            right_change: Some(interval(-0.02)),
            converged: true,
        }),
    }
}

fn predicted(at: usize, label: usize) -> usize {
    if at.is_multiple_of(3) {
        (label + 1) % 10
    } else {
        label
    }
}

fn ranked(at: usize, sign: f64) -> Vec<Ranked> {
    (0..100usize)
        .map(|rank| Ranked {
            train: (at * 37 + rank * 11) % TRAINING,
            score: sign * 4e-3 / (rank + 1) as f64,
            certified: Some(rank < 50),
        })
        .collect()
}

fn query(at: usize, label: usize) -> ModelQuery {
    let mut probabilities = vec![0.02; 10];
    probabilities[predicted(at, label)] = 0.82;
    ModelQuery {
        prediction: predicted(at, label),
        loss: -f64::ln(probabilities[label]),
        probabilities,
        helpful: ranked(at, 1.0),
        harmful: ranked(at + 7, -1.0),
        groups: vec![(0, 2e-3), (1, -1e-3)],
        removal: Some(Removal {
            images: 10,
            predicted: 3e-3,
            measured: 2.5e-3,
            converged: Some(true),
        }),
        flip: Some(Flip {
            images: if at == 1 { Vec::new() } else { vec![1, 2] },
            before: predicted(at, label),
            prediction: 3,
            tried: 100,
            unsettled: (at == 1).then_some(150),
        }),
    }
}

fn training(at: usize, label: usize) -> ModelTrainingImage {
    ModelTrainingImage {
        label,
        prediction: at % 10,
        probability: 0.5,
        loss: 0.7 + (at % 7) as f64,
        held_out_loss: Some(0.02 * (at % 7) as f64),
        self_influence: Some(1e-3 * (at % 5) as f64),
        mean_score: Some(1e-4 * ((at % 9) as f64 - 4.0)),
    }
}
