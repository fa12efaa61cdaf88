//! What the picture and the table say of a record, and records that cannot be drawn.

use crate::figure::{Figure, Format, Style, render, write};
use crate::influence::{DampingPath, DampingPoint, Suggestion};
use std::path::Path;

fn path(stretch: Option<(f64, f64)>) -> DampingPath {
    let point = |at: i32| DampingPoint {
        damping: 10f64.powi(at - 5),
        jaccard_next: (at < 4).then(|| 0.2 * f64::from(at)),
        rbo_next: (at < 4).then(|| 0.25 * f64::from(at)),
        jaccard_chosen: 0.5,
        rbo_chosen: 0.6,
        rbo_smallest: 0.4,
        median_top_score: 10f64.powi(-at),
        converged: if at == 0 { 0.75 } else { 1.0 },
        iterations: 12.0,
    };
    DampingPath {
        damping: 1e-3,
        query_count: 20,
        ranks: 10,
        points: (0..5).map(point).collect(),
        suggestion: Suggestion {
            damping: 1e-2,
            stretch,
            reason: "the smallest of its stretch".into(),
        },
    }
}

fn svg(path: &DampingPath) -> String {
    let bytes = render(
        path,
        Format::Svg,
        Style::Paper,
        Path::new("damping_path.svg"),
    )
    .unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_picture_names_both_dampings_and_its_units() {
    let drawn = svg(&path(Some((1e-2, 1e-1))));
    for words in [
        "in use 1e-3",
        "suggested 1e-2",
        "Damping λ",
        "Median score (nats)",
        "rank-biased overlap with the next damping",
        "Jaccard index with the damping in use",
        "rank-biased overlap with the smallest damping",
        "Means over 20 test queries",
        "75 % at the worst damping",
        "the smallest of its stretch",
    ] {
        assert!(drawn.contains(words), "{words}");
    }
    let shades = |drawn: &str| drawn.matches("<polygon").count();
    let unstable = svg(&path(None));
    assert!(unstable.contains("no value is stable"));
    // One shade in each panel.
    assert_eq!(shades(&drawn), shades(&unstable) + 2);
}

/// A damping of 0 is on no logarithmic axis: its mark and the shade from it begin at the left end, in the drawing.
#[test]
fn an_undamped_run_is_marked_at_the_left_end() {
    let mut undamped = path(Some((0.0, 1e-4)));
    undamped.damping = 0.0;
    undamped.points[0].damping = 0.0;
    undamped.suggestion.damping = 0.0;
    let drawn = svg(&undamped);
    for words in [
        "in use 0\n",
        "suggested 0\n",
        "In use: 0. Suggested: 0,",
        "the left end",
    ] {
        assert!(drawn.contains(words), "{words}");
    }
    let corners = |word: &str| {
        !word.contains("inf") && !word.contains("NaN") && !word.contains("-2147483648")
    };
    assert!(drawn.split('"').all(corners));
    undamped.points.truncate(2);
    let message = undamped.check().unwrap_err().to_string();
    assert!(
        message.contains("two dampings above 0") && message.contains("1 of 20"),
        "{message}"
    );
}

#[test]
fn the_table_has_a_row_for_each_damping() {
    let folder = tempfile::tempdir().unwrap();
    let written = write(
        &path(None),
        folder.path(),
        "damping_path",
        &[Format::Png],
        Style::Paper,
    )
    .unwrap();
    assert_eq!(written.files.len(), 2);
    let table = std::fs::read_to_string(folder.path().join("damping_path.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 6);
    assert!(
        lines[0]
            .starts_with("damping,jaccard_next,rbo_next,jaccard_chosen,rbo_chosen,rbo_smallest")
    );
    assert!(lines[5].contains(",,,0.5,0.6,0.4,"), "{}", lines[5]);
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let message = |path: DampingPath| path.check().unwrap_err().to_string();
    let mut short = path(None);
    short.points.truncate(1);
    assert!(message(short).contains("two dampings"));
    let mut broken = path(None);
    broken.points[2].rbo_next = Some(f64::NAN);
    assert!(message(broken).contains("damping 0.001"));
    let mut nobody = path(None);
    nobody.query_count = 0;
    assert!(message(nobody).contains("0 queries"));
    // Scores that are all zero have no place on a logarithmic axis, but the rest is drawn.
    let mut zero = path(None);
    zero.points
        .iter_mut()
        .for_each(|point| point.median_top_score = 0.0);
    assert!(svg(&zero).contains("in use"));
}
