//! Peak memory of this process, and the machine's.

/// Bytes in a GiB.
pub(crate) const GIB: f64 = (1u64 << 30) as f64;

/// So many bytes as a number of GiB, to three places, or to three figures where that says nothing.
pub(crate) fn gib(bytes: f64) -> String {
    match bytes / GIB {
        small if small > 0.0 && small < 0.01 => format!("{small:.2e}"),
        gib => format!("{gib:.3}"),
    }
}

/// The largest resident memory of this process so far, in bytes; `None` where the system does not say
/// (anywhere but on Linux).
pub(super) fn peak_memory_bytes() -> Option<u64> {
    peak_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The largest resident memory since [`reset_peak_memory`], in bytes; `None` where the system does not say.
pub(crate) fn measured_peak_bytes() -> Option<u64> {
    peak_memory_bytes()
}

/// Begins a new measurement of the peak; what the process holds now comes back, `None` where the system has no such thing
/// (anywhere but on Linux).
pub(crate) fn reset_peak_memory() -> Option<u64> {
    // 5 resets the high-water mark, and nothing else (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    kilobytes(
        &std::fs::read_to_string("/proc/self/status").ok()?,
        "VmRSS:",
    )
}

/// From now on the process keeps the memory it frees, in pieces of up to 256 MiB, for its next use.
///
/// A training step, and a block of solves, takes and frees hundreds of megabytes, tensor by tensor. By default the system maps
/// and clears each anew, which takes a sixth of a step's time and 7 % of a certified run's. Larger pieces go back: faer asks for twice the
/// processor's last cache for a product, of which it uses little, and what is kept of so much is strewn with what comes after. Anywhere
/// but with the GNU C library this does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            /// mallopt(3).
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        const M_TRIM_THRESHOLD: i32 = -1;
        const M_TOP_PAD: i32 = -2;
        const M_MMAP_THRESHOLD: i32 = -3;
        // SAFETY: sets three numbers of the allocator; one that it does not like is refused, and nothing else happens.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, (1 << 28) + (1 << 20));
            mallopt(M_TRIM_THRESHOLD, i32::MAX);
            mallopt(M_TOP_PAD, 1 << 26);
        }
    }
}

/// The machine's memory in bytes; `None` where the system does not say (anywhere but on Linux).
pub fn physical_memory_bytes() -> Option<u64> {
    kilobytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// The machine's memory in bytes, taken as 8 GiB where the system does not say.
pub(crate) fn machine_memory_bytes() -> u64 {
    physical_memory_bytes().unwrap_or(8 << 30)
}

/// The high-water mark (`VmHWM`, in kB of 1024 bytes) in the text of `/proc/self/status`.
fn peak_in(status: &str) -> Option<u64> {
    kilobytes(status, "VmHWM:")
}

/// The number after `name` in a list of names and numbers of kB, in bytes.
fn kilobytes(list: &str, name: &str) -> Option<u64> {
    let line = list.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_high_water_mark() {
        let status = "Name:\tascribe\nVmPeak:\t  99999 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 99 kB\n";
        assert_eq!(peak_in(status), Some(1234 * 1024));
        assert_eq!(peak_in("Name:\tascribe\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn grows_with_what_the_process_touches() {
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(peak_memory_bytes().unwrap() > block.len() as u64);
    }
}
