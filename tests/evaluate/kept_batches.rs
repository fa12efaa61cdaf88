//! Trainings that leave nothing but losses out, and the way back through training, which predicts them.

use crate::command_line::{refused, run};
use crate::evaluate::command::results;
use std::path::Path;

/// Six smooth epochs over 40 digits, and what the way back through them says of six test images.
fn ranked(folder: &Path) {
    let digits = "--train builtin:digits-train --test builtin:digits-test";
    let train = "--architecture cifar-resnet8-w8 --side 8 --epochs 1 --batch-size 32 --out source";
    let transfer = "--images 40 --blocks 1 --epochs 6 --batch-size 20 --learning-rate 0.01 --head-deviation 0.05";
    let rank = "--model model --blocks 1 --queries 6 --unrolled --scores";
    run(folder, &format!("train {digits} {train}"));
    run(
        folder,
        &format!("transfer --source source {digits} {transfer} --out model"),
    );
    run(folder, &format!("rank {rank} --out run"));
}

#[test]
fn the_way_back_predicts_what_a_training_does_without_an_images_loss() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    ranked(folder);
    let words = "evaluate run --leave-one-out 8 --lds 8 --draws 50 --retrain 1";
    run(folder, &format!("{words} --keep-batches --out kept"));
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let found = results(folder, "kept");
    let alone = &found["leave_one_out"]["rows"][0]["agreement"];
    assert!(number(&alone["pearson"]["value"]) > 0.999, "{alone}");
    assert!(
        (number(&alone["slope"]["value"]) - 1.0).abs() < 0.02,
        "{alone}"
    );
    let halves = &found["lds"]["rows"][0]["agreement"];
    assert!(number(&halves["pearson"]["value"]) > 0.99, "{halves}");
    assert!(
        (number(&halves["slope"]["value"]) - 1.0).abs() < 0.1,
        "{halves}"
    );

    assert_eq!(found["lds_work"]["losses_alone"], true);
    let note = std::fs::read_to_string(folder.join("kept/leave_one_out.svg")).unwrap();
    assert!(note.contains("image’s loss is left out"), "{note}");

    // What it left says so itself, where it is taken up.
    run(folder, "evaluate run --retrained kept --out taken");
    let taken = results(folder, "taken");
    assert_eq!(taken["leave_one_out_work"]["losses_alone"], true);
    for words in ["", "--retrained kept"] {
        let words = format!("evaluate run --lds 8 --keep-batches {words} --out refused");
        let message = refused(folder, &words);
        assert!(
            message.contains("--keep-batches: is for trainings"),
            "{message}"
        );
    }
}
