//! Wall-clock time in the representation of the API contract.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use warren_model::ambient;

/// Returns the current time.
pub fn now() -> Timestamp {
    ambient::now().into()
}

/// Returns the milliseconds since 1970, or 0 for earlier times, which only a wrong clock produces.
pub fn millis(time: &Timestamp) -> u64 {
    SystemTime::try_from(*time)
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// Returns the time `wait` after `time`, or `None` if a timestamp cannot represent it.
pub fn after(time: &Timestamp, wait: Duration) -> Option<Timestamp> {
    let time = SystemTime::try_from(*time).ok()?;
    time.checked_add(wait).map(Timestamp::from)
}

/// Returns whether `time` is within `age` before `now`.
pub fn is_within(time: &Timestamp, age: Duration, now: &Timestamp) -> bool {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    millis(time).saturating_add(age) >= millis(now)
}
