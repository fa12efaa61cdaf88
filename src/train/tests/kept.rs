//! What is kept or decoded beforehand has no effect on numbers.

use super::*;

/// An augmentation that changes nothing, not even a bit, but may change anything for all that is known.
fn opaque(augmentation: Augmentation) -> Augmentation {
    Augmentation {
        jitter: 1e-12,
        ..augmentation
    }
}

#[test]
fn kept_activations_change_nothing_in_memory_on_disk_or_mirrored() {
    for augmentation in [Augmentation::none(), Augmentation::mirror()] {
        for segment in [2, 4] {
            let frozen = Recipe {
                frozen_statistics: FrozenStatistics::Frozen,
                augmentation,
                ..recipe()
            };
            let computed = Recipe {
                augmentation: opaque(augmentation),
                ..frozen.clone()
            };
            assert!(computed.kept_variants(segment).is_none());
            let variants = if augmentation.flip { 2 } else { 1 };
            assert_eq!(frozen.kept_variants(segment), Some(variants));
            let on_disk = Recipe {
                memory: 4,
                ..frozen.clone()
            };
            let run = |recipe: &Recipe| {
                let folder = tempfile::tempdir().unwrap();
                let (model, history) = train(recipe, segment, folder.path());
                let rows: Vec<_> = (history.iter())
                    .map(|row| (row.train_loss, row.test_loss, row.test_accuracy))
                    .collect();
                (numbers(model.tensors()), rows)
            };
            let (weights, rows) = run(&frozen);
            assert!(run(&on_disk) == (weights.clone(), rows.clone()), "on disk");
            // Where an image stands in its batch decides the last digits of matrix products, by some of OpenBLAS's kernels.
            let (other_weights, other_rows) = run(&computed);
            let apart = largest_difference(&weights, &other_weights);
            assert!(apart < 1e-5, "without keeping: {apart:e}");
            for (row, other) in rows.iter().zip(&other_rows) {
                assert!((row.0 - other.0).abs() < 1e-5, "{row:?} {other:?}");
            }
            assert_eq!(rows.len(), other_rows.len());
        }
    }
}

/// Relative to the largest weight of a tensor, or 1.
fn largest_difference(
    weights: &BTreeMap<String, Vec<f32>>,
    others: &BTreeMap<String, Vec<f32>>,
) -> f32 {
    assert!(weights.keys().eq(others.keys()));
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, f32::max);
    let apart = |(values, others): (&Vec<f32>, &Vec<f32>)| {
        let pairs = values.iter().zip(others);
        let scale = largest(&mut values.iter().map(|value| value.abs())).max(1.0);
        largest(&mut pairs.map(|(value, other)| (value - other).abs())) / scale
    };
    largest(&mut weights.values().zip(others.values()).map(apart))
}

#[test]
fn activations_are_kept_only_where_they_stay_the_same() {
    let frozen = Recipe {
        frozen_statistics: FrozenStatistics::Frozen,
        augmentation: Augmentation::none(),
        ..recipe()
    };
    assert_eq!(frozen.kept_variants(3), Some(1));
    // Nothing frozen; crops; an adversary; statistics that follow the batches.
    assert_eq!(frozen.kept_variants(0), None);
    let cropped = Recipe {
        augmentation: Augmentation::crop_and_flip(),
        ..frozen.clone()
    };
    assert_eq!(cropped.kept_variants(3), None);
    let attacked = Recipe {
        adversary: Some(Adversary::new(Norm::L2, 0.1, 1).unwrap().into()),
        ..frozen.clone()
    };
    assert_eq!(attacked.kept_variants(3), None);
    let moving = Recipe {
        frozen_statistics: FrozenStatistics::Moving,
        ..frozen.clone()
    };
    assert_eq!(moving.kept_variants(3), None);
    // Test images are not augmented.
    assert!(cropped.keeps_test(3) && !moving.keeps_test(3));
    let once = Recipe {
        evaluate_every: 0,
        ..cropped
    };
    assert!(!once.keeps_test(3));
}

#[test]
fn images_decoded_on_demand_train_the_same() {
    let folder = || tempfile::tempdir().unwrap();
    let (expected, _) = train(&recipe(), 0, folder().path());
    let ids: Vec<usize> = (0..200).collect();
    let lazy = |set: &crate::data::Dataset| Pixels::on_demand(set, &ids, 8).unwrap();
    let (train, test) = (
        lazy(&digits_train().unwrap()),
        lazy(&digits_test().unwrap()),
    );
    let mut found = model();
    fit(
        &mut found,
        0,
        &recipe(),
        (&train, &test),
        folder().path(),
        &mut Silent,
    )
    .unwrap();
    assert!(numbers(found.tensors()) == numbers(expected.tensors()));
}
