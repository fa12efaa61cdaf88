//! What computes: two kinds of processor round sums differently, since each library takes the widest instructions that it has kernels
//! for.

use crate::product::{Widest, kernels, widest};

/// The processor's name, its widest instructions for numbers side by side, and the kernels of OpenBLAS:
/// `Intel(R) Xeon(R) Processor, AVX-512, OpenBLAS 0.3.21, SkylakeX`.
pub(crate) fn processor() -> String {
    let list = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = name_in(&list).unwrap_or(std::env::consts::ARCH);
    let kernels = kernels();
    match widest() {
        Widest::Avx512 => format!("{name}, AVX-512, {kernels}"),
        Widest::Avx2 => format!("{name}, AVX2, {kernels}"),
        Widest::Other => format!("{name}, {kernels}"),
    }
}

/// The first processor's name in the text of `/proc/cpuinfo`.
fn name_in(list: &str) -> Option<&str> {
    let values = list.lines().filter_map(|line| line.split_once(':'));
    let mut named = values.filter(|(key, _)| key.trim() == "model name");
    named
        .next()
        .map(|(_, name)| name.trim())
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_first() {
        let list = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some(R) CPU @ 2: 1\nmodel name\t: Other\n";
        assert_eq!(name_in(list), Some("Some(R) CPU @ 2: 1"));
        assert_eq!(name_in("processor\t: 0\nmodel name\t:\n"), None);
        assert!(!processor().is_empty());
    }
}
