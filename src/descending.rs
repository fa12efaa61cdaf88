//! Positions by the numbers there: one sort in place of many that are each compiled by themselves.

/// The positions of `values`, the largest first; equal ones in their order.
pub(crate) fn descending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_keep_their_order() {
        let values = [1.0, 3.0, -2.0, 3.0, f64::INFINITY, 1.0];
        assert_eq!(descending(&values), [4, 1, 3, 0, 5, 2]);
        assert!(descending(&[]).is_empty());
    }
}
