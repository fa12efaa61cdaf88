//! Images that are in the data more than once, within the training set or in both sets.
//!
//! Equal pixels are found by digest. Near-duplicates are the training image nearest to each image by the cosine of their
//! features, the mean of the training images taken off (features are positive, so that any two point the same way): 2d
//! operations a pair, a matrix product of blocks. But a fine-tuned model pulls the images of a class together, so that pixels
//! have to be alike too: a pair counts where both cosines, of features and of pixels less each image's own mean, reach
//! what is asked for. The smaller of the two is its similarity.

use crate::Result;
use crate::data::{Image, Rows};
use crate::product::product;
use crate::report::{Duplicates, Likeness};
use candle_core::DType;
use faer::{Accum, Mat, MatRef};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Images of a block of the products.
const BLOCK: usize = 1024;
/// Most pairs that are listed by features.
const LISTED: usize = 200;

/// The images of one set: pixels, where it has any, and features.
pub struct Side<'a> {
    /// Gives the image at a position.
    pub pixels: Option<&'a (dyn Fn(usize) -> Result<Image> + Sync)>,
    /// `[n, d]`, in the order of the positions.
    pub features: &'a Rows,
}

/// Groups of equal images, then pairs alike in features with a cosine of at least `alike`.
///
/// # Errors
/// An image that does not decode, or a tensor operation failed.
pub fn duplicates(training: &Side, queries: &Side, alike: f64) -> Result<Vec<Duplicates>> {
    let mut found = match (training.pixels, queries.pixels) {
        (Some(train), Some(test)) => {
            let counts = (training.features.count(), queries.features.count());
            equal_pixels((counts.0, train), (counts.1, test))?
        }
        _ => Vec::new(),
    };
    let known = |pair: &Duplicates| {
        let within = |group: &Duplicates| {
            let training = pair.training.iter().all(|at| group.training.contains(at));
            training && pair.queries.iter().all(|at| group.queries.contains(at))
        };
        found.iter().any(within)
    };
    let mut pairs = Vec::new();
    for mut pair in alike_features(training.features, queries.features, alike)? {
        if known(&pair) {
            continue;
        }
        pair.similarity = pair.similarity.min(pixel_cosine(&pair, training, queries)?);
        if pair.similarity >= alike {
            pairs.push(pair);
        }
    }
    pairs.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    pairs.truncate(LISTED);
    found.extend(pairs);
    Ok(found)
}

/// The largest side that pictures are compared at.
const COMPARED: usize = 256;

/// Of a pair's images, each less its own mean, at one size and in colour; 1 where there are no pixels to compare.
fn pixel_cosine(pair: &Duplicates, training: &Side, queries: &Side) -> Result<f64> {
    let of = |side: &Side, at: &usize| side.pixels.map(|get| get(*at)).transpose();
    let images = (pair.training.iter().map(|at| of(training, at)))
        .chain(pair.queries.iter().map(|at| of(queries, at)))
        .collect::<Result<Option<Vec<Image>>>>()?;
    let Some([first, second]) = images.as_deref() else {
        return Ok(1.0);
    };
    let [height, width] = [first.height, first.width].map(|side| side.min(COMPARED));
    let centred = |image: &Image| -> Vec<f64> {
        let image = image.clone().to_rgb().resize(height, width);
        let mean =
            image.pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / image.pixels.len() as f64;
        let pixels = image.pixels.iter();
        pixels.map(|&p| f64::from(p) - mean).collect()
    };
    let (a, b) = (centred(first), centred(second));
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let lengths = (product(&a, &a) * product(&b, &b)).sqrt();
    Ok(if lengths > 0.0 {
        product(&a, &b) / lengths
    } else {
        0.0
    })
}

type GetPixels<'a> = &'a (dyn Fn(usize) -> Result<Image> + Sync);

fn equal_pixels(
    (train_count, train): (usize, GetPixels),
    (test_count, test): (usize, GetPixels),
) -> Result<Vec<Duplicates>> {
    let digests = |count: usize, get: GetPixels| {
        let digest = |at: usize| Ok(digest(&get(at)?));
        (0..count)
            .into_par_iter()
            .map(digest)
            .collect::<Result<Vec<_>>>()
    };
    let mut groups: BTreeMap<[u8; 32], (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (at, digest) in digests(train_count, train)?.into_iter().enumerate() {
        groups.entry(digest).or_default().0.push(at);
    }
    for (at, digest) in digests(test_count, test)?.into_iter().enumerate() {
        groups.entry(digest).or_default().1.push(at);
    }
    let repeated = |(train, test): &(Vec<usize>, Vec<usize>)| {
        !train.is_empty() && train.len() + test.len() > 1
    };
    let mut found: Vec<Duplicates> = (groups.into_values().filter(repeated))
        .map(|(training, queries)| Duplicates {
            kind: Likeness::Pixels,
            similarity: 1.0,
            training,
            queries,
        })
        .collect();
    found.sort_by_key(|group| group.training[0]);
    Ok(found)
}

fn digest(image: &Image) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for size in [image.channels, image.height, image.width] {
        hasher.update((size as u64).to_le_bytes());
    }
    hasher.update(&image.pixels);
    hasher.finalize().into()
}

fn alike_features(training: &Rows, queries: &Rows, alike: f64) -> Result<Vec<Duplicates>> {
    let mean = mean(training)?;
    let (train, test) = (directions(training, &mean)?, directions(queries, &mean)?);
    let pair = |similarity: f32, training: Vec<usize>, queries: Vec<usize>| Duplicates {
        kind: Likeness::Features,
        similarity: f64::from(similarity).min(1.0),
        training,
        queries,
    };
    // Two images may be nearest to each other: the pair counts once.
    let mut pairs: BTreeMap<[usize; 2], f32> = BTreeMap::new();
    for (at, nearest) in nearest(&train, &train, mean.len(), true)
        .into_iter()
        .enumerate()
    {
        if let Some((near, similarity)) = nearest {
            pairs.insert([at.min(near), at.max(near)], similarity);
        }
    }
    let within = pairs
        .into_iter()
        .map(|(images, similarity)| pair(similarity, images.into(), Vec::new()));
    let leaks = nearest(&test, &train, mean.len(), false)
        .into_iter()
        .enumerate();
    let leaks = leaks.filter_map(|(at, nearest)| {
        nearest.map(|(near, similarity)| pair(similarity, vec![near], vec![at]))
    });
    Ok(within
        .chain(leaks)
        .filter(|pair| pair.similarity >= alike)
        .collect())
}

/// Of each column, f64.
fn mean(rows: &Rows) -> Result<Vec<f64>> {
    let mut sums = vec![0.0; rows.columns()];
    for step in rows.steps() {
        for row in values(rows, step)?.chunks_exact(rows.columns()) {
            (sums.iter_mut().zip(row)).for_each(|(sum, x)| *sum += x);
        }
    }
    Ok(sums
        .into_iter()
        .map(|sum| sum / rows.count().max(1) as f64)
        .collect())
}

/// Rows less `mean`, of length 1 (or 0) in f32.
fn directions(rows: &Rows, mean: &[f64]) -> Result<Vec<f32>> {
    let mut all = Vec::with_capacity(rows.count() * mean.len());
    for step in rows.steps() {
        for row in values(rows, step)?.chunks_exact(mean.len()) {
            let centred: Vec<f64> = row.iter().zip(mean).map(|(x, m)| x - m).collect();
            let length = centred.iter().map(|x| x * x).sum::<f64>().sqrt();
            let factor = if length > 0.0 { length.recip() } else { 0.0 };
            all.extend(centred.iter().map(|x| (x * factor) as f32));
        }
    }
    Ok(all)
}

fn values(rows: &Rows, step: std::ops::Range<usize>) -> Result<Vec<f64>> {
    Ok(rows
        .chunk(step)?
        .to_dtype(DType::F64)?
        .flatten_all()?
        .to_vec1()?)
}

/// For each of `images` the nearest of `others` and their cosine; `own`: they are the same list, and none is its own neighbour.
fn nearest(images: &[f32], others: &[f32], columns: usize, own: bool) -> Vec<Option<(usize, f32)>> {
    let count = others.len() / columns;
    let mut found = vec![None; images.len() / columns];
    for (block, found) in found.chunks_mut(BLOCK).enumerate() {
        let rows = found.len();
        let left = &images[block * BLOCK * columns..][..rows * columns];
        for start in (0..count).step_by(BLOCK) {
            let width = BLOCK.min(count - start);
            let right = &others[start * columns..][..width * columns];
            // Column-major [others, images]: a column for each image.
            let mut cosines = Mat::<f32>::zeros(width, rows);
            product(
                cosines.as_mut(),
                Accum::Replace,
                MatRef::from_row_major_slice(right, width, columns),
                MatRef::from_column_major_slice(left, columns, rows),
                1.0,
            );
            for (row, best) in found.iter_mut().enumerate() {
                for at in 0..width {
                    let is_itself = own && start + at == block * BLOCK + row;
                    let cosine = cosines[(at, row)];
                    if !is_itself && best.is_none_or(|(_, most)| cosine > most) {
                        *best = Some((start + at, cosine));
                    }
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
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
        5.0 + ((image * 31 + column * 17) as f32 * 0.7).sin()
    }

    fn image(value: u8) -> Image {
        Image {
            channels: 1,
            height: 1,
            width: 2,
            pixels: vec![value, 1],
        }
    }

    #[test]
    fn copies_are_found_by_pixels_and_near_ones_by_features() {
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
            let wide = (source(at) / 200) as u8;
            Ok(Image {
                pixels: vec![(source(at) % 200) as u8, wide],
                ..image(0)
            })
        };
        let test_pixels = |at: usize| {
            let pixels = if at == 2 {
                vec![7, 0]
            } else {
                vec![250 + at as u8, 99]
            };
            Ok(Image { pixels, ..image(0) })
        };
        let train = Side {
            pixels: Some(&train_pixels),
            features: &training,
        };
        let test = Side {
            pixels: Some(&test_pixels),
            features: &queries,
        };
        let found = duplicates(&train, &test, 0.999_99).unwrap();
        let sets: Vec<_> = found
            .iter()
            .map(|group| (group.kind, group.training.clone(), group.queries.clone()))
            .collect();
        assert_eq!(sets[0], (Likeness::Pixels, vec![7], vec![2]));
        assert_eq!(sets[1], (Likeness::Pixels, vec![40, 1400], vec![]));
        assert!(
            sets[2..].contains(&(Likeness::Features, vec![9, 11], vec![])),
            "{sets:?}"
        );
        assert!(
            !sets[2..]
                .iter()
                .any(|(_, training, _)| training == &vec![40, 1400]),
            "{sets:?}"
        );
        let without = duplicates(
            &Side {
                pixels: None,
                ..train
            },
            &test,
            0.999_999,
        )
        .unwrap();
        assert!(
            without
                .iter()
                .any(|group| group.training == [40, 1400] && group.similarity > 0.999_999)
        );
    }

    #[test]
    fn a_picture_that_does_not_decode_is_an_error() {
        let features = rows(2, wave);
        let broken = |_: usize| Err(crate::Error::config("train", "broken"));
        let side = || Side {
            pixels: Some(&broken),
            features: &features,
        };
        assert!(duplicates(&side(), &side(), 0.9).is_err());
    }
}
