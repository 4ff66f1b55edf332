//! The server process as the kernel accounts for it: CPU time and memory, read from `/proc/PID`.

use std::fs;

/// Bytes of user-space memory. `anonymous` is the process's own; `proportional` adds its part of what is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) anonymous: u64,
    pub(crate) proportional: u64,
    pub(crate) proportional_anonymous: u64,
}

/// CPU time (user and system) of all threads so far, in nanoseconds.
///
/// `schedstat` counts nanoseconds where `stat` counts ticks of ten milliseconds; threads that have ended are missing
/// from it, which does not matter for a server whose threads live as long as it does.
pub(crate) fn cpu_ns(pid: u32) -> Option<u64> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let schedstat = fs::read_to_string(thread.ok()?.path().join("schedstat"));
        // A thread may end between the listing and the reading.
        let Ok(schedstat) = schedstat else { continue };
        total += schedstat.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(total)
}

pub(crate) fn memory(pid: u32) -> Option<Memory> {
    parse_rollup(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

fn parse_rollup(rollup: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    Some(Memory {
        anonymous: bytes("Anonymous")?,
        proportional: bytes("Pss")?,
        proportional_anonymous: bytes("Pss_Anon")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Memory, cpu_ns, memory, parse_rollup};

    #[test]
    fn reads_a_rollup() {
        let rollup = "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:   500 kB\nPss_Dirty:  1 kB\n\
                      Pss_Anon:  300 kB\nAnonymous:   400 kB\n";
        let expected = Memory { anonymous: 400 * 1024, proportional: 500 * 1024, proportional_anonymous: 300 * 1024 };
        assert_eq!(parse_rollup(rollup), Some(expected));
        assert_eq!(parse_rollup("Rss: 1 kB\n"), None);
    }

    #[test]
    fn reads_this_process() {
        let pid = std::process::id();
        let before = cpu_ns(pid).unwrap();
        let mut sum = 0_u64;
        while cpu_ns(pid).unwrap() <= before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(memory(pid).unwrap().anonymous > 0);
        assert_eq!(cpu_ns(u32::MAX), None);
    }
}
