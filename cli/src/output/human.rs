//! Formats amounts and times for people.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

/// Formats how long ago a time was: `5s`, `2m30s`, `3h`, `12d`. Empty if there is no time.
pub fn age(since: Option<&Timestamp>) -> String {
    age_at(SystemTime::now(), since)
}

/// Like [`age`], relative to `now`.
pub fn age_at(now: SystemTime, since: Option<&Timestamp>) -> String {
    match since.and_then(|time| SystemTime::try_from(*time).ok()) {
        // The server's clock is ahead of ours: treat it as just now.
        Some(time) => duration(now.duration_since(time).unwrap_or_default()),
        None => String::new(),
    }
}

/// Like [`age_at`], for a sentence: `5s ago`, `never`.
pub fn ago_at(now: SystemTime, since: Option<&Timestamp>) -> String {
    match age_at(now, since) {
        age if age.is_empty() => "never".to_owned(),
        age => format!("{age} ago"),
    }
}

/// Formats `1 replica`, `2 replicas`.
pub fn count(number: impl Into<u64>, one: &str) -> String {
    match number.into() {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    }
}

/// Formats `once`, `3 times`.
pub fn times(number: u32) -> String {
    match number {
        1 => "once".to_owned(),
        number => format!("{number} times"),
    }
}

/// Formats a duration with at most two units.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        small => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..36_000 => pair(hours, "h", minutes % 60, "m"),
        36_000..172_800 => format!("{hours}h"),
        172_800..864_000 => pair(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

/// Like [`duration`], with more precision for short durations: `12ms`, `1.2s`.
pub fn span(span: Duration) -> String {
    match span.as_millis() {
        millis @ 0..1000 => format!("{millis}ms"),
        millis @ 1000..10_000 => format!("{}.{}s", millis / 1000, millis / 100 % 10),
        _ => duration(span),
    }
}

/// Formats bytes in the largest binary unit that leaves at least 1, with one decimal for small
/// numbers.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match (tenths / 10, tenths % 10) {
        (whole, tenth) if whole < 10 && tenth > 0 => format!("{whole}.{tenth}{}", UNITS[unit]),
        (whole, _) => format!("{whole}{}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (601, "10m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (36_001, "10h"),
            (180_000, "2d2h"),
            (864_000, "10d"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn short_durations() {
        for (millis, text) in [(0, "0ms"), (999, "999ms"), (1250, "1.2s"), (61_000, "61s")] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn amounts() {
        for (amount, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            (64 << 20, "64MiB"),
            (8_069_300_224, "7.5GiB"),
            (u64::MAX, "16777215TiB"),
        ] {
            assert_eq!(bytes(amount), text);
        }
    }

    #[test]
    fn times_that_are_absent_or_ahead() {
        let now = SystemTime::now();
        assert_eq!(ago_at(now, None), "never");
        let before = Timestamp::from(now - Duration::from_secs(60));
        assert_eq!(ago_at(now, Some(&before)), "60s ago");
        let ahead = Timestamp::from(now + Duration::from_secs(60));
        assert_eq!(ago_at(now, Some(&ahead)), "0s ago");
    }

    #[test]
    fn numbers_in_sentences() {
        let counts = [0_u32, 1, 2].map(|number| count(number, "replica"));
        assert_eq!(counts, ["0 replicas", "1 replica", "2 replicas"]);
        assert_eq!([1, 3].map(times), ["once", "3 times"]);
    }
}
