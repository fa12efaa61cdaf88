use super::*;
use crate::model::Blocks;
use crate::study::{Axes, ImageCount};
use crate::train::Norm;

fn row(source: &str, epsilon: f64, images: usize, seed: u64, accuracy: f64) -> Row {
    Row {
        source: source.into(),
        norm: (epsilon > 0.0).then_some(Norm::L2),
        epsilon,
        target: "digits".into(),
        test: "abc".into(),
        test_images: 100,
        transform: "none".into(),
        images,
        blocks: Blocks::Last(0),
        epochs: 2,
        seed,
        learning_rate: 0.1,
        l2: 0.0,
        head_deviation: 1.0,
        epoch: 2,
        train_loss: Some(0.0),
        train_accuracy: Some(1.0),
        test_loss: Some(1.0),
        test_accuracy: Some(accuracy),
        seconds: 1.0,
        diverged: false,
        run: "0".into(),
    }
}

fn rows() -> Vec<Row> {
    vec![
        row("robust", 0.25, 10, 0, 0.5),
        row("robust", 0.25, 10, 1, 0.7),
        // No natural run of this seed: it counts for accuracy alone.
        row("robust", 0.25, 10, 2, 0.9),
        row("natural", 0.0, 10, 0, 0.4),
        row("natural", 0.0, 10, 1, 0.5),
        row("natural", 0.0, 20, 1, 0.6),
    ]
}

#[test]
fn means_are_over_seeds_and_differences_within_them() {
    let mut rows = rows();
    rows.push(Row {
        diverged: true,
        test_accuracy: None,
        ..row("robust", 0.25, 20, 1, 0.0)
    });
    let found = Summary::of(&rows, Variable::Images, &Selection::default()).unwrap();
    assert_eq!(
        (found.natural.as_deref(), found.diverged),
        (Some("natural"), 1)
    );
    let [natural, robust] = &found.accuracy[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (&natural.source[..], &robust.source[..]),
        ("natural", "robust")
    );
    let places: Vec<_> = natural
        .points
        .iter()
        .map(|it| (it.place, it.seeds))
        .collect();
    assert_eq!(places, [(10.0, 2), (20.0, 1)]);
    assert!((robust.points[0].value.value - 70.0).abs() < 1e-9);
    let [difference] = &found.difference[..] else {
        panic!("{found:?}")
    };
    let point = &difference.points[0];
    assert_eq!((difference.points.len(), point.seeds), (1, 2));
    assert!((point.value.value - 15.0).abs() < 1e-9);
    assert!(point.value.low >= 10.0 - 1e-9 && point.value.high <= 20.0 + 1e-9);
}

/// A cleaned set beside the set as it was: source by source, seed by seed.
#[test]
fn target_sets_may_be_compared_instead() {
    let mut rows = rows();
    let cleaned: Vec<Row> = (rows.iter())
        .map(|row| Row {
            target: "cleaned".into(),
            test_accuracy: row
                .test_accuracy
                .map(|it| it + 0.01 * (1 + row.seed) as f64),
            ..row.clone()
        })
        .collect();
    rows.extend(cleaned);
    let of = |against: &str, variable| {
        let selection = Selection {
            against: Some(against.into()),
            images: (variable == Variable::Epsilon).then_some(ImageCount::Number(10)),
            targets: vec!["cleaned".into()],
            ..Selection::default()
        };
        Summary::of(&rows, variable, &selection)
    };
    let found = of("digits", Variable::Images).unwrap();
    assert_eq!(found.accuracy.len(), 4);
    let sources: Vec<_> = (found.difference.iter())
        .map(|it| (&it.target[..], &it.source[..], it.points[0].seeds))
        .collect();
    assert_eq!(
        sources,
        [("cleaned", "natural", 2), ("cleaned", "robust", 3)]
    );
    assert!((found.difference[0].points[0].value.value - 1.5).abs() < 1e-9);
    assert!((found.difference[1].points[0].value.value - 2.0).abs() < 1e-9);
    assert!(found.apart.is_empty());
    let found = of("digits", Variable::Epsilon).unwrap();
    assert_eq!(found.difference[0].points.len(), 2);
    let message = of("cleaned", Variable::Images).unwrap_err().to_string();
    assert!(
        message.contains("--against") && message.contains("no other"),
        "{message}"
    );
    let message = of("digit", Variable::Images).unwrap_err().to_string();
    assert!(
        message.contains("--against") && message.contains("found digit"),
        "{message}"
    );
}

/// A difference of accuracies on different images is none of the sets.
#[test]
fn target_sets_of_other_test_images_are_not_compared() {
    let mut rows = rows();
    let beside = |name: &str, test: &str, test_images: usize| -> Vec<Row> {
        let row = |row: &Row| Row {
            target: name.into(),
            test: test.into(),
            test_images,
            ..row.clone()
        };
        rows.iter().map(row).collect()
    };
    let others = [
        beside("cleaned", "abc", 100),
        beside("fewer", "abc", 50),
        beside("letters", "def", 100),
    ];
    rows.extend(others.concat());
    let of = |targets: &[&str]| {
        let selection = Selection {
            against: Some("digits".into()),
            targets: targets.iter().map(|&name| name.into()).collect(),
            ..Selection::default()
        };
        Summary::of(&rows, Variable::Images, &selection)
    };
    let found = of(&[]).unwrap();
    assert_eq!(found.apart, ["fewer", "letters"]);
    assert!(!found.difference.is_empty());
    assert!(
        found
            .difference
            .iter()
            .all(|curve| curve.target == "cleaned")
    );
    let message = of(&["letters"]).unwrap_err().to_string();
    assert!(
        message.contains("--against") && message.contains("same test images"),
        "{message}"
    );
}

#[test]
fn sources_may_lie_along_the_axis() {
    let selection = Selection {
        images: Some(ImageCount::Number(10)),
        ..Selection::default()
    };
    let found = Summary::of(&rows(), Variable::Epsilon, &selection).unwrap();
    assert_eq!((found.accuracy.len(), found.difference.len()), (1, 1));
    let labels: Vec<_> = found.accuracy[0]
        .points
        .iter()
        .map(|it| &it.label[..])
        .collect();
    assert_eq!(labels, ["0", "L2 0.25"]);
}

#[test]
fn what_is_not_there_is_refused() {
    let message = |selection: Selection| {
        let found = Summary::of(&rows(), Variable::Epoch, &selection);
        found.unwrap_err().to_string()
    };
    let images = message(Selection {
        images: Some(ImageCount::Number(30)),
        ..Selection::default()
    });
    assert!(
        images.contains("--images") && images.contains("10, 20"),
        "{images}"
    );
    let sources = message(Selection {
        sources: vec!["rubust".into()],
        ..Selection::default()
    });
    assert!(
        sources.contains("--sources") && sources.contains("robust"),
        "{sources}"
    );
    let none = Summary::of(&[], Variable::Epoch, &Selection::default());
    assert!(none.unwrap_err().to_string().contains("at least one row"));
}

#[test]
fn radii_are_told_in_short() {
    let told = [0.25, 3.0, 4.0 / 255.0, 0.015_686_27, 0.123_456_789].map(places::radius);
    assert_eq!(told, ["0.25", "3", "4/255", "4/255", "0.1235"]);
}

#[test]
fn one_seed_has_no_interval() {
    let found = Summary::of(&rows(), Variable::Images, &Selection::default()).unwrap();
    let intervals: Vec<bool> = (found.accuracy[0].points.iter())
        .map(|point| point.interval().is_some())
        .collect();
    assert_eq!(intervals, [true, false]);
}

/// As the paper's grid: all images of each set beside a number of them, and more epochs where images are many.
#[test]
fn numbers_of_images_may_have_their_own_epochs_and_all_of_a_set_is_one_of_them() {
    let of = |target: &str, images: usize, epochs: usize, accuracy: f64| Row {
        target: target.into(),
        epochs,
        epoch: epochs,
        ..row("natural", 0.0, images, 0, accuracy)
    };
    let rows = vec![
        of("digits", 10, 2, 0.1),
        of("digits", 60, 3, 0.3),
        of("letters", 10, 2, 0.2),
        of("letters", 90, 3, 0.4),
        // Of an earlier spec of the same folder.
        of("letters", 90, 2, 0.9),
    ];
    let epochs = |all: usize| BTreeMap::from([(all, 3)]);
    let axes = Axes {
        all_images: BTreeMap::from([("digits".into(), 60), ("letters".into(), 90)]),
        epochs_of_images: BTreeMap::from([
            ("digits".into(), epochs(60)),
            ("letters".into(), epochs(90)),
        ]),
    };
    let found = |variable, images, epochs| {
        let selection = Selection {
            images,
            epochs,
            axes: axes.clone(),
            ..Selection::default()
        };
        let found = Summary::of(&rows, variable, &selection).unwrap();
        let points = found.accuracy.iter().map(|curve| {
            let points = curve.points.iter();
            let values = points.map(|point| (point.place, point.value.value.round()));
            values.collect::<Vec<_>>()
        });
        (points.collect::<Vec<_>>(), found.fixed)
    };
    let fixed = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let (points, of_axis) = found(Variable::Images, None, None);
    assert_eq!(
        points,
        [[(10.0, 10.0), (60.0, 30.0)], [(10.0, 20.0), (90.0, 40.0)]]
    );
    assert_eq!(of_axis[0], fixed("epochs", "2 or 3"));
    for images in [None, Some(ImageCount::All)] {
        let (points, of_all) = found(Variable::Epoch, images, None);
        assert_eq!(points, [[(3.0, 30.0)], [(3.0, 40.0)]]);
        let expected = [("epochs", "3"), ("blocks", "0"), ("images", "all")];
        assert_eq!(of_all, expected.map(|(name, value)| fixed(name, value)));
    }
    let (points, _) = found(Variable::Images, None, Some(2));
    assert_eq!(points[1], [(10.0, 20.0), (90.0, 90.0)]);
    let few = Some(ImageCount::Number(10));
    assert_eq!(
        found(Variable::Epoch, few, None).0,
        [[(2.0, 10.0)], [(2.0, 20.0)]]
    );
}
