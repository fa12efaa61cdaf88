//! A source model that PyTorch wrote, of bottleneck blocks, all the way: looked at, transferred with frozen blocks, ranked
//! through its last block; and what `ascribe inspect` says on the way.

use ascribe::artefact::RunFolder;
use ascribe::model::read_model;
use candle_core::Device;
use serde_json::Value;
use std::path::Path;

fn run(folder: &Path, words: &[&str]) -> Result<String, String> {
    let output = assert_cmd::Command::cargo_bin("ascribe")
        .unwrap()
        .current_dir(folder)
        .args(words)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

fn inspected(folder: &Path, path: &str) -> Value {
    serde_json::from_str(&run(folder, &["inspect", path, "--json"]).unwrap()).unwrap()
}

const TRANSFER: [&str; 17] = [
    "transfer",
    "--train",
    "builtin:digits-train",
    "--test",
    "builtin:digits-test",
    "--images",
    "60",
    "--blocks",
    "2",
    "--epochs",
    "2",
    "--batch-size",
    "20",
    "--augmentation",
    "none",
    "--out",
    "run",
];

#[test]
fn a_bottleneck_model_is_transferred_and_ranked_through() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/checkpoints/bottleneck.safetensors");
    let source = file.to_str().unwrap();
    let options = ["--source", source, "--side", "16"];
    let message = run(folder, &[&TRANSFER[..], &options].concat()).unwrap_err();
    assert!(
        message.contains("--source-mean and --source-deviation"),
        "{message}"
    );

    let pixels = [
        "--source-mean",
        "0.5,0.5,0.5",
        "--source-deviation",
        "0.25,0.25,0.25",
    ];
    run(folder, &[&TRANSFER[..], &options, &pixels].concat()).unwrap();
    let transferred = read_model(&folder.join("run/model.safetensors"), &Device::Cpu).unwrap();
    assert_eq!(transferred.architecture().to_string(), "cifar-resnet50-w2");
    assert_eq!((transferred.side(), transferred.classes().len()), (16, 10));
    assert_eq!(transferred.normalisation().mean, [0.5; 3]);
    let before = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    let numbers = |tensor: &candle_core::Tensor| -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    };
    for (name, tensor) in transferred.tensors() {
        if name.starts_with("fc.") || name.contains("running") {
            continue;
        }
        let trained = name.starts_with("layer4.1.") || name.starts_with("layer4.2.");
        let same = numbers(tensor) == numbers(&before[name]);
        assert_eq!(same, !trained, "{name}");
    }

    run(
        folder,
        &[
            "rank",
            "--model",
            "run",
            "--blocks",
            "1",
            "--queries",
            "3",
            "--damping",
            "1e-1",
            "--out",
            "ranked",
        ],
    )
    .unwrap();
    let record = RunFolder::read(folder.join("ranked")).unwrap();
    assert_eq!(record.command, "rank");

    let report = inspected(folder, "run");
    assert_eq!(
        (report["kind"].as_str(), report["command"].as_str()),
        (Some("run"), Some("transfer"))
    );
    assert_eq!(report["options"]["side"], 16);
    assert_eq!(
        report["options"]["source-mean"],
        serde_json::json!([0.5, 0.5, 0.5])
    );
    let text = run(folder, &["inspect", "run"]).unwrap();
    assert!(
        text.contains("(finished)") && text.contains("(60 in all)"),
        "{text}"
    );
    let report = inspected(folder, "run/model.safetensors");
    assert_eq!(
        (report["format"].as_str(), report["fits"].as_bool()),
        (Some("ascribe"), Some(true))
    );
    measured_without_metadata(folder, &pixels);
}

/// The model of `run` measured from a file of tensors alone, which says neither the pixels nor their number.
fn measured_without_metadata(folder: &Path, pixels: &[&str]) {
    let own = folder.join("run/model.safetensors");
    let tensors = candle_core::safetensors::load(own, &Device::Cpu).unwrap();
    candle_core::safetensors::save(&tensors, folder.join("bare.safetensors")).unwrap();
    let measure = |path: &'static str, options: &[&str]| {
        let words = ["inspect", path, "--test", "builtin:digits-test", "--json"];
        run(folder, &[&words[..], options].concat())
    };
    let message = measure("bare.safetensors", &[]).unwrap_err();
    assert!(
        message.contains("--source-mean and --source-deviation"),
        "{message}"
    );
    let options = [pixels, &["--side", "16"]].concat();
    let clean = |text: String| serde_json::from_str::<Value>(&text).unwrap()["clean"].clone();
    let bare = clean(measure("bare.safetensors", &options).unwrap());
    assert_eq!(bare, clean(measure("run/model.safetensors", &[]).unwrap()));
    let message = run(folder, &["inspect", "bare.safetensors", "--side", "16"]).unwrap_err();
    assert!(
        message.contains("side") && message.contains("--test"),
        "{message}"
    );
}

#[test]
fn models_and_data_sets_are_described() {
    let place = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fixture = |name: &str| {
        root.join("fixtures")
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    };

    let report = inspected(place.path(), &fixture("checkpoints/robustness.ckpt"));
    assert_eq!(report["place"], "model");
    assert_eq!(
        (
            report["class_count"].as_u64(),
            report["parameters"].as_u64()
        ),
        (Some(10), Some(11_420))
    );
    assert_eq!(report["normalisation_from"], "file");
    // Weights are told by what is in the file where its name does not say.
    for name in ["pytorch_model.bin", "checkpoint.pt.best", "weights"] {
        std::fs::create_dir(place.path().join("brought")).unwrap();
        let file = format!("brought/{name}");
        std::fs::copy(fixture("checkpoints/half.pt"), place.path().join(&file)).unwrap();
        assert_eq!(inspected(place.path(), &file)["kind"], "model", "{name}");
        if name != "weights" {
            assert_eq!(
                inspected(place.path(), "brought")["kind"],
                "model",
                "{name}"
            );
        }
        std::fs::remove_dir_all(place.path().join("brought")).unwrap();
    }
    let text = run(
        place.path(),
        &["inspect", &fixture("checkpoints/legacy.pth")],
    )
    .unwrap();
    for part in [
        "cifar-resnet8-w4, 3 residual blocks, 16 features",
        "before version 1.6",
        "--source-mean",
        "none left over",
    ] {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
    let report = inspected(place.path(), "builtin:robust");
    assert_eq!(
        (report["architecture"].as_str(), report["side"].as_u64()),
        (Some("cifar-resnet14-w16"), Some(32))
    );

    let report = inspected(place.path(), &fixture("digits/train.parquet"));
    assert_eq!(
        (report["format"].as_str(), report["height"][1].as_u64()),
        (Some("Parquet"), Some(8))
    );
    let classes = report["classes"].as_array().unwrap();
    let counted: u64 = classes
        .iter()
        .map(|class| class["count"].as_u64().unwrap())
        .sum();
    assert_eq!(
        (classes.len(), Some(counted)),
        (10, report["images"].as_u64())
    );
    let text = run(
        place.path(),
        &["inspect", &fixture("svhn/packed_32x32.mat")],
    )
    .unwrap();
    assert!(
        text.contains("12") && text.contains("4 high, 5 wide"),
        "{text}"
    );

    let report = inspected(place.path(), &fixture("small/iris.npz"));
    assert_eq!(
        (report["kind"].as_str(), report["dimension"].as_u64()),
        (Some("features"), Some(4))
    );

    for (path, part) in [
        ("nowhere", "cannot read"),
        (&*fixture("checkpoints/object.pt"), "whole pickled object"),
        (
            &*fixture("checkpoints/README.md"),
            "this file format is not supported",
        ),
    ] {
        let message = run(place.path(), &["inspect", path]).unwrap_err();
        assert!(
            message.contains(part) && message.lines().count() == 1,
            "{message}"
        );
    }
}
