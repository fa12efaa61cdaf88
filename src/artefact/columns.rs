//! The columns of a table to be written, made of its rows.

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray,
};
use std::sync::Arc;

/// A column: its name, its values, and whether some of them may be absent.
pub(crate) type Column<'a> = (&'a str, ArrayRef, bool);

/// Columns in the order in which they are asked for: integers are of 64 bits, narrow ones of 32.
pub(crate) struct Columns<'a, Rows> {
    rows: Rows,
    all: Vec<Column<'a>>,
}

impl<'a, Rows: Iterator + Clone> Columns<'a, Rows> {
    /// None yet, of rows that are gone through once for each.
    pub(crate) fn of(rows: Rows) -> Self {
        Self {
            rows,
            all: Vec::new(),
        }
    }

    pub(crate) fn integers(self, name: &'a str, value: impl Fn(Rows::Item) -> i64) -> Self {
        self.with::<Int64Array, _>(name, value, false)
    }

    pub(crate) fn optional_integers(
        self,
        name: &'a str,
        value: impl Fn(Rows::Item) -> Option<i64>,
    ) -> Self {
        self.with::<Int64Array, _>(name, value, true)
    }

    pub(crate) fn narrow_integers(self, name: &'a str, value: impl Fn(Rows::Item) -> i32) -> Self {
        self.with::<Int32Array, _>(name, value, false)
    }

    pub(crate) fn numbers(self, name: &'a str, value: impl Fn(Rows::Item) -> f64) -> Self {
        self.with::<Float64Array, _>(name, value, false)
    }

    pub(crate) fn optional_numbers(
        self,
        name: &'a str,
        value: impl Fn(Rows::Item) -> Option<f64>,
    ) -> Self {
        self.with::<Float64Array, _>(name, value, true)
    }

    pub(crate) fn words<T: AsRef<str>>(
        self,
        name: &'a str,
        value: impl Fn(Rows::Item) -> T,
    ) -> Self {
        self.with::<StringArray, _>(name, |row| Some(value(row)), false)
    }

    pub(crate) fn optional_words<T: AsRef<str>>(
        self,
        name: &'a str,
        value: impl Fn(Rows::Item) -> Option<T>,
    ) -> Self {
        self.with::<StringArray, _>(name, value, true)
    }

    pub(crate) fn flags(self, name: &'a str, value: impl Fn(Rows::Item) -> bool) -> Self {
        self.with::<BooleanArray, _>(name, value, false)
    }

    pub(crate) fn optional_flags(
        self,
        name: &'a str,
        value: impl Fn(Rows::Item) -> Option<bool>,
    ) -> Self {
        self.with::<BooleanArray, _>(name, value, true)
    }

    fn with<A, T>(
        mut self,
        name: &'a str,
        value: impl Fn(Rows::Item) -> T,
        may_be_absent: bool,
    ) -> Self
    where
        A: Array + FromIterator<T> + 'static,
    {
        let values: A = self.rows.clone().map(value).collect();
        self.all.push((name, Arc::new(values), may_be_absent));
        self
    }

    /// All that were asked for.
    pub(crate) fn done(self) -> Vec<Column<'a>> {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_order_names_types_and_values_that_were_asked_for() {
        let rows: [(i32, Option<bool>); 2] = [(3, Some(true)), (-1, None)];
        let columns = Columns::of(rows.iter())
            .integers("wide", |row| i64::from(row.0))
            .optional_integers("some wide", |row| row.1.map(i64::from))
            .narrow_integers("narrow", |row| row.0)
            .numbers("real", |row| f64::from(row.0) / 2.0)
            .optional_numbers("some real", |row| row.1.map(|_| 0.25))
            .words("words", |row| row.0.to_string())
            .optional_words("some words", |row| row.1.map(|_| "one"))
            .flags("flags", |row| row.0 > 0)
            .optional_flags("some flags", |row| row.1)
            .done();
        let wide = |values: [Option<i64>; 2]| Arc::new(Int64Array::from(values.to_vec()));
        let real = |values: [Option<f64>; 2]| Arc::new(Float64Array::from(values.to_vec()));
        let words = |values: [Option<&str>; 2]| Arc::new(StringArray::from(values.to_vec()));
        let flags = |values: [Option<bool>; 2]| Arc::new(BooleanArray::from(values.to_vec()));
        let expected: [Column; 9] = [
            ("wide", wide([Some(3), Some(-1)]), false),
            ("some wide", wide([Some(1), None]), true),
            ("narrow", Arc::new(Int32Array::from(vec![3, -1])), false),
            ("real", real([Some(1.5), Some(-0.5)]), false),
            ("some real", real([Some(0.25), None]), true),
            ("words", words([Some("3"), Some("-1")]), false),
            ("some words", words([Some("one"), None]), true),
            ("flags", flags([Some(true), Some(false)]), false),
            ("some flags", flags([Some(true), None]), true),
        ];
        assert_eq!(columns, expected);
    }
}
