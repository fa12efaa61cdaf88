//! What the diagonal of a Cholesky factor says of the matrix: A = L Lᵀ, of which L_ii² is left of A_ii when the parameters before i
//! have explained their part.
//!
//! Where rounding is all that is left, a zero may be meant. Of a matrix that is vouched for as positive definite, what counts as
//! rounding is measured for every parameter by its own A_ii, so that its unit makes no difference (van der Sluis 1969). Of another
//! one by the largest: axes along which nothing varies have an A_ii that is itself rounding.

/// L_ii² and A_ii.
#[derive(Debug, Default)]
pub(super) struct Pivots {
    squares: Vec<f64>,
    diagonal: Vec<f64>,
}

impl Pivots {
    /// Of the elements L_ii and A_ii.
    pub(super) fn new(pivots: Vec<f64>, diagonal: Vec<f64>) -> Self {
        let squares = pivots.into_iter().map(|pivot| pivot * pivot).collect();
        Self { squares, diagonal }
    }

    /// Whether every pivot is above rounding level; `vouched` is what is known of the matrix beforehand.
    pub(super) fn are_distinct_from_zero(&self, vouched: bool) -> bool {
        let least = self.diagonal.len() as f64 * f64::EPSILON;
        let largest = self.diagonal.iter().fold(0.0f64, |a, &b| a.max(b));
        (self.squares.iter().zip(&self.diagonal)).all(|(square, &own)| {
            let whole = if vouched { own } else { largest };
            *square > least * whole
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_matter_only_where_nothing_is_known() {
        let scaled = Pivots::new(vec![1e10, 1e-10], vec![1e20, 2e-20]);
        assert!(scaled.are_distinct_from_zero(true));
        assert!(!scaled.are_distinct_from_zero(false));
        let dependent = Pivots::new(vec![1.0, 1e-9], vec![1.0, 1.0]);
        assert!(!dependent.are_distinct_from_zero(true));
        assert!(!dependent.are_distinct_from_zero(false));
    }
}
