//! The server process as the kernel accounts for it: CPU time and memory, read from `/proc/PID`.

use std::fs;

/// Bytes of user-space memory. `anonymous` is the process's own; `proportional` adds its part of what is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
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

/// Time that the process's threads waited for a processor that others had, in nanoseconds.
pub(crate) fn waited_ns(pid: u32) -> Option<u64> {
    let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    schedstat.split_whitespace().nth(1)?.parse().ok()
}

/// Open descriptors.
pub(crate) fn descriptors(pid: u32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}

pub(crate) fn memory(pid: u32) -> Option<Memory> {
    parse_rollup(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// Memory of several processes together; `None` when one of them cannot be read.
pub(crate) fn memory_of_all(pids: &[u32]) -> Option<Memory> {
    let mut readings = pids.iter().map(|pid| memory(*pid));
    let first = readings.next()??;
    readings.try_fold(first, |sum, next| {
        let next = next?;
        Some(Memory {
            resident: sum.resident + next.resident,
            anonymous: sum.anonymous + next.anonymous,
            proportional: sum.proportional + next.proportional,
            proportional_anonymous: sum.proportional_anonymous + next.proportional_anonymous,
        })
    })
}

/// The sum of a reading over several processes; `None` when there are none, or when one of them cannot be read.
pub(crate) fn sum_of_all(pids: &[u32], reading: impl Fn(u32) -> Option<u64>) -> Option<u64> {
    if pids.is_empty() {
        return None;
    }
    pids.iter().map(|pid| reading(*pid)).sum()
}

fn parse_rollup(rollup: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    Some(Memory {
        resident: bytes("Rss")?,
        anonymous: bytes("Anonymous")?,
        proportional: bytes("Pss")?,
        proportional_anonymous: bytes("Pss_Anon")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Memory, cpu_ns, descriptors, memory, memory_of_all, parse_rollup, sum_of_all};

    #[test]
    fn reads_a_rollup() {
        let rollup = "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:   500 kB\nPss_Dirty:  1 kB\n\
                      Pss_Anon:  300 kB\nAnonymous:   400 kB\n";
        let expected = Memory {
            resident: 900 * 1024,
            anonymous: 400 * 1024,
            proportional: 500 * 1024,
            proportional_anonymous: 300 * 1024,
        };
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
        assert!(descriptors(pid).unwrap() >= 3);
        let twice = memory_of_all(&[pid, pid]).unwrap();
        assert!(twice.resident > memory(pid).unwrap().resident);
        assert_eq!(cpu_ns(u32::MAX), None);
        assert_eq!(memory_of_all(&[pid, u32::MAX]), None);
        assert_eq!((sum_of_all(&[], cpu_ns), sum_of_all(&[u32::MAX], cpu_ns)), (None, None));
    }
}
