//! Small files as PyTorch writes them.

use super::{PLAIN, assert_logits, fixture, source};
use crate::inputs::refusal;
use ascribe::model::{Checkpoint, Normalisation, Origin};
use candle_core::Device;

#[test]
fn a_robustness_checkpoint_in_its_wrappers() {
    let model = source("robustness.ckpt", None).unwrap();
    assert_eq!(model.architecture().to_string(), "cifar-resnet18-w2");
    let mean = model.normalisation().mean;
    assert!((mean[0] - 0.4914).abs() < 1e-7 && model.normalisation().deviation[2] > 0.2);
    assert_logits("robustness", &model, 32, 1e-5);

    let path = fixture("robustness.ckpt");
    let bytes = std::fs::read(&path).unwrap();
    let checkpoint = Checkpoint::from_bytes(&bytes, &path, &Device::Cpu).unwrap();
    assert_eq!(
        (checkpoint.format, checkpoint.place.as_str()),
        ("PyTorch", "model")
    );
    assert!(matches!(checkpoint.normalisation, Some((_, Origin::File))));
    assert!(
        checkpoint
            .ignored
            .iter()
            .any(|name| name.starts_with("module.attacker.model."))
    );
}

#[test]
fn a_file_from_before_version_1_6() {
    let model = source("legacy.pth", Some(PLAIN)).unwrap();
    assert_eq!(model.architecture().to_string(), "cifar-resnet8-w4");
    assert_eq!((model.classes().len(), model.side()), (5, 32));
    assert_logits("legacy", &model, 32, 1e-5);
    let model = source("legacy4.pth", Some(PLAIN)).unwrap();
    assert_logits("legacy", &model, 32, 1e-5);
}

#[test]
fn half_precision_out_of_order_in_another_protocol() {
    let model = source("half.pt", Some(PLAIN)).unwrap();
    assert_logits("half", &model, 32, 1e-5);
}

#[test]
fn safetensors_of_bottleneck_blocks() {
    let model = source("bottleneck.safetensors", Some(PLAIN)).unwrap();
    assert_eq!(model.architecture().to_string(), "cifar-resnet50-w2");
    assert_logits("bottleneck", &model, 32, 1e-5);
}

/// Python, reading these files, would run a command. The weights beside it are read as ever.
#[test]
fn nothing_in_a_file_is_executed() {
    for name in ["harmful.pt", "harmful_legacy.pt"] {
        let folder = tempfile::tempdir().unwrap();
        let output = assert_cmd::Command::cargo_bin("ascribe")
            .unwrap()
            .arg("inspect")
            .arg(fixture(name))
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(
            folder.path().read_dir().unwrap().count(),
            0,
            "{name} made a file"
        );
        assert_logits("legacy", &source(name, Some(PLAIN)).unwrap(), 32, 1e-5);
    }
}

#[test]
fn the_normalisation_comes_from_the_file_or_from_the_user_never_from_both() {
    let parts = [
        "legacy.pth",
        "does not say",
        "--source-mean and --source-deviation",
    ];
    refusal(source("legacy.pth", None), &parts);
    let parts = [
        "--source-mean",
        "robustness.ckpt has its own",
        "leave the option out",
    ];
    refusal(source("robustness.ckpt", Some(PLAIN)), &parts);
    let wrong = Normalisation {
        mean: [0.5; 3],
        deviation: [0.25, 0.0, 0.25],
    };
    refusal(
        source("legacy.pth", Some(wrong)),
        &["--source-deviation", "expected positive numbers"],
    );
}
