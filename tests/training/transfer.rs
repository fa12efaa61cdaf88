//! `ascribe train`, `transfer` and `rank --model` as a user meets them: a killed run, changed data, wrong input.

use assert_cmd::cargo::CommandCargoExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const DIGITS: [&str; 4] = [
    "--train",
    "builtin:digits-train",
    "--test",
    "builtin:digits-test",
];

fn ascribe(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::cargo_bin("ascribe").unwrap();
    command.args(words).current_dir(folder);
    command
}

fn run(folder: &Path, words: &[&str]) -> Output {
    ascribe(folder, words).output().unwrap()
}

fn succeed(folder: &Path, words: &[&str]) {
    let output = run(folder, words);
    assert!(
        output.status.success(),
        "{}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The one line of a refused command.
fn refusal(folder: &Path, words: &[&str]) -> String {
    let output = run(folder, words);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

fn train<'a>(out: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let small = [
        "--architecture",
        "cifar-resnet8-w4",
        "--side",
        "8",
        "--images",
        "200",
        "--out",
        out,
    ];
    [&["train"], &DIGITS[..], &small[..], extra].concat()
}

fn transfer<'a>(source: &'a str, out: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    [
        &[
            "transfer", "--source", source, "--out", out, "--images", "50", "--epochs", "2",
        ],
        &DIGITS[..],
        extra,
    ]
    .concat()
}

#[test]
fn a_killed_training_resumes_to_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let recipe = [
        "--epochs",
        "6",
        "--adversary",
        "l2",
        "--epsilon",
        "0.2",
        "--steps",
        "2",
        "--evaluate-every",
        "0",
    ];
    succeed(folder, &train("whole", &recipe));
    let mut killed = ascribe(folder, &train("killed", &recipe))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let checkpoint = folder.join("killed/checkpoint.safetensors");
    let started = Instant::now();
    while !checkpoint.exists() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    killed.kill().unwrap();
    let interrupted = !killed.wait().unwrap().success();
    assert!(
        interrupted,
        "the run ended before it could be killed: give it more epochs"
    );
    assert!(!folder.join("killed/model.safetensors").exists());
    // Another recipe may not go on with these weights.
    let mut other = recipe;
    other[1] = "7";
    let message = refusal(folder, &train("killed", &other));
    assert!(
        message.contains("epochs") && message.contains('6') && message.contains('7'),
        "{message}"
    );
    succeed(folder, &train("killed", &recipe));
    let model = |name: &str| std::fs::read(folder.join(name).join("model.safetensors")).unwrap();
    assert!(model("whole") == model("killed"));
    assert!(!checkpoint.exists());
    let rows = std::fs::read_to_string(folder.join("killed/training.csv")).unwrap();
    assert_eq!(rows.lines().count(), 7);
    let message = refusal(folder, &train("whole", &recipe));
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
    succeed(folder, &train("source", &["--epochs", "1"]));
    let data = ["--train", "train.parquet", "--test", "test.parquet"];
    succeed(
        folder,
        &[
            &[
                "transfer", "--source", "source", "--images", "60", "--blocks", "1", "--epochs",
                "2", "--out", "model",
            ],
            &data[..],
        ]
        .concat(),
    );
    succeed(
        folder,
        &["rank", "--model", "model", "--top", "5", "--out", "run"],
    );
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
    let message = refusal(folder, &["rank", "--model", "model", "--out", "again"]);
    assert!(
        message.contains("train.parquet") && message.contains("has changed"),
        "{message}"
    );
    let message = refusal(folder, &["rank", "--model", "source", "--out", "again"]);
    assert!(
        message.contains("ascribe train") && message.contains("ascribe transfer"),
        "{message}"
    );
}

#[test]
fn wrong_input_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let message = refusal(folder, &transfer("nowhere", "out", &[]));
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
        let message = refusal(folder, &transfer(source, "out", &[]));
        assert!(message.contains(said), "{message}");
    }
    for side in ["0", "20000", "5000000000"] {
        let message = refusal(
            folder,
            &transfer("builtin:robust", "out", &["--side", side]),
        );
        assert!(message.contains("1 to 4096 pixels"), "{message}");
    }
    std::fs::write(folder.join("text.safetensors"), "this is no model").unwrap();
    let message = refusal(folder, &transfer("text.safetensors", "out", &[]));
    assert!(
        message.contains("text.safetensors") && message.contains("header"),
        "{message}"
    );
    succeed(folder, &train("source", &["--epochs", "1"]));
    let message = refusal(folder, &transfer("source", "out", &["--blocks", "9"]));
    assert!(
        message.contains("--blocks") && message.contains("has 3"),
        "{message}"
    );
    let message = refusal(
        folder,
        &transfer("source", "out", &["--learning-rate", "-1"]),
    );
    assert!(message.contains("--learning-rate"), "{message}");
    let message = refusal(
        folder,
        &transfer("source", "other", &["--head-deviation", "0"]),
    );
    assert!(message.contains("--head-deviation"), "{message}");
    let message = refusal(
        folder,
        &train(
            "out2",
            &["--epochs", "1", "--adversary", "linf", "--epsilon", "-0.1"],
        ),
    );
    assert!(message.contains("--epsilon"), "{message}");
    let message = refusal(
        folder,
        &[
            "train",
            "--train",
            "missing.parquet",
            "--test",
            "builtin:digits-test",
            "--epochs",
            "1",
            "--out",
            "x",
        ],
    );
    assert!(message.contains("missing.parquet"), "{message}");
    two_classes(&folder.join("letters"));
    let words = [
        "transfer",
        "--source",
        "source",
        "--train",
        "builtin:digits-train",
        "--test",
        "letters",
        "--epochs",
        "1",
        "--out",
        "x",
    ];
    let message = refusal(folder, &words);
    assert!(message.contains("letters"), "{message}");
}

/// A folder of two class folders with one grey image each.
fn two_classes(folder: &Path) {
    for class in ["a", "b"] {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        image::GrayImage::new(8, 8)
            .save(folder.join(class).join("1.png"))
            .unwrap();
    }
}
