//! The inputs of a program that differ from run to run: the time of day, random numbers, and when a
//! task is polled.
//!
//! The control plane and the worker get them here and nowhere else, so that a simulation can decide
//! all of them.

use std::time::SystemTime;

use uuid::Uuid;

/// Returns the time of day.
pub fn now() -> SystemTime {
    #[cfg(feature = "simulation")]
    if let Some(now) = simulated::ask(|surroundings| surroundings.now()) {
        return now;
    }
    SystemTime::now()
}

/// Returns a version 7 UUID: later ones sort after earlier ones.
pub fn uuid_by_time() -> Uuid {
    #[cfg(feature = "simulation")]
    if let Some(uuid) = simulated::ask(simulated::uuid_by_time) {
        return uuid;
    }
    Uuid::now_v7()
}

/// Returns 62 random bits.
pub fn random() -> u64 {
    #[cfg(feature = "simulation")]
    if let Some(random) = simulated::ask(|surroundings| surroundings.random()) {
        return random >> 2;
    }
    // The version and the variant of a UUID are above its low 62 bits, which are all random.
    Uuid::new_v4().as_u64_pair().1 & (u64::MAX >> 2)
}

/// Returns the task as it is: the scheduler decides when it is polled.
#[cfg(not(feature = "simulation"))]
#[inline]
pub fn scheduled<T: Future>(task: T) -> T {
    task
}

#[cfg(feature = "simulation")]
pub use simulated::scheduled;

/// Surroundings that a test decides.
#[cfg(feature = "simulation")]
pub mod simulated {
    use std::{
        cell::RefCell,
        future::poll_fn,
        pin::{Pin, pin},
        task::Poll,
        time::SystemTime,
    };

    use uuid::{Builder, Uuid};

    /// Replaces the time of day, random numbers and the scheduler.
    pub trait Surroundings {
        fn now(&self) -> SystemTime;
        fn random(&mut self) -> u64;
        /// Returns what to wait for before a task is polled, or `None` to poll it at once.
        fn delay(&mut self) -> Option<Delay>;
    }

    pub type Delay = Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Ends the simulation of this thread's surroundings when it is dropped.
    #[derive(Debug)]
    pub struct Entered(());

    thread_local! {
        static SURROUNDINGS: RefCell<Option<Box<dyn Surroundings>>> = const { RefCell::new(None) };
    }

    /// Answers everything that this thread asks for from `surroundings`.
    pub fn enter(surroundings: impl Surroundings + 'static) -> Entered {
        SURROUNDINGS.set(Some(Box::new(surroundings)));
        Entered(())
    }

    /// Returns whether this thread's surroundings are simulated. No work may then move to another
    /// thread.
    pub fn is_entered() -> bool {
        SURROUNDINGS.with_borrow(Option::is_some)
    }

    /// Runs a task that is polled late now and then.
    pub async fn scheduled<T: Future>(task: T) -> T::Output {
        let mut task = pin!(task);
        let mut late: Option<Delay> = None;
        poll_fn(|context| {
            late = late
                .take()
                .or_else(|| ask(|surroundings| surroundings.delay()).flatten());
            if let Some(delay) = &mut late
                && delay.as_mut().poll(context).is_pending()
            {
                return Poll::Pending;
            }
            late = None;
            task.as_mut().poll(context)
        })
        .await
    }

    pub(super) fn uuid_by_time(surroundings: &mut dyn Surroundings) -> Uuid {
        let since = surroundings.now().duration_since(SystemTime::UNIX_EPOCH);
        let millis = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        let (one, other) = (surroundings.random(), surroundings.random());
        let random = [one.to_le_bytes(), other.to_le_bytes()].concat();
        let random = std::array::from_fn(|at| random[at]);
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    pub(super) fn ask<T>(question: impl FnOnce(&mut dyn Surroundings) -> T) -> Option<T> {
        SURROUNDINGS.with_borrow_mut(|held| held.as_mut().map(|held| question(&mut **held)))
    }

    impl Drop for Entered {
        fn drop(&mut self) {
            SURROUNDINGS.set(None);
        }
    }
}
