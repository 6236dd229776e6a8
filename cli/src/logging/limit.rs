//! Limits how often a process logs about one thing: a guest that crashes in a loop, or a client
//! that keeps connecting, must not fill a disk with log lines.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};
use warren_model::pace::{Pace, Rate};

/// Limit for lines from one place in the code about one replica, workload or worker.
const ABOUT_ONE: Rate = Rate {
    burst: 40,
    every: Duration::from_secs(15),
};
/// Limit for lines from one place in the code that name none.
const ABOUT_ALL: Rate = Rate {
    burst: 100,
    every: Duration::from_secs(1),
};
/// Limit for lines from one place at the levels `debug` and `trace`, which an operator has to
/// enable.
const ASKED_FOR: Rate = Rate {
    burst: 1000,
    every: Duration::from_millis(10),
};
/// Fields that say what a line is about.
const SUBJECTS: [&str; 4] = ["replica", "workload", "worker", "component"];
/// The number of keys that are remembered. Beyond that, all lines of one place count together.
const MAX_KEYS: usize = 8192;

/// Formats lines with `F`, except those that come too often, which it counts.
pub struct Limited<F> {
    format: F,
    limiter: Mutex<Limiter>,
}

#[derive(Default)]
struct Limiter(HashMap<Key, Said>);

/// A place in the code, and the hash of the line's subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key(Identifier, Option<u64>);

#[derive(Clone, Copy, Default)]
struct Said {
    pace: Pace,
    left_out: u64,
}

/// Finds the subject of a line.
#[derive(Default)]
struct Subject(Option<u64>);

struct Hashing(DefaultHasher);

// === impl Limited ===

impl<F> Limited<F> {
    pub fn new(format: F) -> Self {
        Self {
            format,
            limiter: Mutex::default(),
        }
    }

    fn admit(&self, event: &Event<'_>) -> Option<u64> {
        let mut subject = Subject::default();
        event.record(&mut subject);
        let key = Key(event.metadata().callsite(), subject.0);
        let rate = match (*event.metadata().level(), subject.0) {
            (Level::DEBUG | Level::TRACE, _) => ASKED_FOR,
            (_, Some(_)) => ABOUT_ONE,
            (_, None) => ABOUT_ALL,
        };
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.admit(key, rate, Instant::now())
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // An event for which nothing is written here produces no output.
        let Some(left_out) = self.admit(event) else {
            return Ok(());
        };
        self.format.format_event(context, writer.by_ref(), event)?;
        match left_out {
            0 => Ok(()),
            1 => writeln!(writer, "    (1 similar message was left out before it)"),
            more => writeln!(
                writer,
                "    ({more} similar messages were left out before it)"
            ),
        }
    }
}

// === impl Limiter ===

impl Limiter {
    /// Returns `None` if the line is suppressed, or else how many lines like it were suppressed
    /// since the last one.
    fn admit(&mut self, mut key: Key, rate: Rate, now: Instant) -> Option<u64> {
        if self.0.len() >= MAX_KEYS && !self.0.contains_key(&key) {
            self.0.retain(|_, said| !said.pace.is_idle(now));
            if self.0.len() >= MAX_KEYS {
                key.1 = None;
            }
        }
        let said = self.0.entry(key).or_default();
        if !said.pace.take(rate, now) {
            said.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut said.left_out))
    }
}

// === impl Subject ===

impl Visit for Subject {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.0.is_some() || !SUBJECTS.contains(&field.name()) {
            return;
        }
        let mut hashing = Hashing(DefaultHasher::new());
        field.name().hash(&mut hashing.0);
        // Writing to a hasher cannot fail.
        let _ = write!(hashing, "{value:?}");
        self.0 = Some(hashing.0.finish());
    }
}

impl fmt::Write for Hashing {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::fmt::format::Format;

    use super::*;
    use crate::logging::tests::Written;

    /// Returns what is written for lines that are logged at once.
    fn written(say: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let sink = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || sink.clone())
            .event_format(Limited::new(Format::default()))
            .finish();
        tracing::subscriber::with_default(subscriber, say);
        written.text().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_message_that_repeats_is_limited_and_others_are_not() {
        let about = |replica: &str| tracing::info!(%replica, "the service trapped");
        let lines = written(|| {
            for _ in 0..10_000 {
                about("loop-1");
            }
            about("neighbour-1");
            for _ in 0..10_000 {
                tracing::warn!(port = 80, "cannot accept");
            }
            tracing::warn!("something else");
        });
        let of = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
        assert_eq!(of("replica=loop-1"), ABOUT_ONE.burst as usize);
        assert_eq!(of("replica=neighbour-1"), 1);
        let all = ABOUT_ALL.burst as usize;
        assert!((all..all + 10).contains(&of("cannot accept")), "{lines:#?}");
        assert_eq!(of("something else"), 1);
    }

    fn key(subject: u64) -> Key {
        struct Site;
        impl tracing::callsite::Callsite for Site {
            fn set_interest(&self, _: tracing::subscriber::Interest) {}
            fn metadata(&self) -> &tracing::Metadata<'_> {
                unreachable!("the limiter does not read metadata")
            }
        }
        static SITE: Site = Site;
        Key(Identifier(&SITE), Some(subject))
    }

    #[test]
    fn the_next_line_counts_those_that_were_left_out() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let mut admit = |now| limiter.admit(key(1), ABOUT_ONE, now);
        for _ in 0..ABOUT_ONE.burst {
            assert_eq!(admit(start), Some(0));
        }
        for _ in 0..77 {
            assert_eq!(admit(start), None);
        }
        assert_eq!(admit(start + ABOUT_ONE.every), Some(77));
        assert_eq!(admit(start + ABOUT_ONE.every), None);
        assert_eq!(admit(start + 2 * ABOUT_ONE.every), Some(1));
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let mut written = 0;
        for subject in 0..10 * MAX_KEYS as u64 {
            let admitted = limiter.admit(key(subject), ABOUT_ONE, start);
            written += usize::from(admitted.is_some());
        }
        assert!(limiter.0.len() <= MAX_KEYS + 1);
        assert_eq!(written, MAX_KEYS + ABOUT_ONE.burst as usize);
        // After a quiet period the limits start over.
        let later = start + ABOUT_ONE.every;
        assert_eq!(limiter.admit(key(u64::MAX), ABOUT_ONE, later), Some(0));
        assert!(limiter.0.len() < MAX_KEYS);
    }
}
