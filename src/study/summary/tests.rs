use super::*;
use crate::model::Blocks;
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
            images: (variable == Variable::Epsilon).then_some(10),
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
        images: Some(10),
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
        images: Some(30),
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
