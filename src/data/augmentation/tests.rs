use super::*;

const STILL: Change = Change {
    down: 0,
    right: 0,
    flip: false,
    colour: None,
    radians: 0.0,
};

fn apply(change: Change, source: &[u8], height: usize, width: usize) -> Vec<u8> {
    let mut target = vec![f32::NAN; source.len()];
    change.apply(source, height, width, &mut target);
    target
        .iter()
        .map(|value| (value * 255.0).round() as u8)
        .collect()
}

fn picture(height: usize, width: usize) -> Vec<u8> {
    (0..3 * height * width)
        .map(|i| (i * 7 % 256) as u8)
        .collect()
}

#[test]
fn nothing_drawn_changes_nothing() {
    let source = picture(5, 7);
    assert_eq!(
        apply(Augmentation::none().draw(1, 2, 3), &source, 5, 7),
        source
    );
}

/// The plain twin: index by index through the padded picture.
#[test]
fn crop_and_flip_equal_the_padded_picture() {
    let (height, width, source) = (5, 7, picture(5, 7));
    for down in -6..=6isize {
        for right in -8..=8isize {
            for flip in [false, true] {
                let found = apply(
                    Change {
                        down,
                        right,
                        flip,
                        ..STILL
                    },
                    &source,
                    height,
                    width,
                );
                for (index, &byte) in found.iter().enumerate() {
                    let (channel, y, x) = (index / 35, index / 7 % 5, index % 7);
                    let x = if flip { 6 - x } else { x };
                    let (from_y, from_x) = (y as isize + down, x as isize + right);
                    let inside = (0..5).contains(&from_y) && (0..7).contains(&from_x);
                    let expected = if inside {
                        source[channel * 35 + from_y as usize * 7 + from_x as usize]
                    } else {
                        0
                    };
                    assert_eq!(
                        byte, expected,
                        "down {down} right {right} flip {flip} index {index}"
                    );
                }
            }
        }
    }
}

#[test]
fn colour_follows_torchvision() {
    // One pixel (0.2, 0.4, 0.8) beside one (0.6, 0.6, 0.6); luma 0.38578 and 0.59994.
    let image = [0.2, 0.6, 0.4, 0.6, 0.8, 0.6f32];
    let blended = |kind, factor| {
        let mut copy = image;
        blend(kind, factor, &mut copy);
        copy
    };
    let close = |found: [f32; 6], expected: [f32; 6]| {
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-4, "{found:?} {expected:?}");
        }
    };
    close(
        blended(Colour::Brightness, 1.5),
        [0.3, 0.9, 0.6, 0.9, 1.0, 0.9],
    );
    close(
        blended(Colour::Contrast, 0.5),
        [0.34643, 0.54643, 0.44643, 0.54643, 0.64643, 0.54643],
    );
    close(
        blended(Colour::Saturation, 0.5),
        [0.29289, 0.59997, 0.39289, 0.59997, 0.59289, 0.59997],
    );
}

#[test]
fn a_quarter_turn_is_exact_and_counter_clockwise() {
    let source: Vec<u8> = (0..3).flat_map(|_| [1, 2, 3, 4, 5, 6, 7, 8, 9]).collect();
    let turned = apply(
        Change {
            radians: 90f32.to_radians(),
            ..STILL
        },
        &source,
        3,
        3,
    );
    assert_eq!(turned[..9], [3, 6, 9, 2, 5, 8, 1, 4, 7]);
    assert_eq!(turned[..9], turned[18..]);
}

#[test]
fn draws_depend_on_seed_epoch_and_id_and_cover_the_range() {
    let augmentation = Augmentation::standard();
    assert_eq!(augmentation.draw(1, 2, 3), augmentation.draw(1, 2, 3));
    assert_ne!(augmentation.draw(1, 2, 3), augmentation.draw(1, 2, 4));
    assert_ne!(augmentation.draw(1, 2, 3), augmentation.draw(1, 3, 3));
    let draws: Vec<_> = (0..2000).map(|id| augmentation.draw(0, 0, id)).collect();
    for shift in -4..=4 {
        let (down, right) = (
            draws.iter().filter(|d| d.down == shift),
            draws.iter().filter(|d| d.right == shift),
        );
        assert!((150..300).contains(&down.count()) && (150..300).contains(&right.count()));
    }
    assert!((900..1100).contains(&draws.iter().filter(|d| d.flip).count()));
    let most = draws
        .iter()
        .map(|d| d.radians.to_degrees().abs())
        .fold(0.0, f32::max);
    assert!(most > 1.9 && most < 2.0001, "{most}");
    let first = draws
        .iter()
        .filter(|d| d.colour.unwrap()[0].0 == Colour::Contrast)
        .count();
    assert!((560..780).contains(&first), "{first}");
    for (_, factor) in draws.iter().flat_map(|d| d.colour.unwrap()) {
        assert!((0.75..=1.25).contains(&factor));
    }
}

/// Resuming a run with a newer version must give the same images: a change of these draws is a breaking change.
#[test]
fn draws_stay_the_same_between_versions() {
    let moves = (0..4).map(|id| Augmentation::standard().draw(0, 0, id));
    let moves: Vec<_> = moves
        .map(|change| (change.down, change.right, change.flip))
        .collect();
    assert_eq!(
        moves,
        [
            (2, -1, false),
            (-2, 2, false),
            (0, -2, true),
            (1, -1, false)
        ]
    );
}

#[test]
fn survives_json() {
    let text = serde_json::to_string(&Augmentation::standard()).unwrap();
    assert_eq!(
        serde_json::from_str::<Augmentation>(&text).unwrap(),
        Augmentation::standard()
    );
}
