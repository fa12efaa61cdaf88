//! A transfer trained again without some of its images: seed 0 on all of them is the transfer itself.

use crate::command_line::{ascribe, both, command, refused, run};
use crate::evaluate::command::{bytes, results};
use crate::killed::killed_at;
use ascribe::artefact::RunFolder;
use ascribe::data::{Dataset, Pixels};
use ascribe::evaluate::{Ids, Retrained};
use ascribe::model::read_model;
use candle_core::{DType, Device};
use std::collections::BTreeMap;
use std::path::Path;

/// A transferred model and its rankings through a block (`run`) and through the head (`head`).
fn ranked(folder: &Path) {
    let train = "train --train builtin:digits-train --test builtin:digits-test --architecture cifar-resnet8-w8 --side 8 \
                 --epochs 1 --batch-size 32 --augmentation none --out source";
    let transfer = "transfer --source source --train builtin:digits-train --test builtin:digits-test --images 40 --blocks 1 \
                    --epochs 3 --batch-size 20 --augmentation flip --seed 7 --out model";
    let rank = "rank --model model --queries 6 --damping 1e-1 --scores --skip-train";
    run(folder, train);
    run(folder, transfer);
    run(folder, &format!("{rank} --blocks 1 --out run"));
    run(folder, &format!("{rank} --out head"));
}

/// The queries of a run, and what they were measured at in the evaluation `evidence`.
fn measured(folder: &Path, run: &str, evidence: &str, train: &[usize]) -> (Vec<usize>, Retrained) {
    let rankings = folder.join(run).join("rankings.parquet");
    let rankings = ascribe::influence::read_rankings(&rankings).unwrap();
    let queries: Vec<usize> = rankings.iter().map(|ranking| ranking.query).collect();
    let ids = Ids {
        train,
        queries: &queries,
    };
    let found = Retrained::read(&folder.join(evidence), "lds", ids, &BTreeMap::new()).unwrap();
    (queries, found)
}

#[test]
fn the_transfer_is_had_again_and_scores_are_held_against_it() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    ranked(folder);
    let words = "evaluate run --lds 8 --draws 50 --threads 1";
    run(folder, &format!("{words} --retrain 1 --out one"));
    // Queries of another file than the transfer's test images.
    let rank = "rank --model model --test builtin:digits-train --queries 6 --damping 1e-1 --skip-train --out elsewhere";
    run(folder, rank);
    let few = "evaluate elsewhere --lds 3 --draws 50 --retrain 1 --out few";
    run(folder, few);

    // All images, the recipe's own seed: the losses of the model that was transferred.
    let record = RunFolder::read(folder.join("model")).unwrap();
    let train: Vec<usize> = record.result("train_ids").unwrap();
    let model = read_model(&folder.join("model/model.safetensors"), &Device::Cpu).unwrap();
    for (run, data, evidence) in [
        ("run", "builtin:digits-test", "one"),
        ("elsewhere", "builtin:digits-train", "few"),
    ] {
        let data = Dataset::open(Path::new(data)).unwrap();
        let (queries, found) = measured(folder, run, evidence, &train);
        let images = Pixels::decode(&data, &queries, model.framing()).unwrap();
        let batch = images.batch(&[0, 1, 2, 3, 4, 5], &Device::Cpu).unwrap();
        let logits = model.logits(&batch).unwrap().to_dtype(DType::F64).unwrap();
        for (row, query) in logits.to_vec2::<f64>().unwrap().iter().zip(0..) {
            let label = images.labels()[query];
            let sum: f64 = row.iter().map(|logit| (logit - row[label]).exp()).sum();
            let loss = found.before[query];
            let apart = (sum.ln() - loss).abs();
            // The program may take other kernels of OpenBLAS than this process; another seed is further off by far.
            assert!(apart <= 1e-5 * (1.0 + loss), "{run}, {query}: {apart:e}");
        }
    }

    let (_, one) = measured(folder, "run", "one", &train);
    // The run of the head is held against the very same trainings.
    run(
        folder,
        "evaluate head --lds 8 --draws 50 --retrained one --compare identity --out both",
    );
    let both = results(folder, "both")["lds"].clone();
    assert_eq!(both["retrainings"], 8);
    assert_eq!(both["rows"].as_array().unwrap().len(), 2);

    // Two seeds: the first of them as before, and how far they agree.
    run(folder, &format!("{words} --retrain 2 --out two"));
    let (_, two) = measured(folder, "run", "two", &train);
    let second = &two.losses * 2.0 - &one.losses;
    assert!(
        second.iter().all(|loss| *loss > -1e-12),
        "not a mean of seeds"
    );
    assert!(second != one.losses);
    let seeds = results(folder, "two")["lds_seeds"].clone();
    let (one, mean) = (
        seeds["one_with_another"].as_f64().unwrap(),
        seeds["mean_with_another_mean"].as_f64().unwrap(),
    );
    // Seeds that contradict each other say nothing together.
    let one = one.max(0.0);
    assert!((mean - 2.0 * one / (1.0 + one)).abs() < 1e-12, "{seeds}");
    let most = seeds["most_to_expect"].as_f64().unwrap();
    assert!((most - mean.max(0.0).sqrt()).abs() < 1e-12, "{seeds}");

    for name in ["source", "model"] {
        std::fs::rename(folder.join(name), folder.join("moved")).unwrap();
        let message = refused(folder, "evaluate run --lds 8 --retrain 1 --out x");
        assert!(
            message.starts_with(&format!("ascribe: {name}"))
                && message.contains("is not there any more")
                && message.contains("--moved OLD=NEW"),
            "{message}"
        );
        std::fs::rename(folder.join("moved"), folder.join(name)).unwrap();
    }
    let features = "evaluate head --lds 8 --retrain 0 --out x";
    let message = refused(folder, features);
    assert!(message.contains("--retrain"), "{message}");
    let other = "train --train builtin:digits-train --test builtin:digits-test --architecture cifar-resnet8-w8 --side 8 \
                 --epochs 1 --batch-size 64 --augmentation none --out source2";
    run(folder, other);
    // Weights under another's record, and then another source altogether.
    for (file, found) in [
        ("model.safetensors", "is not what ascribe train left here"),
        ("run.json", "has changed since"),
    ] {
        let [from, to] = ["source2", "source"].map(|source| folder.join(source).join(file));
        std::fs::copy(from, to).unwrap();
        let message = refused(folder, "evaluate run --lds 8 --retrain 1 --out x");
        assert!(message.contains(found), "{message}");
    }
}

/// Without an L2 term no head has a best value to be fitted to, and a training has its recipe.
#[test]
fn a_transfer_without_an_l2_term_is_trained_again() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let transfer = "transfer --source builtin:natural --train builtin:digits-train --test builtin:digits-test --images 40 --blocks 0 \
                    --epochs 1 --l2 0 --side 8 --augmentation none --out model";
    run(folder, transfer);
    run(
        folder,
        "rank --model model --queries 6 --damping 1e-2 --skip-train --out run",
    );
    let words = "evaluate run --lds 3 --leave-group-out class --retrain 1 --draws 20";
    run(folder, &format!("{words} --out trained"));
    let found = results(folder, "trained");
    assert!(found["fit"]["gradient_norm"].is_null(), "{found}");
    assert_eq!(found["groups_left_out"]["of_heads"], false);
    // The others are trained on as they are, by their own mean loss.
    let drawn = String::from_utf8(bytes(folder, "trained", "leave_group_out.svg")).unwrap();
    assert!(!drawn.contains("keeping their weight"));
    for words in ["evaluate run --lds 3", &format!("{words} --removal 2")] {
        let message = refused(folder, &format!("{words} --out x"));
        let parts = ["--l2: 0 is not above 0", "with --retrain ask for --leave"];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn a_killed_series_of_trainings_goes_on_to_the_same_bytes() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    ranked(folder);
    let words = "evaluate run --lds 12 --retrain 2 --draws 50";
    run(folder, &format!("{words} --out whole"));
    let killed = format!("{words} --out killed");
    let part = folder.join("killed/.lds-00004-001.json");
    killed_at(command(folder, &killed), &part);
    run(folder, &format!("{killed} --threads 1"));
    for file in [
        "lds_measurements.parquet",
        "lds_subsets.parquet",
        "lds.parquet",
    ] {
        assert!(
            bytes(folder, "whole", file) == bytes(folder, "killed", file),
            "{file}"
        );
    }
    let left = std::fs::read_dir(folder.join("killed")).unwrap();
    let hidden = left.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".lds")
    });
    assert_eq!(hidden.count(), 0);
}

/// A head whose transfer stopped early, from λ by hand to what training again says of both dampings.
#[test]
fn damping_that_stands_for_a_stopped_training_agrees_better_with_training_again() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let digits = "--train builtin:digits-train --test builtin:digits-test";
    run(
        folder,
        &format!(
            "transfer --source builtin:natural {digits} --images 200 --blocks 0 --epochs 15 --batch-size 25 \
             --augmentation none --frozen-statistics frozen --evaluate-every 0 --out model"
        ),
    );
    let rank = "rank --model model --queries 40 --skip-train --scores";
    let (_, noted) = both(folder, &format!("{rank} --out minimum"));
    assert!(
        noted.contains("--damping trained (2.25e-2 here)"),
        "{noted}"
    );
    let (_, noted) = both(folder, &format!("{rank} --damping trained --out stopped"));
    assert!(!noted.contains("--damping"), "{noted}");
    // 8 steps at 0.1, 0.01 and 0.001 in five epochs each, momentum 0.9.
    let time = 8.0 * 5.0 * (0.1 + 0.01 + 0.001) / (1.0 - 0.9);
    let record = RunFolder::read(folder.join("stopped")).unwrap();
    let found: f64 = record.result("training_time").unwrap();
    let damping: f64 = record.option("damping").unwrap();
    assert!((found - time).abs() < 1e-9 * time && (damping * time - 1.0).abs() < 1e-9);

    run(
        folder,
        "evaluate minimum --lds 16 --retrain 1 --draws 50 --out evidence",
    );
    run(
        folder,
        "evaluate stopped --lds 16 --retrained evidence --draws 50 --out both",
    );
    let [minimum, stopped] = ["evidence", "both"].map(|name| {
        let found = results(folder, name);
        found["lds"]["rows"][0]["agreement"]["spearman"]["value"]
            .as_f64()
            .unwrap()
    });
    assert!(stopped > minimum + 0.05, "{stopped} {minimum}");

    let blocks = format!("{rank} --blocks 1 --damping trained --dry-run --out x");
    assert!(run(folder, &blocks).contains("40 queries"));
    let features = "rank --model model --keep-features --skip-train --damping 1e-2 --out features";
    run(folder, features);
    for words in [
        "rank --train features/train_features.safetensors --test features/test_features.safetensors --l2 1e-3 --damping trained --out x",
        &format!("{rank} --damping early --out x"),
    ] {
        let output = ascribe(folder, words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains("trained"),
            "{said}"
        );
    }
}
