use super::*;
use crate::evaluate::Interval;
use crate::figure::{Format, render};
use crate::study::Point;
use std::path::Path;

fn curve(target: &str, source: &str, values: &[(f64, f64)]) -> Curve {
    let point = |&(place, value): &(f64, f64)| Point {
        place,
        label: place.to_string(),
        seeds: 5,
        value: Interval {
            value,
            low: value - 1.5,
            high: value + 1.0,
        },
    };
    Curve {
        target: target.into(),
        source: source.into(),
        points: values.iter().map(point).collect(),
    }
}

pub(super) fn figure() -> TransferAccuracy {
    TransferAccuracy {
        summary: Summary {
            variable: Variable::Images,
            fixed: vec![
                ("epochs".into(), "30".into()),
                ("blocks".into(), "3".into()),
            ],
            natural: Some("natural".into()),
            against: None,
            apart: Vec::new(),
            accuracy: vec![
                curve("cifar10", "natural", &[(100.0, 30.0), (400.0, 41.0)]),
                curve("cifar10", "robust", &[(100.0, 33.0), (400.0, 42.0)]),
            ],
            difference: vec![curve("cifar10", "robust", &[(100.0, 3.0), (400.0, 1.0)])],
            diverged: 0,
        },
        share: None,
    }
}

#[test]
fn the_table_holds_what_is_drawn() {
    let mut rows = csv::Writer::from_writer(Vec::new());
    figure().table(&mut rows).unwrap();
    let table = String::from_utf8(rows.into_inner().unwrap()).unwrap();
    let expected = "panel,target,source,minus,variable,at,seeds,value,low,high\n\
        a,cifar10,natural,,images,100,5,30.0,28.5,31.0\n\
        a,cifar10,natural,,images,400,5,41.0,39.5,42.0\n\
        a,cifar10,robust,,images,100,5,33.0,31.5,34.0\n\
        a,cifar10,robust,,images,400,5,42.0,40.5,43.0\n\
        b,cifar10,robust,natural,images,100,5,3.0,1.5,4.0\n\
        b,cifar10,robust,natural,images,400,5,1.0,-0.5,2.0\n";
    assert_eq!(table, expected);
}

#[test]
fn the_svg_says_what_it_shows() {
    let svg = render(
        &figure(),
        Format::Svg,
        Style::Paper,
        Path::new("figure1.svg"),
    )
    .unwrap();
    let svg = String::from_utf8(svg).unwrap();
    for part in [
        "(a) Test accuracy",
        "(b) robust − natural, paired by seed",
        "Training images",
        "from robust",
        "cifar10",
        "Means over 5 seeds",
        "head and 3 blocks",
    ] {
        assert!(svg.contains(part), "{part}");
    }
    let ticks = |label: &str| svg.lines().filter(|line| *line == label).count();
    assert_eq!((ticks("100"), ticks("400")), (2, 2));
}

#[test]
fn differences_of_fewer_seeds_say_so() {
    assert!(!figure().note().contains("pair"));
    let mut fewer = figure();
    fewer.summary.difference[0].points[0].seeds = 3;
    let note = fewer.note();
    assert!(note.contains("Means over 5 seeds"), "{note}");
    assert!(
        note.contains("of the same seed (3 to 5 pairs), in"),
        "{note}"
    );
    fewer.summary.difference[0].points[1].seeds = 3;
    assert!(fewer.note().contains("of the same seed (3 pairs), in"));
}

#[test]
fn coverage_is_that_of_the_fewest_seeds_with_a_band() {
    let note = |seeds: [usize; 3]| {
        let TransferAccuracy { mut summary, share } = figure();
        let accuracy = summary.accuracy.iter_mut();
        for (curve, seeds) in accuracy.chain(&mut summary.difference).zip(seeds) {
            (curve.points.iter_mut()).for_each(|point| point.seeds = seeds);
        }
        TransferAccuracy { summary, share }.note()
    };
    for (seeds, expected) in [
        ([2, 2, 2], "of 3 they hold the mean in 74 %, of 2 in fewer)"),
        ([1, 3, 1], "of 3 they hold the mean in 74 %, of 5 in 84 %)"),
        (
            [10, 10, 4],
            "of 3 they hold the mean in 74 %, of 5 in 84 %)",
        ),
        ([5, 9, 5], "of 5 they hold the mean in 84 %, of 10 in 89 %)"),
    ] {
        let note = note(seeds);
        assert!(note.contains(expected), "{note}");
    }
    assert!(!note([11; 3]).contains("narrow") && !note([1; 3]).contains("narrow"));
}

#[test]
fn a_title_wider_than_its_panel_is_wrapped() {
    let mut figure = figure();
    figure.summary.against = Some("CIFAR as it was".into());
    for curve in &mut figure.summary.difference {
        curve.target = "CIFAR without doubts".into();
    }
    let path = Path::new("figure1.svg");
    let svg = render(&figure, Format::Svg, Style::Screen, path).unwrap();
    let svg = String::from_utf8(svg).unwrap();
    for line in [
        "(b) CIFAR without doubts − CIFAR as it was,",
        "paired by seed",
    ] {
        assert!(svg.lines().any(|text| text == line), "{line}");
    }
}

#[test]
fn nothing_and_what_is_no_number_are_refused() {
    let mut empty = figure();
    empty.summary.accuracy.clear();
    empty.summary.difference.clear();
    let message = empty.check().unwrap_err().to_string();
    assert!(message.contains("at least one"), "{message}");
    let mut infinite = figure();
    infinite.summary.difference[0].points[1].value.high = f64::NAN;
    assert!(infinite.check().is_err());
}
