//! The way back through training on a device, as a user types it: as the processor's, of the very training that took place there, and
//! after a kill to the same bytes.

use crate::command_line::run;
use crate::head::{EQUAL, agree, distance};
use crate::killed_run::{goes_on_to_the_same_bytes, rank, record, same_files};
use crate::run_record;
use ndarray::Array2;

const DIGITS: &str = "--train builtin:digits-train --test builtin:digits-test";
const RANK: &str = "--unrolled --queries 20 --scores";

/// A small source, transferred to 40 digits on the device in few smooth steps: its last blocks, and its head.
fn transferred() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let train = "--architecture cifar-resnet8-w4 --side 8 --images 200 --epochs 2 --out source";
    run(place.path(), &format!("train {DIGITS} {train}"));
    let transfer = "--images 40 --batch-size 16 --epochs 4 --learning-rate 0.01";
    for part in [
        "--blocks 2 --frozen-statistics moving --out blocks",
        // What frozen segments give is kept, twice of each image.
        "--blocks 0 --frozen-statistics frozen --augmentation flip --out head",
    ] {
        let place_of = "--head-deviation 0.05 --device cuda --source source";
        let words = format!("transfer {DIGITS} {transfer} {place_of} {part}");
        run(place.path(), &words);
    }
    place
}

#[test]
fn the_way_back_is_that_of_the_processor() {
    let place = transferred();
    let folder = place.path();
    for (model, blocks, precision) in [("blocks", 2, "f32"), ("head", 0, "f64")] {
        let scores = |device: &str| -> Array2<f64> {
            let out = format!("{model}-{device}");
            let part = format!(
                "--model {model} --blocks {blocks} --precision {precision} --device {device}"
            );
            rank(folder, &format!("{part} {RANK} --out {out}"));
            run_record::scores(folder, &out)
        };
        let (found, expected) = (scores("cuda"), scores("cpu"));
        assert_eq!(found.dim(), (20, 40));
        agree(&found, &expected, EQUAL, model);
        let apart = distance(&found, &expected);
        assert!(apart < 1e-2, "{model}: {apart:e}");
        let off_by = |device: &str| {
            let left = record(folder, &format!("{model}-{device}"));
            left["results"]["repeated_off_by"].as_f64().unwrap()
        };
        assert_eq!(off_by("cuda"), 0.0, "{model}");
        assert!(off_by("cpu") < 1e-4, "{model}: {}", off_by("cpu"));
    }
}

#[test]
fn a_killed_way_back_goes_on_to_the_same_bytes() {
    let place = transferred();
    let common = "--model blocks --blocks 2 --device cuda --unrolled --queries 40 --scores";
    let files = ["rankings.parquet", "scores.npy"];
    goes_on_to_the_same_bytes(place.path(), common, "way", &files);
}

/// Where memory keeps some states of the training alone.
#[test]
fn steps_that_are_trained_again_come_to_the_same_bytes() {
    let place = transferred();
    let folder = place.path();
    for (memory, out) in [("", "all"), ("--memory 0.0005", "some")] {
        let words = "--model blocks --blocks 2 --device cuda --unrolled --queries 2 --scores";
        rank(folder, &format!("{words} {memory} --out {out}"));
    }
    same_files(folder, &["scores.npy"], "all", "some");
}
