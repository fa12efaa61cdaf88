//! Peak memory of this process, and the machine's.

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

/// The machine's memory in bytes; `None` where the system does not say (anywhere but on Linux).
pub fn physical_memory_bytes() -> Option<u64> {
    kilobytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
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
