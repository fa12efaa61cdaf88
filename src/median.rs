//! The median: of an even number of values the mean of the two in the middle.

/// The median of `values`, which are sorted then; nothing of none.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let high = values.get(values.len() / 2)?;
    let low = values[(values.len() - 1) / 2];
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_values_it_is_their_mean() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0]), Some(3.0));
        assert_eq!(median(&mut [2.3, 1.2]), Some(1.75));
        assert_eq!(median(&mut [5.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 9.0]), Some(3.5));
    }
}
