//! Images that are in the data more than once, within the training set or in both sets.
//!
//! Equal pixels are found by digest. A near-duplicate is the training image most alike to an image: alike is the mean of two
//! cosines, of the model's features and of small thumbnails, both less the mean of the training images (features are
//! positive, thumbnails bright in the middle, so that any two would point the same way). Features alone do not do, as a
//! fine-tuned model pulls the images of a class together; thumbnails alone know any two dark cats for the same. That mean is
//! the cosine of both vectors in one, so that all pairs are one matrix product.
//!
//! Where duplicates end and what is merely alike begins depends on the data: the pairs most alike are listed, in order.

mod look;
mod nearest;
#[cfg(test)]
mod tests;

use crate::Result;
use crate::data::{Image, Rows};
use crate::report::{Duplicates, Likeness};
use look::{Look, looks};
use nearest::{Centre, Directions, nearest};
use std::collections::BTreeMap;

/// Near pairs that are listed at most within the training set, and as many between the sets.
const LISTED: usize = 300;

/// The images of one set: pixels, where it has any, and features, which some of the images may lack.
pub struct Side<'a> {
    /// How many images.
    pub count: usize,
    /// Gives the image at a position.
    pub pixels: Option<GetPixels<'a>>,
    /// `[n, d]`, of those that have features.
    pub features: &'a Rows,
    /// The positions of these, in the order of their features: `n`.
    pub places: &'a [usize],
}

type GetPixels<'a> = &'a (dyn Fn(usize) -> Result<Image> + Sync);

/// Groups of equal images among all, then the pairs most alike among those that have features, first the most.
///
/// # Errors
/// An image that does not decode, or a tensor operation failed.
pub fn duplicates(training: &Side, queries: &Side) -> Result<Vec<Duplicates>> {
    let looks = match (training.pixels, queries.pixels) {
        (Some(train), Some(test)) => {
            Some([looks(training.count, train)?, looks(queries.count, test)?])
        }
        _ => None,
    };
    let mut found = looks.as_ref().map_or_else(Vec::new, equal_pixels);
    let known = |pair: &Duplicates| {
        let within = |group: &Duplicates| {
            let training = pair.training.iter().all(|at| group.training.contains(at));
            training && pair.queries.iter().all(|at| group.queries.contains(at))
        };
        found.iter().any(within)
    };
    let of_side = |side: usize, places: &[usize]| {
        let looks = looks.as_ref();
        looks.map(|looks| at_places(&looks[side], places))
    };
    let of_train = of_side(0, training.places);
    let of_test = of_side(1, queries.places);
    let centre = Centre::of(training.features, of_train.as_deref())?;
    let train = centre.directions(training.features, of_train.as_deref())?;
    let test = centre.directions(queries.features, of_test.as_deref())?;
    // From places among the features to those among all images.
    let placed = |pair: Duplicates| Duplicates {
        training: pair
            .training
            .iter()
            .map(|&at| training.places[at])
            .collect(),
        queries: pair.queries.iter().map(|&at| queries.places[at]).collect(),
        ..pair
    };
    let mut listed = Vec::new();
    for pairs in [leaks(&test, &train), within(&train)] {
        let mut pairs: Vec<Duplicates> = pairs.into_iter().map(placed).collect();
        pairs.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        let new = pairs.into_iter().filter(|pair| !known(pair));
        listed.extend(new.take(LISTED));
    }
    listed.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    found.extend(listed);
    Ok(found)
}

fn at_places<'a>(looks: &'a [Look], places: &[usize]) -> Vec<&'a Look> {
    places.iter().map(|&at| &looks[at]).collect()
}

fn equal_pixels([train, test]: &[Vec<Look>; 2]) -> Vec<Duplicates> {
    let mut groups: BTreeMap<[u8; 32], (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (at, look) in train.iter().enumerate() {
        groups.entry(look.digest).or_default().0.push(at);
    }
    for (at, look) in test.iter().enumerate() {
        groups.entry(look.digest).or_default().1.push(at);
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
    found
}

fn near(similarity: f32, training: Vec<usize>, queries: Vec<usize>) -> Duplicates {
    Duplicates {
        kind: Likeness::Near,
        similarity: f64::from(similarity).min(1.0),
        training,
        queries,
    }
}

/// Each query with the training image nearest to it.
fn leaks(test: &Directions, train: &Directions) -> Vec<Duplicates> {
    let nearest = nearest(test, train, false).into_iter().enumerate();
    let pair = |(at, nearest): (usize, Option<(usize, f32)>)| {
        nearest.map(|(train, similarity)| near(similarity, vec![train], vec![at]))
    };
    nearest.filter_map(pair).collect()
}

/// Each training image with the one nearest to it; two that are nearest to each other count once.
fn within(train: &Directions) -> Vec<Duplicates> {
    let mut pairs: BTreeMap<[usize; 2], f32> = BTreeMap::new();
    for (at, nearest) in nearest(train, train, true).into_iter().enumerate() {
        if let Some((near, similarity)) = nearest {
            pairs.insert([at.min(near), at.max(near)], similarity);
        }
    }
    let pair =
        |(images, similarity): ([usize; 2], f32)| near(similarity, images.into(), Vec::new());
    pairs.into_iter().map(pair).collect()
}
