//! Waiting for conditions and futures, with time limits.

use std::{fmt::Debug, future::Future, time::Duration};

use tokio::time::{self, Instant};

/// The longest that anything may take: far beyond what it does take, also where a guest is compiled
/// first on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Between looks at what cannot be watched. Each is a process that starts, so not shorter.
const LOOK: Duration = Duration::from_millis(50);

/// Looks until the condition holds, and returns what it found. A look that fails says what it saw
/// instead; the last one is told when time is up.
pub async fn eventually<T, E: Debug>(what: &str, look: impl AsyncFnMut() -> Result<T, E>) -> T {
    match eventually_within(SOON, look).await {
        Ok(found) => found,
        Err(seen) => panic!("not within {SOON:?}: {what}; last seen: {seen:#?}"),
    }
}

/// The same within a time of the caller's; what was seen last is the error.
pub(crate) async fn eventually_within<T, E>(
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let deadline = Instant::now() + limit;
    loop {
        match look().await {
            Err(_) if Instant::now() <= deadline => time::sleep(LOOK).await,
            found => return found,
        }
    }
}

/// The result of something that must not hang.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match time::timeout(SOON, future).await {
        Ok(result) => result,
        Err(_) => panic!("not within {SOON:?}: {what}"),
    }
}
