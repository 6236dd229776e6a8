//! Wall-clock time as the contract carries it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use warren_model::ambient;

/// The present time.
pub fn now() -> Timestamp {
    ambient::now().into()
}

/// Milliseconds since 1970; 0 for times before it, which only a broken clock makes.
pub fn millis(time: &Timestamp) -> u64 {
    SystemTime::try_from(*time)
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// The time so long after; `None` beyond what a timestamp can be.
pub fn after(time: &Timestamp, wait: Duration) -> Option<Timestamp> {
    let time = SystemTime::try_from(*time).ok()?;
    time.checked_add(wait).map(Timestamp::from)
}

/// Whether `time` is within `age` before `now`.
pub fn is_within(time: &Timestamp, age: Duration, now: &Timestamp) -> bool {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    millis(time).saturating_add(age) >= millis(now)
}
