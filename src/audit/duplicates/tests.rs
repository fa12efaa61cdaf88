use super::*;
use crate::data::digits_test;
use candle_core::{Device, Tensor};

fn rows(count: usize, value: impl Fn(usize, usize) -> f32) -> Rows {
    let values: Vec<f32> = (0..count)
        .flat_map(|i| (0..8).map(move |j| (i, j)))
        .map(|(i, j)| value(i, j))
        .collect();
    Tensor::from_vec(values, (count, 8), &Device::Cpu)
        .unwrap()
        .into()
}

fn wave(image: usize, column: usize) -> f32 {
    5.0 + ((image * (image + 31 * column) + 17 * column) as f64 * 0.7).sin() as f32
}

/// Of 4 × 4 pixels, each image other ones.
fn image(of: usize) -> Image {
    let pixel = |at: usize| (20.0 * wave(of, 40 + at)) as u8;
    Image {
        channels: 1,
        height: 4,
        width: 4,
        pixels: (0..16).map(pixel).collect(),
    }
}

#[test]
fn copies_are_found_by_pixels_and_near_ones_by_likeness() {
    // 1,500 images, so that blocks matter: 40 and 1,400 are equal; query 2 equals 7; 9 and 11 are nearly the same.
    let source = |at: usize| if at == 1400 { 40 } else { at };
    let near = |at: usize, column: usize| match at {
        11 => wave(9, column) + 1e-3 * (column % 2) as f32,
        _ => wave(source(at), column),
    };
    let training = rows(1500, near);
    let queries = rows(4, |at, column| {
        wave(if at == 2 { 7 } else { 5000 + at }, column)
    });
    let train_pixels = |at: usize| {
        let mut image = image(if at == 11 { 9 } else { source(at) });
        image.pixels[3] += u8::from(at == 11);
        Ok(image)
    };
    let test_pixels = |at: usize| Ok(image(if at == 2 { 7 } else { 5000 + at }));
    let all: Vec<usize> = (0..1500).collect();
    let train = Side {
        count: 1500,
        pixels: Some(&train_pixels),
        features: &training,
        places: &all,
    };
    let test = Side {
        count: 4,
        pixels: Some(&test_pixels),
        features: &queries,
        places: &all[..4],
    };
    let found = duplicates(&train, &test).unwrap();
    let sets: Vec<_> = found
        .iter()
        .map(|group| (group.kind, group.training.clone(), group.queries.clone()))
        .collect();
    assert_eq!(sets[0], (Likeness::Pixels, vec![7], vec![2]));
    assert_eq!(sets[1], (Likeness::Pixels, vec![40, 1400], vec![]));
    let near = (sets.iter()).position(|set| *set == (Likeness::Near, vec![9, 11], vec![]));
    assert!(found[near.unwrap()].similarity > 0.999);
    assert!(
        !sets[2..]
            .iter()
            .any(|(_, training, _)| training == &vec![40, 1400]),
        "{sets:?}"
    );
    let alike: Vec<f64> = found[2..].iter().map(|pair| pair.similarity).collect();
    assert!(alike.is_sorted_by(|a, b| a >= b), "{alike:?}");
    let within =
        (sets.iter()).filter(|(kind, _, queries)| *kind == Likeness::Near && queries.is_empty());
    assert_eq!(within.count(), LISTED);
    let without = duplicates(
        &Side {
            pixels: None,
            ..train
        },
        &test,
    )
    .unwrap();
    assert!(
        without
            .iter()
            .any(|group| group.training == [40, 1400] && group.similarity > 0.999_999)
    );
}

/// Images that another run alone was trained on: the first and the fourth of six, of which the fourth equals the third and the query.
#[test]
fn images_without_features_are_compared_by_their_pixels() {
    let source = |at: usize| if at == 3 { 2 } else { at };
    let places = [1, 2, 4, 5];
    let training = rows(4, |row, column| wave(places[row], column));
    let queries = rows(1, |_, column| wave(2, column));
    let train_pixels = |at: usize| Ok(image(source(at)));
    let test_pixels = |_: usize| Ok(image(2));
    let train = Side {
        count: 6,
        pixels: Some(&train_pixels),
        features: &training,
        places: &places,
    };
    let test = Side {
        count: 1,
        pixels: Some(&test_pixels),
        features: &queries,
        places: &[0],
    };
    let found = duplicates(&train, &test).unwrap();
    let first = &found[0];
    assert_eq!(first.kind, Likeness::Pixels);
    assert_eq!(
        (&first.training[..], &first.queries[..]),
        (&[2, 3][..], &[0][..])
    );
    // The near pairs are of places in the list, and only of images that have features.
    assert!(found.len() > 1, "{found:?}");
    for pair in &found[1..] {
        assert_eq!(pair.kind, Likeness::Near);
        assert!(
            pair.training.iter().all(|at| places.contains(at)),
            "{pair:?}"
        );
    }
}

/// With half the contrast.
fn paler(image: Image) -> Image {
    let pixels = image.pixels.iter().map(|&p| 20 + p / 2).collect();
    Image { pixels, ..image }
}

/// Digits, of which the last 20 are paler copies of the first: every pair against its definition in plain f64, and the copies
/// before all others.
#[test]
fn likeness_is_the_mean_of_two_cosines() {
    let digits = digits_test().unwrap();
    let (count, copies) = (150, 20);
    let pixels = |at: usize| -> Result<Image> {
        Ok(match at < count {
            true => digits.get(at)?.image,
            false => paler(digits.get(at - count)?.image),
        })
    };
    let features = rows(count + copies, |at, column| {
        let of = at % count;
        digits.get(of).unwrap().image.pixels[8 * column + 3] as f32 + 0.1 * (at / count) as f32
    });
    let none = rows(1, |_, _| 0.0);
    let all: Vec<usize> = (0..count + copies).collect();
    let (train, test) = (
        Side {
            count: count + copies,
            pixels: Some(&pixels),
            features: &features,
            places: &all,
        },
        Side {
            count: 1,
            pixels: Some(&pixels),
            features: &none,
            places: &all[..1],
        },
    );
    let found = duplicates(&train, &test).unwrap();
    let near: Vec<&Duplicates> = (found.iter())
        .filter(|pair| pair.queries.is_empty() && pair.kind == Likeness::Near)
        .collect();
    for pair in &near[..copies] {
        assert_eq!(pair.training[1] - pair.training[0], count, "{pair:?}");
    }
    let alike = likeness(&features, count + copies, &pixels);
    for pair in near {
        let [a, b] = [pair.training[0], pair.training[1]];
        let others = |at: usize| (0..count + copies).filter(move |&other| other != at);
        let most = |at: usize| {
            others(at)
                .map(|other| alike(at, other))
                .fold(-1.0, f64::max)
        };
        assert!((pair.similarity - alike(a, b)).abs() < 1e-5, "{pair:?}");
        assert!(
            pair.similarity > most(a) - 1e-5 || pair.similarity > most(b) - 1e-5,
            "{pair:?}"
        );
    }
}

/// The definition, pair by pair.
fn likeness(features: &Rows, count: usize, pixels: GetPixels) -> impl Fn(usize, usize) -> f64 {
    let centred = |rows: Vec<Vec<f64>>| -> Vec<Vec<f64>> {
        let mean = |column: usize| rows.iter().map(|row| row[column]).sum::<f64>() / count as f64;
        let means: Vec<f64> = (0..rows[0].len()).map(mean).collect();
        let less = |row: &Vec<f64>| row.iter().zip(&means).map(|(x, mean)| x - mean).collect();
        rows.iter().map(less).collect()
    };
    let seen = features.all().unwrap().to_vec2::<f32>().unwrap();
    let seen = (seen.into_iter()).map(|row| row.into_iter().map(f64::from).collect());
    let thumbnail = |at: usize| -> Vec<f64> {
        let small = pixels(at).unwrap().to_rgb().resize(12, 12);
        let channels = small.pixels.chunks_exact(144).map(|channel| {
            let mean = channel.iter().map(|&p| f64::from(p)).sum::<f64>() / 144.0;
            channel.iter().map(move |&p| f64::from(p) - mean)
        });
        let values: Vec<f64> = channels.flatten().collect();
        let length = values.iter().map(|x| x * x).sum::<f64>().sqrt();
        values.iter().map(|x| x / length).collect()
    };
    let parts = [
        centred(seen.collect()),
        centred((0..count).map(thumbnail).collect()),
    ];
    move |a, b| {
        let cosine = |part: &Vec<Vec<f64>>| {
            let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
            let (x, y) = (&part[a], &part[b]);
            product(x, y) / (product(x, x) * product(y, y)).sqrt()
        };
        parts.iter().map(cosine).sum::<f64>() / 2.0
    }
}

#[test]
fn a_picture_that_does_not_decode_is_an_error() {
    let features = rows(2, wave);
    let broken = |_: usize| Err(crate::Error::config("train", "broken"));
    let side = || Side {
        count: 2,
        pixels: Some(&broken),
        features: &features,
        places: &[0, 1],
    };
    assert!(duplicates(&side(), &side()).is_err());
}
