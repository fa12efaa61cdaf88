//! Rankings through the blocks as a user types them, in f32: as the processor's, and after a kill to the same bytes.

use crate::command_line::run;
use crate::head::{EQUAL, agree};
use crate::killed_run::{goes_on_to_the_same_bytes, rank};
use crate::parquet_table::{numbers, words};
use crate::run_record;
use ndarray::{Array1, Array2};
use std::collections::BTreeSet;
use std::path::Path;

/// More queries than are solved at once.
const RANK: &str = "--model model --blocks 1 --queries 70 --scores";
/// The first ranks that are compared, and how many of them agree at least.
const TOP: usize = 100;
const OVERLAP: f64 = 0.999;

/// A small model of 200 digits.
fn transferred() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let digits = "--train builtin:digits-train --test builtin:digits-test";
    for words in [
        format!(
            "train {digits} --architecture cifar-resnet8-w4 --side 8 --images 200 --epochs 3 --out source"
        ),
        format!("transfer --source source {digits} --images 200 --blocks 1 --epochs 3 --out model"),
    ] {
        run(folder.path(), &words);
    }
    folder
}

fn scores(folder: &Path, out: &str, options: &str) -> Array2<f64> {
    rank(folder, &format!("{RANK} {options} --out {out}"));
    run_record::scores(folder, out)
}

/// Share of the first ranks of all queries that are among the others'.
fn overlap(found: &Array2<f64>, expected: &Array2<f64>) -> f64 {
    let first = |scores: &Array1<f64>| -> BTreeSet<usize> {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        order.into_iter().take(TOP).collect()
    };
    let rows = found.rows().into_iter().zip(expected.rows());
    let shared = rows.map(|(a, b)| {
        first(&a.to_owned())
            .intersection(&first(&b.to_owned()))
            .count()
    });
    shared.sum::<usize>() as f64 / (TOP * found.nrows()) as f64
}

#[test]
fn rankings_are_those_of_the_processor() {
    let place = transferred();
    for (run, options) in [
        "--solver cg --damping 1e-1",
        // The Hessian's smallest eigenvalue is below −10.
        "--solver cg --damping 20 --curvature hessian",
        "--solver astra --damping 1e-1 --tolerance 1e-2",
        "--solver ekfac --damping 1e-1",
        "--solver identity",
    ]
    .into_iter()
    .enumerate()
    {
        let ranked = |device: &str| {
            let out = format!("{run}-{device}");
            scores(place.path(), &out, &format!("{options} --device {device}"))
        };
        let (found, expected) = (ranked("cuda"), ranked("cpu"));
        agree(&found, &expected, EQUAL, options);
        let shared = overlap(&found, &expected);
        assert!(shared >= OVERLAP, "{options}: {shared}");
    }
}

/// Every training image, for each label's queries.
#[test]
fn groups_alone_are_ranked_as_on_the_processor() {
    let place = transferred();
    let options = "--top 200 --query-groups class --groups-only --solver cg --damping 1e-1";
    let ranked = |device: &str| {
        let job = "--model model --blocks 1 --queries 70";
        rank(
            place.path(),
            &format!("{job} {options} --device {device} --out {device}"),
        );
        let file = place.path().join(device).join("group_rankings.parquet");
        let [images, scores] = ["train", "score"].map(|name| numbers(&file, name));
        let places = words(&file, "group").into_iter().zip(images);
        let mut rows: Vec<_> = places.zip(scores).collect();
        rows.sort_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap());
        let scores = rows.into_iter().map(|(_, score)| score).collect();
        Array2::from_shape_vec((10, 200), scores).unwrap()
    };
    let (found, expected) = (ranked("cuda"), ranked("cpu"));
    agree(&found, &expected, EQUAL, options);
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let place = transferred();
    let files = [
        "rankings.parquet",
        "solves.parquet",
        "shares.parquet",
        "scores.npy",
    ];
    let common = format!("{RANK} --shares --solver cg --damping 1e-1 --device cuda");
    goes_on_to_the_same_bytes(place.path(), &common, "shares", &files);
}
