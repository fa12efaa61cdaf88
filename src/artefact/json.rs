//! Small JSON files: written whole, read with the place of the first error.

use super::atomic::write_atomically;
use crate::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

/// Writes `value` as indented JSON, whole or not at all.
///
/// # Errors
/// As [`write_atomically`]; also where the value has no JSON form (a path that is not Unicode).
pub fn write_json(path: impl AsRef<Path>, value: &impl Serialize) -> Result<()> {
    let path = path.as_ref();
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|reason| Error::io(path, "write as JSON")(reason.into()))?;
    bytes.push(b'\n');
    write_atomically(path, &bytes)
}

/// Reads a JSON file.
///
/// # Errors
/// The file cannot be read, or is cut short, malformed, or of another shape.
pub fn read_json<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    serde_json::from_slice(&bytes).map_err(|reason| {
        let place = format!("line {}, column {}", reason.line(), reason.column());
        let message = reason.to_string();
        let found = message.split(" at line ").next().unwrap_or(&message);
        Error::format(
            path,
            place,
            "a complete JSON record",
            found,
            "restore the file or make it again",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_come_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.json");
        // Fibonacci hashing gives well-spread mantissas; every exponent stays finite.
        let bits = (1..20_000u64).map(|at| at.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let values: Vec<f64> = bits
            .map(f64::from_bits)
            .filter(|value| value.is_finite())
            .collect();
        write_json(&path, &values).unwrap();
        assert_eq!(read_json::<Vec<f64>>(&path).unwrap(), values);
    }

    #[test]
    fn a_truncated_file_names_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.json");
        write_atomically(&path, b"[1,\n 2,").unwrap();
        let message = read_json::<Vec<f64>>(&path).unwrap_err().to_string();
        let expected = format!(
            "{}: line 2, column 3: expected a complete JSON record, found EOF while parsing a value; \
             restore the file or make it again",
            path.display()
        );
        assert_eq!(message, expected);
    }
}
