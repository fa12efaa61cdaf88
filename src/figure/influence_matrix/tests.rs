use super::*;
use crate::figure::{Format, render};
use crate::influence::NATS;
use std::path::Path;

fn scores(model: &str) -> ModelScores<'_> {
    ModelScores {
        model,
        queries: MatrixQueries::Test,
        predicted: false,
        scores: ArrayView2::from_shape((2, 3), &[1.0, 2.0, 3.0, -4.0, 0.0, 5.0]).unwrap(),
        unit: NATS,
        query_labels: &[1, 0],
        train_labels: &[0, 1, 0],
    }
}

fn classes() -> Vec<String> {
    vec!["cat".into(), "dog".into()]
}

#[test]
fn cells_are_means_by_class_in_root_mean_squares() {
    let figure = InfluenceMatrix::of(classes(), &[scores("natural")]).unwrap();
    assert_eq!(figure.parts, 1);
    let square: f64 = (1.0 + 4.0 + 9.0 + 16.0 + 25.0) / 6.0;
    let panel = &figure.panels[0];
    assert!((panel.root_mean_square - square.sqrt()).abs() < 1e-12);
    // The query of class 0 is the second; training images 0 and 2 are of class 0.
    let expected = [[0.5, 0.0], [2.0, 2.0]];
    for ((query, train), cell) in panel.placed() {
        let expected = expected[query][train] / square.sqrt();
        assert!((cell - expected).abs() < 1e-12, "{query}, {train}: {cell}");
    }
    let mut rows = csv::Writer::from_writer(Vec::new());
    figure.table(&mut rows).unwrap();
    let table = String::from_utf8(rows.into_inner().unwrap()).unwrap();
    assert_eq!(table.lines().count(), 5);
    assert!(
        table.contains("natural,test images,") && table.contains(",dog,0,cat,0,"),
        "{table}"
    );
}

#[test]
fn a_class_that_no_image_has_is_left_out() {
    let two = InfluenceMatrix::of(classes(), &[scores("natural")]).unwrap();
    let three = vec!["cat".into(), "cow".into(), "dog".into()];
    let moved = ModelScores {
        query_labels: &[2, 0],
        train_labels: &[0, 2, 0],
        ..scores("natural")
    };
    assert_eq!(InfluenceMatrix::of(three, &[moved]).unwrap(), two);
}

#[test]
fn a_class_is_cut_into_parts_in_the_order_of_its_images() {
    let labels = [0, 1, 0, 1, 0, 0, 1];
    // Class 0: images 0, 2 | 4, 5; class 1: images 1, 3 | 6.
    assert_eq!(cells(&labels, 2, 2), [0, 2, 0, 2, 1, 1, 3]);
}

#[test]
fn it_is_drawn_for_both_sets_of_queries_and_two_models() {
    let both = |model| {
        let train = ModelScores {
            queries: MatrixQueries::Train,
            ..scores(model)
        };
        [scores(model), train]
    };
    let models: Vec<ModelScores> = ["natural", "robust"].into_iter().flat_map(both).collect();
    let figure = InfluenceMatrix::of(classes(), &models).unwrap();
    let one = InfluenceMatrix::of(classes(), &models[..1]).unwrap();
    assert!(
        figure.size(Style::Paper).0 > one.size(Style::Paper).0
            && figure.size(Style::Paper).1 > one.size(Style::Paper).1
    );
    for format in [Format::Svg, Format::Png] {
        let bytes = render(&figure, format, Style::Paper, Path::new("matrix")).unwrap();
        assert!(bytes.len() > 1000);
    }
}

#[test]
fn rows_of_predicted_classes_are_said_to_be() {
    let predicted = |model| ModelScores {
        predicted: true,
        ..scores(model)
    };
    let one = InfluenceMatrix::of(classes(), &[predicted("robust")]).unwrap();
    let expected = " Test images are sorted by predicted class.";
    assert!(one.caption().ends_with(expected));
    let both = [scores("natural"), predicted("robust")];
    let both = InfluenceMatrix::of(classes(), &both).unwrap();
    let expected = " Test images of robust are sorted by predicted class.";
    assert!(both.caption().ends_with(expected));
    let mut rows = csv::Writer::from_writer(Vec::new());
    both.table(&mut rows).unwrap();
    let table = String::from_utf8(rows.into_inner().unwrap()).unwrap();
    let count = |end: &str| table.lines().filter(|row| row.ends_with(end)).count();
    let ends = [",query_class_predicted", ",false", ",true"];
    assert_eq!(ends.map(count), [1, 4, 4]);
}

#[test]
fn what_cannot_be_drawn_is_refused_by_name() {
    let refused = |classes: Vec<String>, scores: ModelScores| {
        InfluenceMatrix::of(classes, &[scores])
            .unwrap_err()
            .to_string()
    };
    let broken = [1.0, f32::NAN, 3.0, -4.0, 0.0, 5.0];
    let message = refused(
        classes(),
        ModelScores {
            scores: ArrayView2::from_shape((2, 3), &broken).unwrap(),
            ..scores("natural")
        },
    );
    assert!(
        message.contains("natural") && message.contains("row 0, column 1"),
        "{message}"
    );
    let message = refused(
        classes(),
        ModelScores {
            train_labels: &[0, 1],
            ..scores("natural")
        },
    );
    assert!(
        message.contains("2 × 2") && message.contains("2 × 3"),
        "{message}"
    );
    let three: Vec<String> = vec!["cat".into(), "dog".into(), "emu".into()];
    for (query_labels, train_labels, parts) in [
        (
            &[1, 2][..],
            &[0, 1, 2][..],
            ["none of class cat among the test", "more queries"],
        ),
        (
            &[0, 1],
            &[0, 0, 0],
            [
                "none of class dog among the training",
                "without the queries",
            ],
        ),
    ] {
        let scores = ModelScores {
            query_labels,
            train_labels,
            ..scores("natural")
        };
        let message = refused(three.clone(), scores);
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let many: Vec<usize> = (0..151).collect();
    let names = many.iter().map(usize::to_string).collect();
    let zeros = Array2::zeros((151, 151));
    let of_many = ModelScores {
        scores: zeros.view(),
        query_labels: &many,
        train_labels: &many,
        ..scores("natural")
    };
    assert!(refused(names, of_many).contains("151"));
    let message = InfluenceMatrix::of(classes(), &[]).unwrap_err().to_string();
    assert!(message.contains("at least one run"), "{message}");
    let of_none = ModelScores {
        scores: ArrayView2::from_shape((0, 0), &[]).unwrap(),
        query_labels: &[],
        train_labels: &[],
        ..scores("natural")
    };
    let message = refused(classes(), of_none);
    assert!(
        message.contains("at least one class, found none"),
        "{message}"
    );
    let empty = InfluenceMatrix {
        classes: Vec::new(),
        parts: 1,
        panels: Vec::new(),
    };
    assert_eq!(empty.limit(), 1.0);
}
