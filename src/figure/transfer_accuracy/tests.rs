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

/// A share of 0.29 in percent, and the difference of two sums.
#[test]
fn the_table_has_no_digits_of_rounding() {
    let mut figure = figure();
    figure.summary.difference[0].points[0].value = Interval {
        value: 100.0 * 0.29,
        low: 0.3 - (0.1 + 0.2),
        high: 100.0 / 3.0,
    };
    let mut rows = csv::Writer::from_writer(Vec::new());
    figure.table(&mut rows).unwrap();
    let table = String::from_utf8(rows.into_inner().unwrap()).unwrap();
    let expected = "\nb,cifar10,robust,natural,images,100,5,29.0,0.0,33.3333333333\n";
    assert!(table.contains(expected), "{table}");
}

fn svg(figure: &TransferAccuracy) -> String {
    let path = Path::new("figure1.svg");
    String::from_utf8(render(figure, Format::Svg, Style::Paper, path).unwrap()).unwrap()
}

/// Of so many target sets and sources.
fn many(targets: usize, sources: usize) -> TransferAccuracy {
    let mut figure = figure();
    figure.summary.natural = None;
    figure.summary.difference.clear();
    figure.summary.accuracy = (0..targets * sources)
        .map(|at| {
            let (target, source) = (at / sources, at % sources);
            let values = [(100.0, 30.0), (400.0, 41.0)];
            curve(
                &format!("set {target}"),
                &format!("model {source}"),
                &values,
            )
        })
        .collect();
    figure
}

#[test]
fn the_second_use_of_a_colour_or_marker_is_told_from_the_first() {
    let figure = many(26, 18);
    let look = Look::of(&figure);
    let curves = figure.summary.accuracy.iter();
    let looks: Vec<_> = curves
        .map(|curve| (look.line(curve), look.marker(&curve.source)))
        .collect();
    let mut again = looks.iter().enumerate();
    let again = again.find(|(at, it)| looks[..*at].contains(it));
    assert_eq!(again, None);

    let white = |figure: &TransferAccuracy, tag: &str| {
        let svg = svg(figure);
        let tags = svg.lines().filter(|line| line.starts_with(tag));
        tags.filter(|line| line.contains("\"#FFFFFF\"")).count()
    };
    // The cores of two lines.
    let lines = [many(13, 2), many(14, 2)].map(|figure| white(&figure, "<polyline"));
    assert_eq!(lines, [0, 2]);
    // One around each marker, and two more for the core of each of the tenth source's: two curves of two points, and the legend.
    let markers = [many(2, 9), many(2, 10)].map(|figure| white(&figure, "<polygon"));
    assert_eq!(markers, [2 * 9 * 2 + 9, 2 * 10 * 2 + 10 + 2 * 5]);
}

#[test]
fn curves_that_look_like_others_are_told() {
    for said in [
        " Looks begin again after 26 target sets: set 26 is drawn as set 0 is.",
        " Looks begin again after 18 sources: model 18 is drawn as model 0 is.",
    ] {
        assert!(!many(26, 18).caption().contains(said));
        assert!(many(27, 19).caption().contains(said), "{said}");
    }
}

/// Markers of a target set are never hollow.
#[test]
fn target_sets_without_lines_look_alike_after_every_colour() {
    let of_one_point = |targets: usize| {
        let mut figure = many(targets, 2);
        for curve in &mut figure.summary.accuracy {
            curve.points.truncate(1);
        }
        figure
    };
    let told = " Looks begin again after 13 target sets: set 13 is drawn as set 0 is.";
    assert!(!of_one_point(13).caption().contains("Looks begin"));
    let figure = of_one_point(14);
    assert!(figure.caption().contains(told), "{}", figure.caption());
    // Nor is its swatch in the legend.
    let entries = Look::of(&figure).legend(150.0);
    assert_eq!(entries[0].line, entries[13].line);
}

#[test]
fn the_natural_source_is_dashed_and_so_like_no_other() {
    let natural = |sources: usize| {
        let mut figure = many(2, sources);
        figure.summary.natural = Some("model 0".into());
        figure
    };
    assert!(!natural(19).caption().contains("Looks begin"));
    let told = " Looks begin again after 18 sources: model 19 is drawn as model 1 is.";
    let caption = natural(20).caption();
    assert!(caption.contains(told), "{caption}");
}

#[test]
fn the_svg_says_what_it_shows() {
    let svg = svg(&figure());
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
