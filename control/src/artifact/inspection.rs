//! Looks into what was pushed: few components at once, each for a bounded time, and none for a client that left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tonic::Status;
use warren_model::component::{ComponentInfo, InspectError, Interrupt, Limits, inspect_within};

use crate::grpc::error;

/// Components whose bytes are in memory at once.
const AT_ONCE: usize = 2;
/// The longest that one takes: an artifact of the largest size needs a few seconds of a processor.
const WITHIN: Duration = Duration::from_secs(60);
/// The longest that one waits for its turn. Few can wait: each holds one of the places for uploads.
const WAIT: Duration = Duration::from_secs(2 * 60);

pub struct Inspections {
    places: Arc<Semaphore>,
    limits: Limits,
    within: Duration,
    wait: Duration,
}

/// Interrupts the work when it is dropped.
struct Abandon(Arc<AtomicBool>);

impl Inspections {
    pub fn new(limits: Limits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
            limits,
            within: WITHIN,
            wait: WAIT,
        }
    }

    /// What a component imports and exports. `bytes` are read once it is its turn.
    ///
    /// Dropped, it ends the work as well; the place is free once that has really ended.
    pub async fn inspect(
        &self,
        bytes: impl Future<Output = Result<Vec<u8>, Status>>,
    ) -> Result<ComponentInfo, Status> {
        let place = tokio::time::timeout(self.wait, self.places.clone().acquire_owned());
        let place = place.await.map_err(|_| {
            let wait = self.wait;
            error::late(format!(
                "other components were inspected for {wait:?}: push it again later"
            ))
        })?;
        let bytes = bytes.await?;
        let abandoned = Arc::new(AtomicBool::new(false));
        let _abandon = Abandon(abandoned.clone());
        let (limits, within) = (self.limits.clone(), self.within);
        let inspected = tokio::task::spawn_blocking(move || {
            let _place = place;
            let began = Instant::now();
            let is_due = || abandoned.load(Ordering::Relaxed) || began.elapsed() >= within;
            inspect_within(&bytes, &limits, &Interrupt::when(&is_due))
        });
        let inspected = inspected
            .await
            .map_err(|error| error::internal(format!("the inspection ended: {error}")))?;
        inspected.map_err(|why| match why {
            InspectError::Interrupted => error::late(format!(
                "the component was not inspected within {within:?}: push it again later, or make it smaller"
            )),
            why => error::invalid_field("chunk", why.to_string()),
        })
    }
}

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::{pending, ready};

    use tonic::Code;

    use super::*;

    /// A valid component of so many functions with so many operators.
    fn component(functions: usize, operators: usize) -> Vec<u8> {
        let function = format!("(func {})", "nop ".repeat(operators));
        let text = format!("(component (core module {}))", function.repeat(functions));
        wat::parse_str(text).unwrap()
    }

    fn inspections() -> Inspections {
        Inspections::new(Limits::default())
    }

    async fn all_free(inspections: &Inspections) {
        let all = u32::try_from(AT_ONCE).unwrap();
        let free = tokio::time::timeout(
            Duration::from_secs(60),
            inspections.places.acquire_many(all),
        );
        drop(free.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn a_component_that_takes_too_long_is_given_up() {
        let bytes = component(10, 100);
        let inspections = Inspections {
            within: Duration::ZERO,
            ..inspections()
        };
        let status = inspections
            .inspect(ready(Ok(bytes.clone())))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(
            status.message().contains("not inspected within 0ns"),
            "{status}"
        );
        all_free(&inspections).await;
        let inspections = Inspections {
            within: WITHIN,
            ..inspections
        };
        inspections.inspect(ready(Ok(bytes))).await.unwrap();
    }

    #[tokio::test]
    async fn work_ends_with_the_client_that_wanted_it() {
        // Minutes of work where nobody ends it.
        let inspections = Inspections {
            within: Duration::from_secs(24 * 3600),
            ..inspections()
        };
        let bytes = component(30, 100_000);
        for _ in 0..20 {
            let inspected = inspections.inspect(ready(Ok(bytes.clone())));
            let mut inspected = Box::pin(inspected);
            assert!(futures::poll!(&mut inspected).is_pending());
            drop(inspected);
        }
        all_free(&inspections).await;
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_place_hears_of_it() {
        let inspections = Inspections {
            wait: Duration::ZERO,
            ..inspections()
        };
        // Their bytes never come, so they keep their places.
        let mut others = Vec::new();
        for _ in 0..AT_ONCE {
            let mut other = Box::pin(inspections.inspect(pending()));
            assert!(futures::poll!(&mut other).is_pending());
            others.push(other);
        }
        let bytes = component(1, 1);
        let status = inspections
            .inspect(ready(Ok(bytes.clone())))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        others.clear();
        inspections.inspect(ready(Ok(bytes))).await.unwrap();
    }

    #[tokio::test]
    async fn what_exceeds_a_limit_is_the_clients_mistake() {
        let inspections =
            Inspections::new(Limits::default().changed(&["locals=1".parse().unwrap()]));
        let of = |text: &str| ready(Ok(wat::parse_str(text).unwrap()));
        let status = inspections
            .inspect(of("(component (core module (func (local i32 i32))))"))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(
            status.message().contains("--artifact-limit locals=VALUE"),
            "{status}"
        );
        let fine = of("(component (core module (func (local i32))))");
        inspections.inspect(fine).await.unwrap();
    }
}
