//! SHA-256 over content, so that a changed input is noticed wherever the file lies.
//!
//! Every piece goes in with its length before it; two different lists of pieces never give the same stream of bytes.

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A digest in the making.
pub(super) struct ContentDigest(Sha256);

impl ContentDigest {
    /// Starts with the kind of content ("images", "features").
    pub(super) fn new(kind: &str) -> Self {
        let mut digest = Self(Sha256::new());
        digest.bytes(kind.as_bytes());
        digest
    }

    /// Takes in a string of bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.part(bytes);
    }

    /// Takes in a part of a string of bytes whose length went in as a number.
    pub(super) fn part(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Takes in a number.
    pub(super) fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    /// Takes in a list of names.
    pub(super) fn names(&mut self, names: &[String]) {
        self.number(names.len() as u64);
        for name in names {
            self.bytes(name.as_bytes());
        }
    }

    /// The digest, 64 hexadecimal digits.
    pub(super) fn finish(self) -> String {
        self.0
            .finalize()
            .iter()
            .fold(String::with_capacity(64), |mut text, byte| {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sha256_and_keeps_pieces_apart() {
        let known = ContentDigest(Sha256::new()).finish();
        assert_eq!(
            known,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let of = |pieces: &[&str]| {
            let mut digest = ContentDigest::new("test");
            pieces
                .iter()
                .for_each(|piece| digest.bytes(piece.as_bytes()));
            digest.finish()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
    }
}
