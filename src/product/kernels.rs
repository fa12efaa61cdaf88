//! Which of OpenBLAS's kernels are at work, and whether the processor could do with better ones.
//!
//! OpenBLAS chooses kernels by the processor's model when it is loaded, before any code of ours. A processor that is newer than
//! the library is unknown to it and gets those of 2004, without AVX: OpenBLAS 0.3.21 on an Emerald Rapids multiplies at 57 GFLOP/s
//! of 145 (f32, two cores), and a ranking takes 2.9 times as long (`analysis/speed`). `OPENBLAS_CORETYPE` names others, and has to be there when the
//! process starts: so the program starts itself again where that helps.

use std::ffi::{CStr, c_char};

/// Names OpenBLAS's kernels; set by whoever starts the process, or by [`start_with_best_kernels`].
const CORE_TYPE: &str = "OPENBLAS_CORETYPE";

/// Kernels without AVX, by OpenBLAS's names.
const OLD: [&str; 17] = [
    "Unknown",
    "Katmai",
    "Coppermine",
    "Northwood",
    "Prescott",
    "Banias",
    "Atom",
    "Core2",
    "Penryn",
    "Dunnington",
    "Nehalem",
    "Athlon",
    "Opteron",
    "Opteron_SSE3",
    "Barcelona",
    "Nano",
    "Bobcat",
];

/// OpenBLAS's version and the name of the kernels at work: `OpenBLAS 0.3.21, SkylakeX`.
pub(crate) fn kernels() -> String {
    let config = library_says(openblas_get_config());
    let version: Vec<&str> = config.split_whitespace().take(2).collect();
    format!("{}, {}", version.join(" "), core())
}

/// Starts the process again, with the same arguments, where OpenBLAS has better kernels for this processor than those that it chose and
/// nobody has said which to take. Goes on where that is not so, or cannot be done.
pub fn start_with_best_kernels() {
    if std::env::var_os(CORE_TYPE).is_some() {
        return;
    }
    if let Some(better) = better(&core(), widest()) {
        start_again(better);
    }
}

#[cfg(unix)]
fn start_again(kernels: &str) {
    use std::os::unix::process::CommandExt;
    let mut arguments = std::env::args_os();
    let (Ok(program), Some(name)) = (std::env::current_exe(), arguments.next()) else {
        return;
    };
    // Comes back only where it fails; the old kernels do as well then.
    let _ = std::process::Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(CORE_TYPE, kernels)
        .exec();
}

#[cfg(not(unix))]
fn start_again(_kernels: &str) {}

/// The widest instructions for numbers side by side that a processor has and kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Widest {
    Avx512,
    Avx2,
    Other,
}

/// Kernels for these instructions where the `core` chosen makes no use of them.
fn better(core: &str, widest: Widest) -> Option<&'static str> {
    if !OLD.contains(&core) {
        return None;
    }
    match widest {
        Widest::Avx512 => Some("SkylakeX"),
        Widest::Avx2 => Some("Haswell"),
        Widest::Other => None,
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn widest() -> Widest {
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    match (avx512, avx2) {
        (true, _) => Widest::Avx512,
        (_, true) => Widest::Avx2,
        _ => Widest::Other,
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn widest() -> Widest {
    Widest::Other
}

fn core() -> String {
    library_says(openblas_get_corename())
}

// SAFETY: as OpenBLAS declares them in cblas.h; they only give away a pointer.
unsafe extern "C" {
    safe fn openblas_get_config() -> *const c_char;
    safe fn openblas_get_corename() -> *const c_char;
}

/// A text that the library keeps; nothing where it has none.
fn library_says(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: OpenBLAS's texts end with 0 and stay as they are.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_have_a_version_and_a_name() {
        let (kernels, core) = (kernels(), core());
        assert!(kernels.starts_with("OpenBLAS "), "{kernels}");
        assert!(!core.is_empty() && kernels.ends_with(&core), "{kernels}");
    }

    #[test]
    fn only_kernels_without_avx_give_way_to_those_for_the_processor() {
        assert_eq!(better("Prescott", Widest::Avx512), Some("SkylakeX"));
        assert_eq!(better("Nehalem", Widest::Avx2), Some("Haswell"));
        assert_eq!(better("Prescott", Widest::Other), None);
        for core in ["Haswell", "Zen", "SkylakeX", "Cooperlake", "Sandybridge"] {
            assert_eq!(better(core, Widest::Avx512), None);
        }
    }
}
