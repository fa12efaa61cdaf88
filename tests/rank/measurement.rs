//! `ascribe rank --measurement prediction`: queries without labels, each measured at the class that the model predicts.

use crate::command_line::{refused, run};
use crate::killed_run::record;
use crate::rank::archives::{overlapping, write};
use crate::rank::scores;
use ascribe::data::{Dataset, digits_test};
use ascribe::influence::{QueryRanking, read_rankings};
use image::codecs::png::PngEncoder;
use ndarray::{Array1, Axis};
use ndarray_npy::NpzWriter;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

fn rankings(folder: &Path, run: &str) -> Vec<QueryRanking> {
    read_rankings(&folder.join(run).join("rankings.parquet")).unwrap()
}

/// The same scores as of a set whose labels are the predictions, whether the labels are there, wrong, or not; with a head that is
/// given, and with one that is fitted.
#[test]
fn features_are_measured_at_the_prediction_whatever_their_labels() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write(&folder.join("train.npz"), &overlapping(40, 5, 0.0));
    let labelled = overlapping(23, 5, 0.5);
    write(&folder.join("test.npz"), &labelled);
    let (test, labels) = labelled;
    let mut alone = NpzWriter::new(File::create(folder.join("alone.npz")).unwrap());
    alone.add_array("features", &test).unwrap();
    alone.finish().unwrap();
    let rank =
        |words: &str| format!("rank --train train.npz --l2 1e-2 --scores --skip-train {words}");
    run(folder, &rank("--test test.npz --out labelled"));
    let predictions: Vec<i64> = (rankings(folder, "labelled").iter())
        .map(|ranking| ranking.query_prediction as i64)
        .collect();
    assert_ne!(predictions, labels.to_vec());
    let as_predicted = Array1::from(predictions.clone());
    write(&folder.join("predicted.npz"), &(test, as_predicted));
    run(folder, &rank("--test predicted.npz --out expected"));

    let measured = "--measurement prediction";
    let head = "--head labelled/head.safetensors";
    for (words, out) in [
        ("--test alone.npz".to_owned(), "alone"),
        ("--test test.npz".to_owned(), "wrong"),
        (format!("--test alone.npz {head}"), "headed"),
    ] {
        let said = run(folder, &rank(&format!("{words} {measured} --out {out}")));
        assert!(said.contains("nats at the predicted classes"), "{said}");
        assert_eq!(scores(folder, out), scores(folder, "expected"), "{out}");
        for (ranking, prediction) in rankings(folder, out).iter().zip(&predictions) {
            assert_eq!(ranking.query_label as i64, *prediction);
            assert_eq!(ranking.query_prediction as i64, *prediction);
        }
        let record = record(folder, out);
        assert_eq!(record["options"]["measurement"], "prediction");
        assert_eq!(record["results"]["test_accuracy"], Value::Null);
        assert_eq!(record["results"]["query_labels"]["3"], predictions[3]);
    }
    assert_ne!(scores(folder, "labelled"), scores(folder, "expected"));

    // What takes the run up has its labels.
    run(folder, "evaluate alone --leave-one-out 6 --out evidence");
    run(folder, "evaluate expected --leave-one-out 6 --out known");
    let agreement = |run: &str| {
        let results = &record(folder, run)["results"];
        (results.pointer("/leave_one_out/rows/0/agreement").cloned()).unwrap()
    };
    assert_eq!(agreement("evidence"), agreement("known"));
    run(folder, "rerun headed --out again");
    assert_eq!(scores(folder, "again"), scores(folder, "expected"));

    let message = refused(folder, &rank("--test alone.npz --out refused"));
    let remedy = "ascribe rank --measurement prediction";
    assert!(
        message.contains("labels") && message.contains(remedy),
        "{message}"
    );
    // Another prediction is another question: it does not go on in the folder of the first.
    let message = refused(folder, &rank("--test test.npz --out wrong"));
    assert!(message.contains("measurement"), "{message}");
}

/// Pictures of digits in a folder, without class folders.
fn pictures(test: &Dataset, ids: &[usize], folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for (at, &id) in ids.iter().enumerate() {
        let image = test.get(id).unwrap().image;
        let (width, height) = (image.width as u32, image.height as u32);
        let picture = image::GrayImage::from_raw(width, height, image.pixels).unwrap();
        let file = File::create(folder.join(format!("{at:03}.png"))).unwrap();
        picture.write_with_encoder(PngEncoder::new(file)).unwrap();
    }
}

/// A folder of images alone, through the head and through a block: rows are those of the labelled set where the model is right, and
/// others where it is wrong. Figures and audit take the runs up, and say no image wrong.
#[test]
fn images_without_labels_are_ranked_drawn_and_audited() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    run(
        folder,
        "transfer --source builtin:natural --train builtin:digits-train --test builtin:digits-test --images 60 --blocks 1 \
         --epochs 2 --batch-size 20 --augmentation none --out model",
    );
    run(
        folder,
        "rank --model model --queries 60 --skip-train --scores --bottom 5 --out all",
    );
    let all = rankings(folder, "all");
    let is_right = |at: &usize| all[*at].query_prediction == all[*at].query_label;
    let (right, wrong): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(is_right);
    // Six that the model gets right, then four that it gets wrong.
    let chosen: Vec<usize> = right[..6].iter().chain(&wrong[..4]).copied().collect();
    let ids: Vec<usize> = chosen.iter().map(|&at| all[at].query).collect();
    let test = digits_test().unwrap();
    pictures(&test, &ids, &folder.join("new"));

    let words = "rank --model model --test new --measurement prediction --scores --bottom 5";
    run(folder, &format!("{words} --out head"));
    run(
        folder,
        &format!("{words} --blocks 1 --damping 1e-1 --out blocks"),
    );
    run(
        folder,
        "rank --model model --queries 60 --blocks 1 --damping 1e-1 --scores --skip-train --out all-blocks",
    );
    for (run, labelled) in [("head", "all"), ("blocks", "all-blocks")] {
        let (found, expected) = (scores(folder, run), scores(folder, labelled));
        for (at, ranking) in rankings(folder, run).iter().enumerate() {
            let of_all = &all[chosen[at]];
            assert_eq!(ranking.query_label, of_all.query_prediction, "{run} {at}");
            let row = expected.index_axis(Axis(0), chosen[at]);
            let size = row
                .iter()
                .fold(0.0, |most, score| f64::max(most, score.abs()));
            let apart = (&found.index_axis(Axis(0), at) - &row)
                .iter()
                .fold(0.0, |most, score| f64::max(most, score.abs()));
            // The network sees other batches, and a block's systems are solved to a tolerance.
            let agrees = apart <= 1e-2 * size;
            assert_eq!(agrees, at < 6, "{run} {at}: {apart:e} of {size:e}");
        }
    }

    run(folder, "figure 6 head --out figures");
    run(folder, "figure 5 head --seed 1 --out figures");
    run(folder, "figure 4 head --images 0,7 --out figures");
    let drawn = std::fs::read_to_string(folder.join("figures/figure6.svg")).unwrap();
    assert!(!drawn.contains("(classes predicted)"));
    assert!(drawn.contains("true class (test images: predicted class)"));
    run(folder, "inspect head --check");

    run(folder, "audit head --measure 4 --out audit");
    let script = std::fs::read_to_string(folder.join("audit/data/overview.js")).unwrap();
    assert!(script.contains("\"labelled\":false") && script.contains("have no labels here"));
    assert!(
        script.contains("test loss at the predictions") && !script.contains("\"test accuracy\"")
    );
    let message = refused(folder, "audit head all --out both");
    assert!(message.contains("audit each alone"), "{message}");
    let classes: BTreeSet<usize> = rankings(folder, "head")
        .iter()
        .map(|ranking| ranking.query_label)
        .collect();
    assert!(classes.len() > 2);

    let message = refused(folder, "rank --model model --test new --out refused");
    assert!(
        message.contains("found images alone") && message.contains("--measurement prediction"),
        "{message}"
    );
    std::fs::write(folder.join("new/003.png"), "no picture").unwrap();
    let message = refused(folder, &format!("{words} --out damaged"));
    assert!(message.contains("003.png"), "{message}");
}
