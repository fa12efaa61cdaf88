//! What computes: two kinds of processor round sums differently, since each library takes the widest instructions that it has kernels
//! for.

use crate::product::kernels;

/// The processor's name, its widest instructions for numbers side by side, and the kernels of OpenBLAS:
/// `Intel(R) Xeon(R) Processor, AVX-512, OpenBLAS 0.3.21, SkylakeX`.
pub(crate) fn processor() -> String {
    let list = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = name_in(&list).unwrap_or(std::env::consts::ARCH);
    let kernels = kernels();
    match widest() {
        Some(instructions) => format!("{name}, {instructions}, {kernels}"),
        None => format!("{name}, {kernels}"),
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

#[cfg(target_arch = "x86_64")]
fn widest() -> Option<&'static str> {
    match (
        is_x86_feature_detected!("avx512f"),
        is_x86_feature_detected!("avx2"),
    ) {
        (true, _) => Some("AVX-512"),
        (_, true) => Some("AVX2"),
        _ => None,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn widest() -> Option<&'static str> {
    None
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
