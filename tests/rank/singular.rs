//! Curvatures that features which say the same twice, or images that are too few, leave singular but for the L2 term.

use crate::command_line::{refused, run};
use crate::rank::archives::{overlapping, write};
use crate::rank::scores;
use ndarray::{Array1, Array2};
use std::path::Path;

const RANK: &str = "rank --train train.npz --test test.npz --skip-train --scores";

fn twice((mut features, labels): (Array2<f32>, Array1<i64>)) -> (Array2<f32>, Array1<i64>) {
    let column = features.column(0).to_owned();
    features.column_mut(1).assign(&column);
    (features, labels)
}

/// Training images whose second feature is the first, and queries whose second is not.
fn collinear(folder: &Path) {
    let train = twice(overlapping(60, 6, 0.0));
    write(&folder.join("train.npz"), &train);
    write(&folder.join("test.npz"), &overlapping(9, 6, 0.5));
}

#[test]
fn single_precision_adds_nothing_along_an_axis_without_images() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    collinear(folder);
    for solver in ["direct", "cg"] {
        let fixed = format!("{RANK} --l2 1e-8 --solver {solver} --precision");
        run(folder, &format!("{fixed} f32 --out {solver}-32"));
        run(folder, &format!("{fixed} f64 --out {solver}-64"));
        let [found, expected] =
            ["32", "64"].map(|bits| scores(folder, &format!("{solver}-{bits}")));
        let size =
            |scores: &Array2<f64>| scores.iter().fold(0.0, |most, s| f64::max(most, s.abs()));
        let apart = size(&(&found - &expected)) / size(&expected);
        assert!(apart < 1e-4, "{solver}: {apart:e}");
    }
}

#[test]
fn without_damping_a_singular_curvature_is_refused_by_whatever_divides_by_it() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let undamped = format!("{RANK} --head fitted/head.safetensors --l2 0 --damping 0 --solver");
    let fit = || {
        run(
            folder,
            &format!("{RANK} --l2 1e-2 --solver identity --out fitted"),
        )
    };
    let check = |said: &str| {
        for solver in ["cg", "ekfac", "lissa", "astra"] {
            for precision in ["f32", "f64"] {
                let words = format!("{undamped} {solver} --precision {precision} --out refused");
                let message = refused(folder, &words);
                assert!(message.contains(said), "{solver} {precision}: {message}");
            }
        }
        assert!(!folder.join("refused").exists());
    };
    collinear(folder);
    fit();
    check(
        "--damping: 0 without an L2 term leaves a singular curvature: 60 training images say nothing along 1 of the 7 axes",
    );
    run(folder, &format!("{undamped} pinv --out pinv"));
    std::fs::remove_dir_all(folder.join("fitted")).unwrap();
    write(&folder.join("train.npz"), &overlapping(5, 6, 0.0));
    fit();
    check("5 training images say nothing along 2 of the 7 axes");
}
