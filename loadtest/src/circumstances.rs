//! When and on what a run took place: figures of two machines are not comparable, and a busy machine is another machine.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::ordered::Ordered;

pub(crate) fn now() -> Ordered<String> {
    let mut circumstances = Ordered::default();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    circumstances.push("date", date(since.as_secs()));
    if let Ok(kernel) = fs::read_to_string("/proc/sys/kernel/osrelease") {
        circumstances.push("kernel", kernel.trim().to_owned());
    }
    if let Ok(processors) = fs::read_to_string("/proc/cpuinfo") {
        let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        circumstances.push("processors", format!("{cores} × {}", model.map_or("unknown", |(_, model)| model)));
    }
    if let Ok(load) = fs::read_to_string("/proc/loadavg") {
        circumstances.push("load average", load.split(' ').next().unwrap_or_default().to_owned());
    }
    circumstances
}

/// `YYYY-MM-DD HH:MM UTC` (days to a civil date as in Howard Hinnant's "chrono-compatible low-level date algorithms").
fn date(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3_600, second % 3_600 / 60)
}

#[cfg(test)]
mod tests {
    use super::{date, now};

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_764_115_199), "2025-11-25 23:59 UTC");
    }

    #[test]
    fn this_machine_has_processors() {
        assert!(now().get("processors").is_some_and(|processors| !processors.starts_with('0')));
    }
}
