use super::*;
use crate::model::Blocks;

#[test]
fn names_survive_a_round_trip() {
    for name in [
        "cifar-resnet8-w4",
        "cifar-resnet14-w16",
        "cifar-resnet20-w24",
        "cifar-resnet18-w64",
        "resnet18",
        "cifar-resnet50-w4",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "wide_resnet50_2",
        "wide_resnet50_4",
        "wide_resnet101_2",
    ] {
        assert_eq!(name.parse::<Architecture>().unwrap().to_string(), name);
    }
    assert_eq!(
        "cifar-resnet14"
            .parse::<Architecture>()
            .unwrap()
            .to_string(),
        "cifar-resnet14-w16"
    );
    for name in [
        "vgg16",
        "cifar-resnet9",
        "resnet18-w32",
        "cifar-resnet8-w0",
        "resnet",
        "resnet20",
        "wide_resnet50_3",
        "wide_resnet18_2",
    ] {
        assert!(name.parse::<Architecture>().is_err(), "{name}");
    }
}

/// Parameters as torchvision counts them, and the ×4 of Salman et al.
#[test]
fn members_have_their_known_number_of_parameters() {
    for (name, expected) in [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("wide_resnet50_2", 68_883_240),
        ("wide_resnet101_2", 126_886_696),
        ("wide_resnet50_4", 223_439_144),
    ] {
        let shapes = crate::model::expected_shapes(&name.parse().unwrap(), 1000);
        let count: usize = (shapes.iter())
            .filter(|(name, _)| !crate::model::is_statistic(name))
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        assert_eq!(count, expected, "{name}");
    }
}

#[test]
fn a_family_holds_every_member_of_its_stem() {
    let names = |stem, width| -> Vec<String> {
        let family = Architecture::family(stem, width);
        family.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(Stem::ImageNet, 64).len(), 8);
    assert!(names(Stem::ImageNet, 64).contains(&"wide_resnet50_4".to_owned()));
    assert!(names(Stem::ImageNet, 32).is_empty());
    assert_eq!(names(Stem::Cifar, 5)[0], "cifar-resnet8-w5");
}

#[test]
fn blocks_are_counted_from_the_head_as_in_the_paper() {
    let resnet50: Architecture = "resnet50".parse().unwrap();
    assert_eq!(
        (resnet50.block_count(), resnet50.feature_dimension()),
        (16, 2048)
    );
    let first_trained = |blocks: usize| {
        let segment = Blocks::Last(blocks).first_segment(&resnet50).unwrap();
        resnet50.blocks()[segment - 1].name.clone()
    };
    // In the code of Utrera et al. (2020) 1 = layer4.2, 3 = all of layer4, 9 = layer3.0 onwards.
    assert_eq!(first_trained(1), "layer4.2");
    assert_eq!(first_trained(3), "layer4.0");
    assert_eq!(first_trained(9), "layer3.0");
    assert_eq!(resnet50.segment_of("layer3.0.conv1.weight"), 8);
    assert_eq!(resnet50.segment_of("fc.bias"), 17);
    assert_eq!(resnet50.segment_of("bn1.weight"), 0);
    let message = Blocks::Last(17)
        .first_segment(&resnet50)
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("--blocks:") && message.contains("has 16"),
        "{message}"
    );
}
