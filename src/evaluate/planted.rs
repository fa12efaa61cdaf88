//! Training sets that were tampered with on purpose: flipped, shuffled and merged labels, copies of queries.
//!
//! The head is fitted anew to each, so that estimators are asked about the model that such a set makes.

use super::estimator::Setting;
use super::subsets::{Draw, random, shuffled};
use crate::data::{PresentClasses, Rows};
use crate::derivative::head::{HeadInputs, SoftmaxHead};
use crate::influence::FeatureSet;
use crate::solve::Newton;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use std::path::Path;

/// A training set, queries, and the head that was fitted to it.
pub struct Planted {
    features: Rows,
    labels: Vec<usize>,
    ids: Vec<usize>,
    queries: Rows,
    query_labels: Vec<usize>,
    query_ids: Vec<usize>,
    head: SoftmaxHead,
    l2: f64,
}

impl Planted {
    /// As estimators want it.
    pub fn setting<'a>(&'a self, scratch: &'a Path) -> Setting<'a> {
        Setting {
            train: FeatureSet {
                features: &self.features,
                labels: &self.labels,
                ids: &self.ids,
            },
            queries: FeatureSet {
                features: &self.queries,
                labels: &self.query_labels,
                ids: &self.query_ids,
            },
            head: &self.head,
            l2: self.l2,
            scratch,
        }
    }

    /// The labels that the head was fitted to.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The head.
    pub fn head(&self) -> &SoftmaxHead {
        &self.head
    }

    /// The same images with other labels, the head fitted to them from zero.
    ///
    /// # Errors
    /// The head cannot be fitted.
    pub fn relabelled(
        setting: &Setting,
        labels: Vec<usize>,
        query_labels: Vec<usize>,
        classes: usize,
    ) -> Result<Self> {
        let inputs = HeadInputs::new(setting.train.features, &labels, DType::F64)?;
        let zeros = SoftmaxHead::zeros(classes, inputs.feature_count(), DType::F64, &Device::Cpu)?;
        Ok(Self {
            head: Newton::new(setting.l2).fit(&inputs, zeros)?.head,
            features: setting.train.features.clone(),
            ids: setting.train.ids.to_vec(),
            queries: setting.queries.features.clone(),
            query_ids: setting.queries.ids.to_vec(),
            l2: setting.l2,
            labels,
            query_labels,
        })
    }

    /// The same images at a head that knows nothing: normal numbers of the same mean square.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn at_random_head(setting: &Setting, seed: u64) -> Result<Self> {
        let parameters = setting.head.parameters().to_dtype(DType::F64)?;
        let squares = parameters.sqr()?.mean_all()?.to_scalar::<f64>()?;
        let mut random = random(Draw::Head, seed, 0);
        let values: Vec<f64> = (0..parameters.elem_count())
            .map(|_| {
                let value: f64 = StandardNormal.sample(&mut random);
                value * squares.sqrt()
            })
            .collect();
        let parameters = Tensor::from_vec(values, parameters.shape(), &Device::Cpu)?;
        Ok(Self {
            head: SoftmaxHead::from_parameters(&parameters)?,
            features: setting.train.features.clone(),
            labels: setting.train.labels.to_vec(),
            ids: setting.train.ids.to_vec(),
            queries: setting.queries.features.clone(),
            query_labels: setting.queries.labels.to_vec(),
            query_ids: setting.queries.ids.to_vec(),
            l2: setting.l2,
        })
    }

    /// Copies of the queries at `chosen` join the training images, in that order after them, and are the queries.
    ///
    /// # Errors
    /// The head cannot be fitted.
    pub fn with_copies(setting: &Setting, chosen: &[usize]) -> Result<Self> {
        let positions: Vec<u32> = chosen.iter().map(|&at| at as u32).collect();
        let train = setting.train.features.all()?.to_dtype(DType::F64)?;
        let copies = setting
            .queries
            .features
            .select(&positions)?
            .to_dtype(DType::F64)?;
        let features: Rows = Tensor::cat(&[&train, &copies], 0)?.into();
        let of = |values: &[usize]| -> Vec<usize> { chosen.iter().map(|&at| values[at]).collect() };
        let (query_labels, query_ids) = (of(setting.queries.labels), of(setting.queries.ids));
        let labels = [setting.train.labels, &query_labels].concat();
        let inputs = HeadInputs::new(&features, &labels, DType::F64)?;
        let start = setting.head.to_dtype(DType::F64)?;
        Ok(Self {
            head: Newton::new(setting.l2).fit(&inputs, start)?.head,
            ids: (0..labels.len()).collect(),
            queries: (&copies).into(),
            l2: setting.l2,
            features,
            labels,
            query_labels,
            query_ids,
        })
    }
}

/// A share of the labels moved to another class that there are images of, each to any other alike; and which. A class without images
/// would be told at once.
///
/// # Errors
/// A share that flips nothing or everything, or labels of a single class.
pub fn flipped(labels: &[usize], share: f64, seed: u64) -> Result<(Vec<usize>, Vec<bool>)> {
    let number = (share * labels.len() as f64).round();
    if !(number >= 1.0 && number < labels.len() as f64) {
        let reason = format!(
            "expected a share above 0 and below 1 that flips some of {} labels and not all, found {share}",
            labels.len()
        );
        return Err(Error::config("mislabels", reason));
    }
    let classes = PresentClasses::of(labels);
    if classes.count() < 2 {
        let reason = "the training images are of one class: there is no other to flip labels to";
        return Err(Error::config("mislabels", reason));
    }
    let (mut labels, mut flips) = (labels.to_vec(), vec![false; labels.len()]);
    for at in shuffled(labels.len(), Draw::Flips, seed, 0)
        .into_iter()
        .take(number as usize)
    {
        let step = random(Draw::Flips, seed, 1 + at as u64).random_range(1..classes.count());
        labels[at] = classes.after(labels[at], step);
        flips[at] = true;
    }
    Ok((labels, flips))
}

/// The labels in random order: each class as frequent as before, nothing to be learnt.
pub fn shuffled_labels(labels: &[usize], seed: u64) -> Vec<usize> {
    let order = shuffled(labels.len(), Draw::Labels, seed, 0);
    order.into_iter().map(|at| labels[at]).collect()
}

/// The classes of `labels`, 4 or more, put together at random into half as many groups of two or three: the group of each class. One
/// without images joins a group and changes none.
pub fn merged_classes(labels: &[usize], classes: usize, seed: u64) -> Vec<usize> {
    let there = PresentClasses::of(labels);
    let groups = (there.count() / 2).max(1);
    let mut group: Vec<usize> = (0..classes).map(|class| class % groups).collect();
    for (place, at) in shuffled(there.count(), Draw::Groups, seed, 0)
        .into_iter()
        .enumerate()
    {
        group[there.class(at)] = place % groups;
    }
    group
}

/// Positions of the queries that are copied.
pub fn copied(queries: usize, number: usize, seed: u64) -> Vec<usize> {
    let mut order = shuffled(queries, Draw::Duplicates, seed, 0);
    order.truncate(number);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flips_are_as_many_as_asked_for_and_change_the_label() {
        let labels: Vec<usize> = (0..200).map(|i| i % 7).collect();
        let (changed, flips) = flipped(&labels, 0.1, 5).unwrap();
        assert_eq!(flips.iter().filter(|&&flip| flip).count(), 20);
        for ((old, new), flip) in labels.iter().zip(&changed).zip(&flips) {
            assert!((old != new) == *flip && *new < 7);
        }
        assert_eq!(changed, flipped(&labels, 0.1, 5).unwrap().0);
        assert!(flipped(&labels, 0.0, 5).is_err() && flipped(&labels, f64::NAN, 5).is_err());
        assert!(flipped(&[3; 20], 0.1, 5).is_err());
        // Classes 2, 12, 22 …, and none between them.
        let sparse: Vec<usize> = labels.iter().map(|label| 10 * label + 2).collect();
        let expected: Vec<usize> = changed.iter().map(|label| 10 * label + 2).collect();
        assert_eq!(flipped(&sparse, 0.1, 5).unwrap().0, expected);
        let mut sorted = shuffled_labels(&labels, 1);
        assert_ne!(sorted, labels);
        sorted.sort_unstable();
        let mut expected = labels;
        expected.sort_unstable();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn merged_classes_are_balanced() {
        for classes in [4, 5, 10, 100] {
            let labels: Vec<usize> = (0..classes).collect();
            let groups = merged_classes(&labels, classes, 2);
            let count = classes / 2;
            let sizes: Vec<usize> = (0..count)
                .map(|group| groups.iter().filter(|&&of| of == group).count())
                .collect();
            assert!(
                sizes
                    .iter()
                    .all(|&size| size >= 2 && size <= classes.div_ceil(count)),
                "{sizes:?}"
            );
            // Whatever other classes the head has.
            let odd: Vec<usize> = labels.iter().map(|class| 2 * class + 1).collect();
            let among = merged_classes(&odd, 2 * classes + 5, 2);
            assert!(odd.iter().map(|&class| among[class]).eq(groups));
            assert!(among.iter().all(|&group| group < count));
        }
    }
}
