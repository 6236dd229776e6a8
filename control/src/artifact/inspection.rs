//! Inspects what was pushed: few components at once, each for a bounded time, and none for a client
//! that has left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinError};
use warren_model::component::{ComponentInfo, InspectError, Interrupt, Limits, inspect_within};

use super::ArtifactError;

/// The number of components whose bytes are in memory at once.
const AT_ONCE: usize = 2;
/// The longest that one inspection takes: the largest artifact needs a few seconds of a processor.
const WITHIN: Duration = Duration::from_secs(60);
/// The longest that one waits for its turn. Few can wait, because each holds a place for uploads.
const WAIT: Duration = Duration::from_secs(2 * 60);

pub struct Inspections {
    places: Arc<Semaphore>,
    limits: Limits,
    within: Duration,
    wait: Duration,
}

/// Why a component was not inspected, or is not one.
#[derive(Debug, thiserror::Error)]
pub enum InspectionError {
    #[error("other components were inspected for {0:?}: push it again later")]
    NoTurn(Duration),
    #[error(
        "the component was not inspected within {0:?}: push it again later, or make it smaller"
    )]
    TooSlow(Duration),
    #[error(transparent)]
    NotAComponent(InspectError),
    #[error("the inspection ended: {0}")]
    Ended(#[from] JoinError),
    #[error(transparent)]
    Bytes(#[from] ArtifactError),
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

    /// Returns what a component imports and exports. `bytes` are read once it is its turn.
    ///
    /// Dropping the future ends the work as well; its place is free once the work has really ended.
    pub async fn inspect(
        &self,
        bytes: impl Future<Output = Result<Vec<u8>, ArtifactError>>,
    ) -> Result<ComponentInfo, InspectionError> {
        let place = tokio::time::timeout(self.wait, self.places.clone().acquire_owned());
        let place = place
            .await
            .map_err(|_| InspectionError::NoTurn(self.wait))?;
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
        inspected.await?.map_err(|why| match why {
            InspectError::Interrupted => InspectionError::TooSlow(within),
            why => InspectionError::NotAComponent(why),
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

    use super::*;

    /// A valid component of `functions` functions with `operators` operators each.
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
        let refused = inspections.inspect(ready(Ok(bytes.clone()))).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, InspectionError::TooSlow(_)), "{refused}");
        let said = refused.to_string();
        assert!(said.contains("not inspected within 0ns"), "{said}");
        all_free(&inspections).await;
        let inspections = Inspections {
            within: WITHIN,
            ..inspections
        };
        inspections.inspect(ready(Ok(bytes))).await.unwrap();
    }

    #[tokio::test]
    async fn work_ends_with_the_client_that_wanted_it() {
        // This takes minutes unless it is interrupted.
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
    async fn a_wait_for_a_place_is_bounded() {
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
        let refused = inspections.inspect(ready(Ok(bytes.clone()))).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, InspectionError::NoTurn(_)), "{refused}");
        others.clear();
        inspections.inspect(ready(Ok(bytes))).await.unwrap();
    }

    #[tokio::test]
    async fn what_exceeds_a_limit_is_the_clients_mistake() {
        let inspections =
            Inspections::new(Limits::default().changed(&["locals=1".parse().unwrap()]));
        let of = |text: &str| ready(Ok(wat::parse_str(text).unwrap()));
        let refused = inspections
            .inspect(of("(component (core module (func (local i32 i32))))"))
            .await
            .unwrap_err();
        assert!(
            matches!(refused, InspectionError::NotAComponent(_)),
            "{refused}"
        );
        let said = refused.to_string();
        assert!(said.contains("--artifact-limit locals=VALUE"), "{said}");
        let fine = of("(component (core module (func (local i32))))");
        inspections.inspect(fine).await.unwrap();
    }
}
