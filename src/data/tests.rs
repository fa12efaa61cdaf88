//! Batches, and the real sets where they lie beside the repository.

use super::*;
use candle_core::Device;
use std::path::{Path, PathBuf};

fn values(tensor: &candle_core::Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn batches_hold_the_images_in_the_order_asked_for() {
    let digits = digits_train().unwrap();
    let pixels = Pixels::decode(&digits, &[5, 900, 7], 8).unwrap();
    assert_eq!(
        (pixels.ids(), pixels.len(), pixels.height(), pixels.width()),
        (&[5, 900, 7][..], 3, 8, 8)
    );
    assert_eq!(pixels.labels()[1], digits.label(900));
    assert_eq!(pixels.labels_of(&[2, 0]), [7, 5]);
    let batch = pixels.batch(&[2, 0], &Device::Cpu).unwrap();
    assert_eq!(batch.dims(), [2, 3, 8, 8]);
    let expected: Vec<f32> = [7, 5]
        .into_iter()
        .flat_map(|id| digits.get(id).unwrap().image.to_rgb().pixels)
        .map(|byte| f32::from(byte) / 255.0)
        .collect();
    assert_eq!(values(&batch), expected);
}

#[test]
fn no_augmentation_is_the_plain_batch() {
    let pixels = Pixels::decode(&digits_train().unwrap(), &[1, 2, 3], (16, 12)).unwrap();
    let plain = pixels.batch(&[0, 1, 2], &Device::Cpu).unwrap();
    let same = pixels
        .augmented_batch(&[0, 1, 2], &Augmentation::none(), 9, 9, &Device::Cpu)
        .unwrap();
    assert_eq!(values(&plain), values(&same));
}

#[test]
fn augmentation_does_not_depend_on_order_batch_or_threads() {
    let digits = digits_train().unwrap();
    let pixels = Pixels::decode(&digits, &(0..40).collect::<Vec<_>>(), 16).unwrap();
    let augmented = |pixels: &Pixels, positions: &[usize]| {
        let batch =
            pixels.augmented_batch(positions, &Augmentation::standard(), 1, 2, &Device::Cpu);
        values(&batch.unwrap())
    };
    let all: Vec<usize> = (0..40).collect();
    let together = augmented(&pixels, &all);
    let alone: Vec<f32> = all
        .iter()
        .flat_map(|&position| augmented(&pixels, &[position]))
        .collect();
    assert_eq!(together, alone);
    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    assert_eq!(together, one_thread.install(|| augmented(&pixels, &all)));
    // Example 39 as the only one held: its id decides, not its position.
    let last = Pixels::decode(&digits, &[39], 16).unwrap();
    assert_eq!(augmented(&last, &[0]), together[39 * 768..]);
    assert!(together.iter().all(|value| (0.0..=1.0).contains(value)));
}

#[test]
fn the_digest_is_of_the_content() {
    let bytes = include_bytes!("../../fixtures/digits/test.parquet");
    let elsewhere = Dataset::from_parquet_bytes("another name", bytes.to_vec()).unwrap();
    assert_eq!(elsewhere.digest(), digits_test().unwrap().digest());
    assert_eq!(elsewhere.digest().len(), 64);
    // Runs refuse to continue on another digest: a change of how it is made is a breaking change.
    assert_eq!(
        elsewhere.digest(),
        "a06ecf806bbc0ae4290075cab978b44934095186bacb1805ceed0a98895b339e"
    );
    assert_ne!(elsewhere.digest(), digits_train().unwrap().digest());
    assert_eq!(
        (elsewhere.path(), elsewhere.place(17).as_str()),
        (Path::new("another name"), "row 17")
    );
}

/// A real set, or nothing (with a note) where it is absent.
fn real(name: &str) -> Option<Dataset> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data")
        .join(name);
    if !path.exists() {
        let may_skip = std::env::var_os("ASCRIBE_NO_SKIP").is_none();
        assert!(may_skip, "{} is not here", path.display());
        println!("skipped: {} is not here", path.display());
        return None;
    }
    Some(Dataset::open(&path).unwrap())
}

/// Means of the red, green and blue plane.
fn means(image: &Image) -> Vec<f64> {
    let planes = image.pixels.chunks(image.height * image.width);
    planes
        .map(|plane| plane.iter().map(|&v| f64::from(v)).sum::<f64>() / plane.len() as f64)
        .collect()
}

/// File, examples, classes, and of example 17: channels, label, mean of each channel as Pillow decodes it.
type Known = (&'static str, usize, usize, usize, usize, &'static [f64]);

const KNOWN: [Known; 7] = [
    (
        "cifar10/test.parquet",
        5000,
        10,
        3,
        0,
        &[134.34277344, 138.5390625, 145.05761719],
    ),
    (
        "cifar100/test-25-per-class.parquet",
        2500,
        100,
        3,
        2,
        &[184.20898438, 125.00878906, 94.00292969],
    ),
    (
        "fashion-mnist/test-200-per-class.parquet",
        2000,
        10,
        1,
        0,
        &[87.11989795918367],
    ),
    (
        "mnist/train-1000-per-class.parquet",
        10_000,
        10,
        1,
        3,
        &[18.383928571428573],
    ),
    (
        "tiny-imagenet-40/val.parquet",
        1000,
        40,
        3,
        7,
        &[143.51318359, 163.91430664, 86.73901367],
    ),
    (
        "mnist-idx/train-images-idx3-ubyte.gz",
        60_000,
        10,
        1,
        8,
        &[34.57397959183673],
    ),
    (
        "emnist-letters-idx/emnist-letters-test-images-idx3-ubyte.gz",
        2080,
        26,
        1,
        11,
        &[30.137755102040817],
    ),
];

#[test]
fn real_sets_have_their_sizes_classes_and_pictures() {
    for (name, len, classes, channels, label, expected) in KNOWN {
        let Some(set) = real(name) else { continue };
        assert_eq!((set.len(), set.classes().len()), (len, classes), "{name}");
        let example = set.get(17).unwrap();
        assert_eq!(
            (example.image.channels, example.label),
            (channels, label),
            "{name}"
        );
        // JPEG decoders differ by a level here and there; PNG and IDX are exact.
        let tolerance = if name.contains("cifar10/") || name.contains("tiny") {
            0.5
        } else {
            1e-6
        };
        for (found, expected) in means(&example.image).iter().zip(expected) {
            assert!(
                (found - expected).abs() < tolerance,
                "{name}: {found} {expected}"
            );
        }
    }
}

#[test]
fn real_folder_has_sorted_paths_as_ids() {
    let Some(set) = real("cifar10-imagefolder/train") else {
        return;
    };
    assert_eq!(
        (set.len(), set.classes().len(), set.classes()[1].as_str()),
        (400, 10, "automobile")
    );
    assert_eq!(
        (set.place(45).as_str(), set.label(45)),
        ("automobile/1002.jpg", 1)
    );
    let found = means(&set.get(45).unwrap().image);
    for (found, expected) in found.iter().zip([78.73828125, 84.62402344, 64.62304688]) {
        assert!((found - expected).abs() < 0.5, "{found} {expected}");
    }
}

/// The Parquet file's paths give the index in the original order ("train/3/7058.png"): the pictures must be the same.
#[test]
fn mnist_parquet_equals_mnist_idx() {
    let (Some(rows), Some(all)) = (
        real("mnist/train-1000-per-class.parquet"),
        real("mnist-idx/train-images-idx3-ubyte.gz"),
    ) else {
        return;
    };
    for (row, id) in [(0, 7058), (1, 17248), (2, 15265)] {
        assert_eq!(rows.get(row).unwrap(), all.get(id).unwrap());
    }
}
