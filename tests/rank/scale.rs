//! Large runs: mapped features give the bytes that resident ones give, and a killed run goes on where it was.

use crate::command_line::run;
use crate::killed_run::{goes_on_to_the_same_bytes, kill_when_recorded, rank, record, same_files};
use crate::rank::archives::{self, waves};
use ascribe::data::Features;
use ascribe::derivative::head::SoftmaxHead;
use ascribe::influence::{Correction, FeatureSet, Grouping, Progress, RankJob, RankOptions};
use ascribe::solve::{Method, Settings};
use candle_core::{DType, Device, Tensor};
use ndarray_npy::write_npy;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const FILES: [&str; 5] = [
    "rankings.parquet",
    "train_rankings.parquet",
    "self_influence.parquet",
    "solves.parquet",
    "scores.npy",
];

/// Writes `name.npz`, which is always read, and the folder `name`, which can be mapped.
fn write(folder: &Path, name: &str, count: usize, dimension: usize, phase: f64) {
    let (features, labels) = waves(count, dimension, phase);
    let set = (features.mapv(|feature| feature as f32), labels);
    archives::write(&folder.join(format!("{name}.npz")), &set);
    let folder = folder.join(name);
    std::fs::create_dir(&folder).unwrap();
    write_npy(folder.join("features.npy"), &set.0).unwrap();
    write_npy(folder.join("labels.npy"), &set.1).unwrap();
}

fn place(train: usize, test: usize, dimension: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train", train, dimension, 0.0);
    write(folder.path(), "test", test, dimension, 0.5);
    folder
}

struct Quiet;

impl Progress for Quiet {
    fn stage(&mut self, _: &'static str) -> ascribe::Result<()> {
        Ok(())
    }

    fn scores(&mut self, _: &str, _: usize, _: usize) {}
}

/// Runs a job on the folders `train` and `test`, with features of more than `resident` bytes mapped, into the folder `run`.
fn job(folder: &Path, run: &str, resident: Option<u64>, options: RankOptions) {
    let open = |name: &str| Features::open_within(&folder.join(name), resident).unwrap();
    let (train, test) = (open("train"), open("test"));
    assert_eq!(train.values.is_mapped(), resident.is_some());
    let weights = (0..3 * (train.dimension() + 1)).map(|i| (0.3 * (1.3 * i as f64).sin()) as f32);
    let shape = (3, train.dimension() + 1);
    let weights = Tensor::from_vec(weights.collect(), shape, &Device::Cpu).unwrap();
    let ids: Vec<usize> = (0..train.len()).collect();
    let head = SoftmaxHead::from_parameters(&weights).unwrap();
    let set = |features: &Features| features.labels.clone();
    let (train_labels, test_labels) = (set(&train), set(&test));
    let job = RankJob {
        train: FeatureSet {
            features: &train.values,
            labels: &train_labels,
            ids: &ids,
        },
        test: FeatureSet {
            features: &test.values,
            labels: &test_labels,
            ids: &ids[..test.len()],
        },
        head: &head,
        classes: Vec::new(),
        options,
        digests: BTreeMap::new(),
        device: Device::Cpu,
    };
    std::fs::create_dir(folder.join(run)).unwrap();
    job.run(&folder.join(run), &mut Quiet).unwrap();
}

#[test]
fn mapped_features_give_the_bytes_that_resident_ones_give() {
    // More rows than a step of 4,096, so that sums over all rows are of several chunks.
    let place = place(4300, 150, 12);
    let folder = place.path();
    let method = |method| Settings {
        method,
        ..Settings::default()
    };
    let plain = |solver| RankOptions {
        l2: 0.01,
        top: 3,
        bottom: 2,
        scores: true,
        train_queries: false,
        solver,
        ..RankOptions::default()
    };
    let lissa = Settings {
        depth: 30,
        batch_size: Some(64),
        ..method(Method::Lissa)
    };
    let jobs = [
        ("direct", plain(method(Method::Direct))),
        ("lissa", plain(lissa)),
        (
            "cg-groups",
            RankOptions {
                query_groups: Some(Grouping::Class),
                precision: DType::F64,
                ..plain(method(Method::Cg))
            },
        ),
        (
            "leverage",
            RankOptions {
                correction: Correction::Leverage,
                ..plain(method(Method::Direct))
            },
        ),
        (
            "identity-self",
            RankOptions {
                train_queries: true,
                scores: false,
                ..plain(method(Method::Identity))
            },
        ),
        (
            "certified",
            RankOptions {
                certify: Some(3),
                ..plain(method(Method::Direct))
            },
        ),
    ];
    for (name, options) in jobs {
        let (mapped, resident) = (format!("{name}-mapped"), format!("{name}-resident"));
        job(folder, &mapped, Some(0), options.clone());
        job(folder, &resident, None, options);
        let files = |run: &str| {
            let entries = std::fs::read_dir(folder.join(run)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort_unstable();
            names
        };
        assert_eq!(files(&mapped), files(&resident), "nothing is left behind");
        assert!(files(&mapped).contains(&"rankings.parquet".to_owned()));
        for file in files(&mapped) {
            same_files(folder, &[&file], &mapped, &resident);
        }
    }
}

#[test]
fn a_plan_in_little_memory_maps_what_lies_in_folders() {
    let place = place(3000, 200, 24);
    let plan = |files: &str| {
        let words =
            format!("rank {files} --l2 0.01 --top 1 --dry-run --json --out run --memory 2e-3");
        serde_json::from_str::<Value>(&run(place.path(), &words)).unwrap()
    };
    let mapped = plan("--train train --test test");
    let read = plan("--train train.npz --test test.npz");
    assert_eq!(mapped["mapped"].to_string(), r#"["train"]"#);
    assert_eq!(read["mapped"].to_string(), "[]");
    assert!(!place.path().join("run").exists());
}

const SMALL: &str =
    "--train train.npz --test test.npz --l2 0.01 --solver cg --precision f64 --top 5 --bottom 2";

#[test]
fn a_killed_run_goes_on_after_its_last_recorded_block_to_the_same_bytes() {
    let place = place(1500, 800, 20);
    let folder = place.path();
    // So little memory that blocks have some twenty rows.
    let (all, few) = ("--memory 0.00258", "--memory 0.00164 --skip-train");
    for (name, options) in [
        ("train", format!("{all} --scores")),
        ("test", format!("{few} --scores")),
        ("normalised", format!("{all} --normalise l-relatif")),
        ("certified", format!("{few} --certify 5")),
        // All solutions are kept besides.
        (
            "certified-train",
            "--memory 0.00399 --certify 5 --scores".into(),
        ),
    ] {
        let common = format!("{SMALL} {options}");
        goes_on_to_the_same_bytes(folder, &common, name, &FILES);
    }
}

#[test]
fn a_damaged_record_or_scores_that_changed_are_passed_over_with_a_note() {
    let place = place(1500, 800, 20);
    let folder = place.path();
    let common = format!("{SMALL} --memory 0.00258 --scores");
    rank(folder, &format!("{common} --out whole"));
    for (run, file, reason) in [
        ("record", ".scored", "is damaged"),
        (
            "scores",
            ".scores.npy.recorded",
            "does not fit what else is in the folder",
        ),
    ] {
        let words = format!("{common} --out {run}");
        kill_when_recorded(folder, &words, run);
        let path = folder.join(run).join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        // Into the first scores, or somewhere in the record.
        bytes[140] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let said = rank(folder, &words);
        assert!(
            said.contains(reason) && said.contains("scoring begins anew"),
            "{said}"
        );
        assert_eq!(record(folder, run)["results"]["resumed"], 0);
        same_files(folder, &FILES, "whole", run);
    }
}
