//! `ascribe train`, `transfer` and `rank --model` as a user meets them: a killed run, changed data, wrong input.

use crate::command_line::{both, command, refused, run};
use crate::killed::killed_at;
use crate::run_record::record;
use crate::training::DIGITS;
use candle_core::{Tensor, safetensors};
use image::codecs::png::PngEncoder;
use std::collections::HashMap;
use std::path::Path;

fn train(out: &str, options: &str) -> String {
    let small = "--architecture cifar-resnet8-w4 --side 8 --images 200";
    format!("train {DIGITS} {small} --out {out} {options}")
}

fn transfer(source: &str, out: &str, options: &str) -> String {
    let few = "--images 50 --epochs 2";
    format!("transfer --source {source} {DIGITS} {few} --out {out} {options}")
}

#[test]
fn a_killed_training_resumes_to_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let recipe = "--epochs 6 --adversary l2 --epsilon 0.2 --steps 2 --evaluate-every 0";
    run(folder, &train("whole", recipe));
    let checkpoint = folder.join("killed/checkpoint.safetensors");
    killed_at(command(folder, &train("killed", recipe)), &checkpoint);
    assert!(!folder.join("killed/model.safetensors").exists());
    // Another recipe may not go on with these weights.
    let other = recipe.replace("--epochs 6", "--epochs 7");
    let message = refused(folder, &train("killed", &other));
    assert!(
        message.contains("epochs") && message.contains('6') && message.contains('7'),
        "{message}"
    );
    run(folder, &train("killed", recipe));
    let model = |name: &str| std::fs::read(folder.join(name).join("model.safetensors")).unwrap();
    assert!(model("whole") == model("killed"));
    assert!(!checkpoint.exists());
    let rows = std::fs::read_to_string(folder.join("killed/training.csv")).unwrap();
    assert_eq!(rows.lines().count(), 7);
    let message = refused(folder, &train("whole", recipe));
    assert!(
        message.contains("whole") && message.contains("--out"),
        "{message}"
    );
}

#[test]
fn rank_takes_everything_from_the_transfer_and_notices_changed_data() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/digits");
    for name in ["train.parquet", "test.parquet"] {
        std::fs::copy(fixtures.join(name), folder.join(name)).unwrap();
    }
    run(folder, &train("source", "--epochs 1"));
    run(
        folder,
        "transfer --source source --images 60 --blocks 1 --epochs 2 --out model --train train.parquet --test test.parquet",
    );
    run(folder, "rank --model model --top 5 --out run");
    let rankings = ascribe::influence::read_rankings(&folder.join("run/rankings.parquet")).unwrap();
    assert_eq!(rankings.len(), 797);
    let ids: Vec<usize> = ascribe::artefact::RunFolder::read(folder.join("model"))
        .unwrap()
        .result("train_ids")
        .unwrap();
    let train_set = ascribe::data::Dataset::open(&folder.join("train.parquet")).unwrap();
    for ranking in &rankings {
        assert_eq!(ranking.helpful.len(), 5);
        for entry in &ranking.helpful {
            assert!(
                ids.contains(&entry.train),
                "ids are rows of the file, not of the subset"
            );
            assert_eq!(train_set.label(entry.train), entry.train_label);
        }
    }
    // The transfer's L2 term is part of the curvature.
    let record = ascribe::artefact::RunFolder::read(folder.join("run")).unwrap();
    assert_eq!(record.option::<f64>("l2").unwrap(), 5e-4);
    std::fs::copy(folder.join("test.parquet"), folder.join("train.parquet")).unwrap();
    let message = refused(folder, "rank --model model --out again");
    assert!(
        message.contains("train.parquet") && message.contains("has changed"),
        "{message}"
    );
    let message = refused(folder, "rank --model source --out again");
    assert!(
        message.contains("ascribe train") && message.contains("ascribe transfer"),
        "{message}"
    );
}

#[test]
fn wrong_input_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let message = refused(folder, &transfer("nowhere", "out", ""));
    assert!(
        message.contains("nowhere") && message.contains("check the path"),
        "{message}"
    );
    for (source, said) in [
        (
            "resnet50-l2-eps3",
            "ascribe fetch resnet50-l2-eps3 brings it",
        ),
        (
            "builtin:robustt",
            "models builtin:natural and builtin:robust",
        ),
    ] {
        let message = refused(folder, &transfer(source, "out", ""));
        assert!(message.contains(said), "{message}");
    }
    for side in ["0", "20000", "5000000000"] {
        let words = transfer("builtin:robust", "out", &format!("--side {side}"));
        let message = refused(folder, &words);
        assert!(message.contains("1 to 4096 pixels"), "{message}");
    }
    std::fs::write(folder.join("text.safetensors"), "this is no model").unwrap();
    let message = refused(folder, &transfer("text.safetensors", "out", ""));
    assert!(
        message.contains("text.safetensors") && message.contains("header"),
        "{message}"
    );
    run(folder, &train("source", "--epochs 1"));
    let message = refused(folder, &transfer("source", "out", "--blocks 9"));
    assert!(
        message.contains("--blocks") && message.contains("has 3"),
        "{message}"
    );
    let message = refused(folder, &transfer("source", "out", "--learning-rate -1"));
    assert!(message.contains("--learning-rate"), "{message}");
    let message = refused(folder, &transfer("source", "other", "--head-deviation 0"));
    assert!(message.contains("--head-deviation"), "{message}");
    let diverging = "--blocks 0 --batch-size 10 --augmentation none --learning-rate 1e30";
    for (options, remedy) in [
        ("", "; lower --learning-rate\n"),
        ("--head-deviation 0.5", "; lower --learning-rate\n"),
        (
            "--head-deviation 2",
            "; lower --head-deviation (1 is usual) or --learning-rate\n",
        ),
    ] {
        let words = transfer("source", "diverged", &format!("{diverging} {options}"));
        let message = refused(folder, &words);
        assert!(message.ends_with(remedy), "{options}: {message}");
    }
    let options = "--epochs 1 --adversary linf --epsilon -0.1";
    let message = refused(folder, &train("out2", options));
    assert!(message.contains("--epsilon"), "{message}");
    let message = refused(
        folder,
        "train --train missing.parquet --test builtin:digits-test --epochs 1 --out x",
    );
    assert!(message.contains("missing.parquet"), "{message}");
    two_classes(&folder.join("letters"));
    let message = refused(
        folder,
        "transfer --source source --train builtin:digits-train --test letters --epochs 1 --out x",
    );
    assert!(message.contains("letters"), "{message}");
}

#[test]
fn a_share_of_flips_that_is_no_image_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let quick = "--blocks 0 --augmentation none --flip-labels";
    let noted = |share: &str| {
        let words = transfer("builtin:natural", share, &format!("{quick} {share}"));
        both(folder.path(), &words).1
    };
    let none = "ascribe: --flip-labels 0.009 of 50 training images is none: no label is flipped\n";
    assert!(noted("0.009").contains(none));
    assert!(!noted("0.01").contains("no label is flipped"));
}

/// A folder of two class folders with one grey image each.
fn two_classes(folder: &Path) {
    for class in ["a", "b"] {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        let file = std::fs::File::create(folder.join(class).join("1.png")).unwrap();
        let image = image::GrayImage::new(8, 8);
        image.write_with_encoder(PngEncoder::new(file)).unwrap();
    }
}

/// The tensors of `builtin:natural` but its classifier's, in `headless.safetensors`; and the options that say of the pixels what its
/// own file does.
fn without_classifier(folder: &Path) -> String {
    let path = Path::new("builtin:natural");
    let (whole, _) = ascribe::model::open_source(path, Default::default()).unwrap();
    let mut tensors: HashMap<String, Tensor> = whole.tensors().clone().into_iter().collect();
    tensors.retain(|name, _| !name.starts_with("fc."));
    assert_eq!(tensors.len() + 2, whole.tensors().len());
    safetensors::save(&tensors, folder.join("headless.safetensors")).unwrap();
    let three = |numbers: [f64; 3]| numbers.map(|number| number.to_string()).join(",");
    let pixels = whole.normalisation();
    let (mean, deviation) = (three(pixels.mean), three(pixels.deviation));
    format!("--source-mean {mean} --source-deviation {deviation}")
}

#[test]
fn a_source_without_its_classifier_transfers_as_the_whole_one_does_and_predicts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pixels = without_classifier(folder);
    let quick = "--blocks 1 --augmentation none";
    run(folder, &transfer("builtin:natural", "whole", quick));
    let source = "headless.safetensors";
    let options = format!("{pixels} {quick}");
    run(folder, &transfer(source, "headless", &options));
    let model = |name: &str| std::fs::read(folder.join(name).join("model.safetensors")).unwrap();
    assert!(model("whole") == model("headless"));
    let noted = |name: &str| {
        let record = ascribe::artefact::RunFolder::read(folder.join(name)).unwrap();
        record.results.get("source_has_classifier").cloned()
    };
    assert_eq!(noted("whole"), None);
    assert_eq!(noted("headless"), Some(false.into()));

    for command in [
        format!("adopt --source {source} {DIGITS} --l2 0 --out no"),
        format!("inspect {source} --test builtin:digits-test"),
    ] {
        let message = refused(folder, &format!("{command} {pixels}"));
        let said = "expected a classifier (fc.weight and fc.bias), found none; ";
        assert!(message.contains(said), "{message}");
        assert!(message.contains("ascribe transfer takes"), "{message}");
    }
    let told = run(folder, &format!("inspect {source}"));
    for part in [
        "has no classifier",
        "a source for ascribe transfer",
        "none left over",
    ] {
        assert!(told.contains(part), "`{part}` is missing in: {told}");
    }
}

/// What a command prints with `--json`, and what the `run.json` of its folder says.
fn told(folder: &Path, words: &str, out: &str) -> [serde_json::Value; 2] {
    let told = run(folder, &format!("{words} --out {out} --json"));
    [serde_json::from_str(&told).unwrap(), record(folder, out)]
}

#[test]
fn scripts_are_told_of_models_what_their_records_say() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let digits = "--train builtin:digits-train --test builtin:digits-test";
    let recipe = "--epochs 1 --augmentation none";
    let robust = "--architecture cifar-resnet8-w4 --side 8 --adversary l2 --epsilon 0.1 --steps 1";
    for (words, out) in [
        (
            format!("train {digits} {recipe} {robust} --images 50 --eval-steps 1"),
            "source",
        ),
        (
            format!("transfer --source source {digits} {recipe} --images 20 --blocks 0"),
            "model",
        ),
        (format!("adopt --source model {digits} --l2 0"), "adopted"),
    ] {
        let [told, record] = told(folder, &words, out);
        let model = format!("{out}/model.safetensors");
        assert!(folder.join(&model).exists());
        assert_eq!((&told["out"], &told["model"]), (&out.into(), &model.into()));
        assert!(told["results"]["test"]["accuracy"].is_f64(), "{told}");
        assert_eq!(told["results"]["test"], record["results"]["test"]);
        let attacked = told["results"].get("test_attacked");
        assert_eq!(attacked, record["results"].get("test_attacked"));
        assert_eq!(attacked.is_some(), out == "source");
        assert_eq!(told["seconds"], record["seconds"]);
        assert!(record["options"].get("json").is_none());
        if out == "adopted" {
            let of = record["results"]["train_ids"].as_array().unwrap().len();
            assert_eq!(told["training"]["of"], of);
            assert_eq!(told["training"]["images"], of);
            assert!(told["training"]["loss"].is_f64(), "{told}");
        }
    }
}
