//! How far numbers agree with others.

use ndarray::{Array1, Array2, ArrayView1};

pub(crate) fn pearson(a: ArrayView1<f64>, b: ArrayView1<f64>) -> f64 {
    let (a, b) = (&a - a.mean().unwrap(), &b - b.mean().unwrap());
    a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()
}

pub(crate) fn ranks(values: ArrayView1<f64>) -> Array1<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = Array1::zeros(values.len());
    (order.iter().enumerate()).for_each(|(rank, &position)| ranks[position] = rank as f64);
    ranks
}

pub(crate) fn spearman(a: ArrayView1<f64>, b: ArrayView1<f64>) -> f64 {
    pearson(ranks(a).view(), ranks(b).view())
}

/// Slope of the least-squares line of predicted on actual.
pub(crate) fn slope(predicted: ArrayView1<f64>, actual: ArrayView1<f64>) -> f64 {
    let centred = &actual - actual.mean().unwrap();
    predicted.dot(&centred) / centred.dot(&centred)
}

pub(crate) fn relative_error(found: &Array2<f64>, expected: &Array2<f64>) -> f64 {
    let norm = |matrix: &Array2<f64>| matrix.iter().map(|value| value * value).sum::<f64>().sqrt();
    norm(&(found - expected)) / norm(expected)
}
