//! `ascribe rank --unrolled` as it is typed: scores by the way back through the transfer's own training.

use crate::audit::piece;
use crate::command_line::{both, command, refused, run};
use crate::killed::killed_at;
use crate::killed_run::{goes_on_to_the_same_bytes, record, same_files};
use crate::parquet_table::numbers;
use crate::run_record::scores;
use ascribe::influence::read_rankings;
use serde_json::Value;

const DIGITS: &str = "--train builtin:digits-train --test builtin:digits-test";
const FILES: [&str; 4] = [
    "rankings.parquet",
    "scores.npy",
    "group_rankings.parquet",
    "train_groups.parquet",
];

/// A small source, transferred to 40 digits: the last block, or the head alone.
fn transferred() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let train = "--architecture cifar-resnet8-w4 --side 8 --images 200 --epochs 2 --out source";
    run(folder, &format!("train {DIGITS} {train}"));
    let transfer =
        "--images 40 --batch-size 16 --epochs 6 --learning-rate 0.05 --head-deviation 0.3";
    for (blocks, model) in [(1, "model"), (0, "head")] {
        let words = format!("{DIGITS} {transfer} --blocks {blocks} --source source --out {model}");
        run(folder, &format!("transfer {words}"));
    }
    place
}

#[test]
fn a_transfer_is_repeated_and_differentiated() {
    let place = transferred();
    let folder = place.path();
    let rank = "rank --model model --blocks 1 --unrolled --queries 20 --scores --bottom 2";
    let (_, noted) = both(folder, &format!("{rank} --out run"));
    assert!(
        !noted.contains("did not end at the same numbers"),
        "{noted}"
    );
    let left = record(folder, "run");
    assert_eq!(left["results"]["repeated_off_by"], 0.0);
    assert_eq!(left["results"]["plan"]["method"], "unrolled");
    for curvature in ["damping", "curvature", "tolerance"] {
        assert!(left["options"][curvature].is_null(), "{curvature}");
    }
    assert!(!folder.join("run/solves.parquet").exists());

    let found = scores(folder, "run");
    assert_eq!(found.dim(), (20, 40));
    let rankings = read_rankings(&folder.join("run/rankings.parquet")).unwrap();
    assert!(rankings.iter().all(|ranking| ranking.helpful.len() == 40));
    // In f64 the same but for rounding, which twelve steps do not blow up.
    run(folder, &format!("{rank} --precision f64 --out double"));
    let double = scores(folder, "double");
    let largest = double
        .iter()
        .fold(0.0f64, |most, score| most.max(score.abs()));
    let apart = (&found - &double).fold(0.0f64, |most, apart| most.max(apart.abs()));
    assert!(apart < 1e-3 * largest, "{apart} of {largest}");

    // What comes of it is taken up by what reads runs.
    run(folder, "inspect run --check");
    let (said, _) = both(folder, "rerun run");
    assert!(said.contains("the same"), "{said}");
    run(folder, "audit run --measure 0 --out page");
    let page = std::fs::read_to_string(folder.join("page/data/overview.js")).unwrap();
    assert!(
        page.contains("derivatives of the training itself"),
        "{page}"
    );
    assert!(page.contains("Nothing was measured here"), "{page}");
    assert!(!page.contains("systems were solved"), "{page}");
    run(folder, "figure 6 run --out figures");
    let evaluate = "evaluate run --lds 8 --retrain 1 --draws 50 --compare knn --out evidence";
    run(folder, evaluate);
    let rows = record(folder, "evidence")["results"]["lds"]["rows"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows}");
}

/// What the page says a query's loss rises by without its most helpful image is what an evaluation that leaves out every image says.
#[test]
fn an_audit_trains_again_without_the_most_helpful_images() {
    let place = transferred();
    let folder = place.path();
    run(
        folder,
        "rank --model head --unrolled --queries 12 --scores --out run",
    );
    let audit = "audit run --removed 1 --skip-sensitivity";
    run(folder, &format!("{audit} --out page"));
    let overview = piece(&folder.join("page"), "overview").to_string();
    assert!(
        overview.contains(
            "once for each of 8 test images without the losses of its most helpful image: "
        ),
        "{overview}"
    );
    let all = "--leave-one-out 40 --choose all --retrain 1 --keep-batches --queries 12";
    run(
        folder,
        &format!("evaluate run {all} --draws 20 --out every"),
    );
    let table = folder.join("every/leave_one_out.parquet");
    let [trains, asked, actual] = ["train", "query", "actual"].map(|name| numbers(&table, name));
    let rise = |train: usize, query: usize| {
        let pair = (train as f64, query as f64);
        let row = (0..actual.len()).find(|&row| (trains[row], asked[row]) == pair);
        actual[row.unwrap()]
    };
    let rankings = read_rankings(&folder.join("run/rankings.parquet")).unwrap();
    let queries = piece(&folder.join("page"), "query-0");
    let mut measured = 0;
    for (row, ranking) in rankings.iter().enumerate() {
        let removal = &queries[row][0]["removal"];
        if removal.is_null() {
            continue;
        }
        measured += 1;
        let first = &ranking.helpful[0];
        let near = |name: &str, expected: f64| {
            let found = removal[name].as_f64().unwrap();
            assert!(
                (found - expected).abs() <= 1e-4 * expected.abs() + 1e-9,
                "{name} {found} {expected}"
            );
        };
        near("predicted", first.score);
        near("measured", rise(first.train, ranking.query));
    }
    assert_eq!(measured, 8);
    // Where the source is gone nothing can be trained again, which is no reason to have no page.
    std::fs::rename(folder.join("source"), folder.join("elsewhere")).unwrap();
    let (_, noted) = both(folder, &format!("{audit} --out without"));
    assert!(
        noted.contains("nothing is measured of run") && noted.contains("is not there any more"),
        "{noted}"
    );
    let overview = piece(&folder.join("without"), "overview").to_string();
    let reason = "Nothing was measured by training again: ";
    assert!(overview.contains(reason), "{overview}");
}

#[test]
fn a_killed_audit_goes_on_and_another_one_s_trainings_are_not_taken() {
    let place = transferred();
    let folder = place.path();
    run(
        folder,
        "rank --model model --blocks 1 --unrolled --queries 12 --out run",
    );
    let audit = |out: &str| format!("audit run --skip-sensitivity --out {out}");
    run(folder, &audit("whole"));
    let part = folder.join("killed/.trained-0-00003-000.json");
    killed_at(command(folder, &audit("killed")), &part);
    let mut other: Value = serde_json::from_slice(&std::fs::read(&part).unwrap()).unwrap();
    run(folder, &format!("{} --threads 1", audit("killed")));
    // What a killed audit of another run would leave where only visible files were removed.
    other["losses"] = vec![9.0; 8].into();
    let stale = folder.join("stale").join(part.file_name().unwrap());
    std::fs::create_dir(folder.join("stale")).unwrap();
    std::fs::write(stale, other.to_string()).unwrap();
    run(folder, &audit("stale"));
    for run in ["killed", "stale"] {
        same_files(folder, &["measured.csv", "data/query-0.js"], "whole", run);
        let left = std::fs::read_dir(folder.join(run)).unwrap();
        let mut names = left.map(|entry| entry.unwrap().file_name());
        assert!(!names.any(|name| name.to_string_lossy().starts_with(".trained")));
    }
}

#[test]
fn a_killed_way_back_goes_on_to_the_same_bytes() {
    let place = transferred();
    let folder = place.path();
    for (name, model, groups) in [
        ("queries", "model --blocks 1", "--query-groups class"),
        (
            "groups",
            "head",
            "--query-groups class --groups-only --memory 0.0001",
        ),
    ] {
        let common =
            format!("--model {model} --unrolled --queries 60 --train-groups class {groups}");
        let scores = if name == "queries" { "--scores" } else { "" };
        goes_on_to_the_same_bytes(folder, &format!("{common} {scores}"), name, &FILES);
        let noted =
            |run: &str| record(folder, &format!("{name}-{run}"))["results"]["solver"].clone();
        assert!(noted("whole")["way_back_growth"].as_f64().unwrap() >= 1.0);
        assert_eq!(noted("whole"), noted("killed"));
    }
    assert!(folder.join("groups-whole/group_rankings.parquet").exists());
}

/// Flipped labels are those that were trained on; queries need none; what is kept in a file is what is kept in memory.
#[test]
fn labels_are_those_of_the_training_and_memory_changes_nothing() {
    let place = transferred();
    let folder = place.path();
    let transfer = "--images 40 --batch-size 16 --epochs 3 --learning-rate 0.05 --flip-labels 0.3";
    run(
        folder,
        &format!("transfer {DIGITS} {transfer} --blocks 1 --source source --out flipped"),
    );
    let rank = "rank --model flipped --blocks 1 --unrolled --queries 3 --measurement prediction";
    let rank = format!("{rank} --test builtin:digits-test --scores");
    run(folder, &format!("{rank} --out wide"));
    run(folder, &format!("{rank} --memory 0.001 --out narrow"));
    same_files(
        folder,
        &["scores.npy", "rankings.parquet"],
        "wide",
        "narrow",
    );
    assert_eq!(record(folder, "wide")["results"]["repeated_off_by"], 0.0);
    assert!(record(folder, "wide")["results"]["test_accuracy"].is_null());
}

#[test]
fn what_does_not_go_with_it_is_refused_in_a_line() {
    let place = transferred();
    let folder = place.path();
    let adopt = "adopt --source model/model.safetensors --l2 5e-4 --blocks 1 --out adopted";
    run(folder, &format!("{adopt} {DIGITS}"));
    for (words, part) in [
        ("--model model", "give --blocks 1, as the transfer, found 0"),
        (
            "--model head --blocks 1",
            "give --blocks 0, as the transfer, found 1",
        ),
        (
            "--model adopted --blocks 1",
            "--unrolled: needs a --model that ascribe transfer left",
        ),
        (
            "--model model --blocks 1 --damping 0.1",
            "--damping: is for scores by a curvature",
        ),
        (
            "--model model --blocks 1 --solver cg",
            "--solver: is for scores by a curvature",
        ),
        (
            "--model model --blocks 1 --curvature hessian",
            "--curvature",
        ),
        (
            "--model model --blocks 1 --shares",
            "--shares: is not there",
        ),
        (
            "--model model --blocks 1 --seed 1",
            "--seed: is not drawn from here",
        ),
        (
            "--model model --blocks 1 --query-groups class --groups-only --scores",
            "--scores: are those of queries",
        ),
        (
            "--model model --blocks 1 --certify 5",
            "--certify: is for scores by a curvature",
        ),
        (
            "--model model --blocks 1 --memory 0.0002",
            "--memory: the way back through batches of 16 images takes at least",
        ),
    ] {
        let message = refused(folder, &format!("rank {words} --unrolled --out refused"));
        assert!(message.contains(part), "{message}");
        assert!(!folder.join("refused").exists());
    }
    let plan = run(
        folder,
        "rank --model model --blocks 1 --unrolled --dry-run --out refused",
    );
    assert!(plan.contains("18 steps are repeated"), "{plan}");
    assert!(plan.contains(" GiB of memory beside the program"), "{plan}");
    let planned = |words: &str, name: &str| {
        let rank = "rank --model model --blocks 1 --unrolled --dry-run --json --out refused";
        let plan = run(folder, &format!("{rank} {words}"));
        let plan: Value = serde_json::from_str(&plan).unwrap();
        plan[name].as_f64().unwrap()
    };
    let memory = |words: &str| planned(words, "memory_bytes");
    // Sixteen ways back, and as little as one.
    assert!(memory("") > 2.0 * memory("--queries 1"));
    for gib in [0.001, 0.002] {
        let planned = memory(&format!("--memory {gib}"));
        assert!(planned < gib * f64::from(1 << 30), "{gib}: {planned}");
    }
    // All 18 steps, or those at 0, 6 and 12 with their velocities and six more: √36.
    let [all, few] = ["", "--memory 0.001"].map(|words| planned(words, "trajectory_bytes"));
    assert_eq!(planned("", "kept_every"), 1.0);
    assert_eq!(planned("--memory 0.001", "kept_every"), 6.0);
    assert_eq!(18.0 * few, (2.0 * 3.0 + 6.0) * all);
    let plan = run(
        folder,
        "rank --model model --blocks 1 --unrolled --dry-run --memory 0.001 --out refused",
    );
    assert!(plan.contains("the parameters of one in 6 kept, "), "{plan}");
    assert!(
        plan.contains("the steps between are trained again"),
        "{plan}"
    );
    // A source that has changed since is no longer what was trained.
    let source = folder.join("source/model.safetensors");
    let mut bytes = std::fs::read(&source).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&source, bytes).unwrap();
    let message = refused(
        folder,
        "rank --model model --blocks 1 --unrolled --out refused",
    );
    assert!(message.contains("source"), "{message}");
}
