//! Weight files that are cut short, altered, or of something else: one line each, and nothing is allocated or run.

use super::{PLAIN, fixture, source};
use crate::inputs::refusal;
use ascribe::Result;
use ascribe::model::{Checkpoint, Normalisation, ResNet, SourceSettings, source_from_bytes};
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::Path;

fn read(bytes: &[u8]) -> Result<ResNet> {
    let settings = SourceSettings {
        normalisation: Some(PLAIN),
        ..SourceSettings::default()
    };
    source_from_bytes(bytes, Path::new("model.pt"), settings, &Device::Cpu)
}

fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

#[test]
fn files_cut_short() {
    for name in [
        "legacy.pth",
        "half.pt",
        "robustness.ckpt",
        "bottleneck.safetensors",
    ] {
        let bytes = bytes_of(name);
        for keep in (0..24)
            .map(|part| part * bytes.len() / 24)
            .chain([5, bytes.len() - 1])
        {
            refusal(read(&bytes[..keep]), &["model.pt: "]);
        }
    }
    let legacy = bytes_of("legacy.pth");
    let parts = ["storage ", "to the end of the file", "copy it again"];
    refusal(read(&legacy[..legacy.len() - 1]), &parts);
    let zip = bytes_of("half.pt");
    let parts = ["zip archive", "a whole PyTorch file", "copy it again"];
    refusal(read(&zip[..zip.len() / 2]), &parts);
}

/// A changed byte is noticed by the archive's checksums; in the old format, which has none, it must do no harm.
#[test]
fn altered_bytes() {
    for name in ["legacy.pth", "half.pt"] {
        let bytes = bytes_of(name);
        for at in (0..bytes.len()).step_by(bytes.len() / 150) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            if let Err(error) = read(&bytes) {
                let message = error.to_string();
                assert!(!message.contains('\n'), "byte {at}: {message}");
            }
        }
    }
}

#[test]
fn files_of_something_else() {
    let parts = [
        "pickle",
        "a whole pickled object",
        "torch.save(model.state_dict()",
    ];
    refusal(source("object.pt", None), &parts);
    refusal(
        read(b"\x80\x04K\x01."),
        &["a pickle that torch.save did not write", "torch.save("],
    );
    refusal(read(b"\x1f\x8b\x08\x00rest"), &["found a gzip file"]);
    refusal(read(b"not a model at all"), &["header", "safetensors"]);
    let archive = std::fs::read(fixture("../small/iris.npz")).unwrap();
    refusal(read(&archive), &["zip archive", "without a data.pkl"]);
}

/// A short file of the old format around `object`, without storages.
fn legacy(object: &[u8]) -> Vec<u8> {
    let start = &bytes_of("legacy.pth")[..15];
    [
        start,
        b"\x80\x02K\x01.",
        b"\x80\x02}.",
        object,
        b"\x80\x02].",
    ]
    .concat()
}

/// PyTorch keeps a negated or conjugated view as the numbers that it is of, with a note: reading those would be reading others.
#[test]
fn views_that_are_not_their_numbers_are_no_tensors() {
    let file = |notes: &[u8]| {
        let object = [
            b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n(".as_slice(),
            b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ",
            b"K\x00K\x01\x85K\x01\x85\x89ccollections\nOrderedDict\n)R",
            notes,
            b"tRs.",
        ];
        read(&legacy(&object.concat()))
    };
    let none_in_it = "named tensors, found none in it";
    refusal(file(b"}X\x03\x00\x00\x00neg\x88s"), &[none_in_it]);
    for unaltered in [b"}".as_slice(), b""] {
        let message = refusal(file(unaltered), &[]);
        assert!(!message.contains(none_in_it), "{message}");
    }
}

#[test]
fn pickles_made_to_exhaust_memory_or_stack() {
    // Dictionaries in dictionaries, each entered twice in the next: 2⁶⁰ paths.
    let mut nested = b"\x80\x02}q\x00".to_vec();
    for _ in 0..60 {
        nested.extend(b"}(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00uq\x00");
    }
    nested.push(b'.');
    refusal(read(&legacy(&nested)), &["named tensors", "none in it"]);
    // A tuple in a tuple, a million deep.
    let deep = [b"\x80\x02)".as_slice(), &vec![0x85; 1_000_000], b"."].concat();
    refusal(read(&legacy(&deep)), &["named tensors"]);
    // A text that claims 4 GiB.
    let parts = [
        "pickle, byte",
        "4294967295 bytes announced",
        "copy it again",
    ];
    refusal(read(&legacy(b"\x80\x02X\xff\xff\xff\xffab.")), &parts);
    // One list of pairs, made into a dictionary again and again.
    let mut copies = b"\x80\x02ccollections\nOrderedDict\nq\x00](".to_vec();
    copies.extend(b"K\x01K\x01\x86".repeat(1000));
    copies.extend(b"e\x85q\x01");
    copies.extend(b"h\x00h\x01R0".repeat(1000));
    copies.extend(b"N.");
    refusal(
        read(&legacy(&copies)),
        &["a dictionary copied again and again"],
    );
    // Ten thousand tensors that share one shape of a hundred thousand dimensions.
    let mut shapes = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00(".to_vec();
    shapes.extend(b"K\x01".repeat(100_000));
    shapes.extend(b"tq\x01(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQq\x02}(");
    for name in 0..10_000 {
        shapes.extend(format!("X\x05\0\0\0{name:05}h\0(h\x02K\0h\x01h\x01tR").bytes());
    }
    shapes.extend(b"u.");
    refusal(read(&legacy(&shapes)), &["named tensors"]);
    // An empty stack, an unknown instruction, a value nobody noted.
    for object in [
        &b"\x80\x02R."[..],
        b"\x80\x02\xff.",
        b"\x80\x02h\x07.",
        b"\x80\x02t.",
        b".",
    ] {
        refusal(read(&legacy(object)), &["pickle, byte", "a whole pickle"]);
    }
}

fn tensors() -> HashMap<String, Tensor> {
    let model = source("legacy.pth", Some(PLAIN)).unwrap();
    model.tensors().clone().into_iter().collect()
}

fn safetensors_of(tensors: &HashMap<String, Tensor>) -> Vec<u8> {
    safetensors::serialize(tensors, None).unwrap()
}

#[test]
fn a_tensor_missing_or_left_over_is_named_with_the_most_similar_name() {
    let mut renamed = tensors();
    let moved = renamed.remove("layer3.0.bn2.bias").unwrap();
    renamed.insert("layer3.0.norm2.bias".into(), moved);
    let parts = [
        "taken for cifar-resnet8-w4",
        "a tensor layer3.0.bn2.bias of shape [16]",
        "the most similar name is layer3.0.norm2.bias",
        "1 more do not fit; see all with: ascribe inspect",
    ];
    refusal(read(&safetensors_of(&renamed)), &parts);

    let mut more = tensors();
    more.insert(
        "layer3.0.se.fc.weight".into(),
        Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap(),
    );
    refusal(
        read(&safetensors_of(&more)),
        &["no other tensor", "found layer3.0.se.fc.weight"],
    );

    let mut other = tensors();
    other.insert(
        "layer2.0.conv1.weight".into(),
        Tensor::zeros((8, 2, 3, 3), DType::F32, &Device::Cpu).unwrap(),
    );
    let parts = [
        "layer2.0.conv1.weight of shape [8, 4, 3, 3]",
        "found [8, 2, 3, 3]",
    ];
    refusal(read(&safetensors_of(&other)), &parts);
}

/// The number of classes is the classifier's to say: none is made up.
#[test]
fn a_network_without_its_classifier() {
    let mut headless = tensors();
    headless.remove("fc.weight");
    headless.remove("fc.bias");
    let bytes = safetensors_of(&headless);
    let parts = [
        "taken for cifar-resnet8-w4: expected a classifier (fc.weight and fc.bias), found none; ",
        "ascribe inspect model.pt",
    ];
    refusal(read(&bytes), &parts);
    let checkpoint = Checkpoint::from_bytes(&bytes, Path::new("model.pt"), &Device::Cpu).unwrap();
    assert_eq!((checkpoint.class_count, checkpoint.misfits), (None, vec![]));
}

#[test]
fn another_architecture() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let vgg = HashMap::from([
        ("features.0.weight".to_owned(), zeros(&[64, 3, 3, 3])),
        ("classifier.6.bias".to_owned(), zeros(&[10])),
    ]);
    let parts = [
        "tensor names",
        "those of a ResNet",
        "classifier.6.bias, features.0.weight",
    ];
    refusal(read(&safetensors_of(&vgg)), &parts);
    // Residual, but of another make: a stem of two convolutions.
    let mut deep_stem = tensors();
    for name in ["conv1.weight", "bn1.weight"] {
        let tensor = deep_stem.remove(name).unwrap();
        deep_stem.insert(format!("stem.{name}"), tensor);
    }
    refusal(
        read(&safetensors_of(&deep_stem)),
        &["tensor names", "those of a ResNet"],
    );
}

#[test]
fn numbers_that_no_model_has() {
    let mut bad = tensors();
    bad.insert(
        "bn1.weight".into(),
        Tensor::new(&[1_f32, f32::NAN, 1.0, 1.0], &Device::Cpu).unwrap(),
    );
    refusal(
        read(&safetensors_of(&bad)),
        &["not a finite number at tensor bn1.weight"],
    );
    let mut bad = tensors();
    bad.insert(
        "bn1.running_var".into(),
        Tensor::new(&[1_f32, -1.0, 1.0, 1.0], &Device::Cpu).unwrap(),
    );
    refusal(
        read(&safetensors_of(&bad)),
        &[
            "bn1.running_var",
            "no negative variance",
            "measure the statistics of its batch norms anew",
        ],
    );
}

#[test]
fn a_classifier_of_no_classes() {
    let mut bad = tensors();
    let none = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    bad.insert("fc.weight".into(), none(&[0, 16]));
    bad.insert("fc.bias".into(), none(&[0]));
    refusal(
        read(&safetensors_of(&bad)),
        &["model.pt: tensor fc.bias: expected numbers, found shape [0]; "],
    );
}

/// The file or the option is named that they come from.
#[test]
fn pixels_that_no_model_sees() {
    let deviation = [1.0, 0.0, 1.0];
    let given = Normalisation { deviation, ..PLAIN };
    let parts = ["--source-deviation: expected positive numbers, found 1,0,1; "];
    refusal(source("legacy.pth", Some(given)), &parts);
    let mut bad = tensors();
    for (name, numbers) in [("new_mean", [0.5_f32; 3]), ("new_std", [0.25, 0.0, 0.25])] {
        let tensor = Tensor::new(&numbers, &Device::Cpu).unwrap();
        bad.insert(format!("normalizer.{name}"), tensor);
    }
    let parts = [
        "model.pt: the normalisation's deviation: expected positive numbers, found [0.25, 0.0, 0.25]; ",
    ];
    refusal(read(&safetensors_of(&bad)), &parts);
    let settings = SourceSettings {
        side: Some(0),
        ..SourceSettings::default()
    };
    let model = source("legacy.pth", Some(PLAIN)).unwrap();
    refusal(
        settings.framed(model),
        &["(--side): expected 1 to 4096", "found 0"],
    );
}

#[test]
fn names_that_would_break_the_line() {
    let mut bad = tensors();
    let zeros = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
    bad.insert("layer1.0.conv1\n.weight".into(), zeros);
    let parts = ["tensor names", "printable text", "layer1.0.conv1\\n.weight"];
    refusal(read(&safetensors_of(&bad)), &parts);
}

/// What does not fit is a report, not a refusal, where the model is only looked at.
#[test]
fn a_checkpoint_lists_all_that_does_not_fit() {
    let mut few = tensors();
    few.remove("fc.bias");
    few.remove("bn1.bias");
    let bytes = safetensors_of(&few);
    let checkpoint =
        Checkpoint::from_bytes(&bytes, Path::new("model.safetensors"), &Device::Cpu).unwrap();
    let text: Vec<String> = checkpoint.misfits.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["missing: bn1.bias [4]", "missing: fc.bias [5]"]);
}
