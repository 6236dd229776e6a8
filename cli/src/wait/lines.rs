//! Progress without a terminal: one line every few seconds, instead of one for each change.

use std::time::Duration;

use tokio::{sync::watch, time};
use tokio_util::task::AbortOnDropHandle;

/// Prints the latest text: the first one at once, then at most one every [`EVERY`], and only if it
/// differs. A text that is pending when this is dropped is discarded, because the command prints
/// its outcome.
pub struct Lines {
    latest: watch::Sender<String>,
    _printing: AbortOnDropHandle<()>,
}

/// Often enough to show progress, rarely enough for the log of an hour's rollout.
const EVERY: Duration = Duration::from_secs(5);

// === impl Lines ===

impl Lines {
    pub fn new(print: impl FnMut(&str) + Send + 'static) -> Self {
        let (latest, said) = watch::channel(String::new());
        let printing = tokio::spawn(print_each(said, print, || time::sleep(EVERY)));
        Self {
            latest,
            _printing: AbortOnDropHandle::new(printing),
        }
    }

    pub fn say(&self, text: String) {
        self.latest.send_replace(text);
    }
}

/// Prints each text that differs from the previous one, and pauses after it.
async fn print_each<P: Future<Output = ()>>(
    mut said: watch::Receiver<String>,
    mut print: impl FnMut(&str),
    pause: impl Fn() -> P,
) {
    let mut printed = String::new();
    while said.changed().await.is_ok() {
        let text = said.borrow_and_update().clone();
        if text != printed {
            print(&text);
            printed = text;
            pause().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use tokio::{sync::Semaphore, task};

    use super::*;

    #[tokio::test]
    async fn of_many_changes_the_first_and_then_the_latest_are_printed() {
        let printed = Arc::<Mutex<Vec<String>>>::default();
        let (sink, read) = (Arc::clone(&printed), Arc::clone(&printed));
        let read = move || read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (latest, said) = watch::channel(String::new());
        // Each permit ends one pause.
        let pauses = Arc::new(Semaphore::new(0));
        let ends = Arc::clone(&pauses);
        let print = move |text: &str| {
            let mut printed = sink.lock().unwrap_or_else(PoisonError::into_inner);
            printed.push(text.to_owned());
        };
        let printing = tokio::spawn(print_each(said, print, move || {
            let ends = Arc::clone(&ends);
            async move { ends.acquire().await.map_or((), |permit| permit.forget()) }
        }));
        // On a single thread, the printing task runs whenever this one yields.
        let settle = async || {
            for _ in 0..10 {
                task::yield_now().await;
            }
        };
        for number in 0..100 {
            latest.send_replace(format!("{number} ready"));
            settle().await;
        }
        assert_eq!(read(), ["0 ready"]);
        pauses.add_permits(1);
        settle().await;
        assert_eq!(read(), ["0 ready", "99 ready"]);
        // A text that changed and changed back is not printed again.
        latest.send_replace("98 ready".to_owned());
        latest.send_replace("99 ready".to_owned());
        pauses.add_permits(1);
        settle().await;
        assert_eq!(read(), ["0 ready", "99 ready"]);
        latest.send_replace("100 ready".to_owned());
        settle().await;
        assert_eq!(read(), ["0 ready", "99 ready", "100 ready"]);
        drop(latest);
        pauses.add_permits(1);
        assert!(printing.await.is_ok());
    }
}
