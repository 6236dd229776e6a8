//! Waits until a workload is ready or gone, and says why if it is not.
//!
//! Nothing is polled: two watches report every change, and they resume when their connection breaks
//! and is restored.

mod drain;
mod judge;
mod lines;
mod show;
mod view;
pub mod watch;

use std::{fmt, time::Duration};

use tokio::time::{self, Instant};
use tonic::Status;
use warren_model::quantity::format_duration;
use warren_proto::v1;

use crate::{client::Server, explain, source};

pub use drain::drained;
use judge::{Until, Verdict, earlier_serves, judge};
use show::Show;
use view::View;

/// When a workload that is not ready counts as broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// When a replica has failed for good: restarts are given a chance.
    UntilFailed,
    /// As soon as the service has ended once, for a user who has just changed it.
    UntilEnded,
    /// Never: it may recover.
    Endless,
}

/// Where progress is shown on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// On a terminal, one line for each replica; elsewhere, a line every few seconds while it
    /// changes.
    Everywhere,
    /// Only on a terminal.
    Terminal,
}

/// A time limit, which several waits may share.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    timeout: Duration,
    deadline: Instant,
}

const FOR_EVER: Duration = Duration::from_hours(24 * 365);

#[derive(Clone, Copy)]
struct Begun {
    deadline: Instant,
    first_look: Instant,
}

/// The time for a first look at the current state, however little time is left.
const LOOK: Duration = Duration::from_secs(5);

/// The server's last decision that no worker can take a replica may be older than the change that
/// has just made room. The server has this long to decide again.
const NEWS: Duration = Duration::from_secs(1);

/// The awaited state was not reached.
#[derive(Debug)]
pub struct NotDone {
    headline: String,
    /// The reasons, one per line, with the last lines of stderr of a service that ended.
    pub why: Vec<String>,
    /// Whether replicas of an earlier revision still do the work.
    pub earlier_serves: bool,
}

/// Waits until as many replicas of the current revision as wanted are available and earlier ones
/// take no more work. Returns all replicas. The outer error is a server error that a retry does not
/// fix.
pub async fn ready(
    server: &Server,
    workload: &v1::Workload,
    limit: impl Into<Limit>,
    patience: Patience,
) -> Result<Result<Vec<v1::Replica>, NotDone>, Status> {
    ready_showing(server, workload, limit, patience, Progress::Everywhere).await
}

/// Like [`ready`], with a choice of where progress is shown.
pub async fn ready_showing(
    server: &Server,
    workload: &v1::Workload,
    limit: impl Into<Limit>,
    patience: Patience,
    progress: Progress,
) -> Result<Result<Vec<v1::Replica>, NotDone>, Status> {
    until(
        server,
        workload,
        limit.into(),
        patience,
        progress,
        Until::Available,
    )
    .await
}

/// Waits until as many replicas of the current revision as wanted are ready, if only for a moment.
pub async fn serving(
    server: &Server,
    workload: &v1::Workload,
    limit: impl Into<Limit>,
    patience: Patience,
    progress: Progress,
) -> Result<Result<Vec<v1::Replica>, NotDone>, Status> {
    until(
        server,
        workload,
        limit.into(),
        patience,
        progress,
        Until::Serving,
    )
    .await
}

async fn until(
    server: &Server,
    workload: &v1::Workload,
    limit: Limit,
    patience: Patience,
    progress: Progress,
    until: Until,
) -> Result<Result<Vec<v1::Replica>, NotDone>, Status> {
    let title = source::title(workload);
    let begun = limit.begin();
    let mut view = View::new(server, workload);
    let mut show = Show::new(title.clone(), progress == Progress::Everywhere);
    // The problems of the awaited revision, in case it is rolled back.
    let mut trouble = Vec::new();
    let mut stuck_until: Option<Instant> = None;
    loop {
        let end = begun.until(view.seen.now().is_some() || view.seen.broken.is_some());
        let wake = stuck_until.map_or(end, |stuck| stuck.min(end));
        if let Ok(changed) = time::timeout_at(wake, view.changed()).await {
            changed?;
        } else if wake == end {
            let headline = format!("{title} was not ready within {}", rounded(limit.timeout));
            return Ok(Err(late(headline, workload, &view)));
        }
        if let Some(why) = &view.seen.broken {
            show.broken(why);
            stuck_until = None;
            continue;
        }
        let Some((now, replicas)) = view.seen.now() else {
            stuck_until = None;
            continue;
        };
        let Some(now) = now.filter(|now| now.uid == workload.uid) else {
            return Ok(Err(NotDone::because(format!(
                "{title} was deleted during the wait"
            ))));
        };
        if now.revision > workload.revision
            && let Some(headline) = judge::taken_back(workload.revision, now)
        {
            return Ok(Err(NotDone {
                headline: format!("{title}: {headline}"),
                why: trouble,
                earlier_serves: true,
            }));
        }
        show.replicas(show::rollout(now, &replicas), &replicas);
        let verdict = match judge(now, &replicas, patience, until) {
            Verdict::Stuck(id) => {
                let until = *stuck_until.get_or_insert_with(|| Instant::now() + NEWS);
                match Instant::now() < until {
                    true => Verdict::Waiting,
                    false => Verdict::Broken(id),
                }
            }
            verdict => {
                stuck_until = None;
                verdict
            }
        };
        match verdict {
            Verdict::Ready => return Ok(Ok(replicas)),
            Verdict::Broken(id) | Verdict::Stuck(id) => {
                let broken = replicas.iter().filter(|replica| replica.id == id);
                return Ok(Err(NotDone {
                    headline: format!("{title} did not become ready"),
                    why: broken.flat_map(explain::trouble).collect(),
                    earlier_serves: earlier_serves(now, &replicas),
                }));
            }
            Verdict::Stalled(why) => {
                return Ok(Err(NotDone {
                    headline: format!("{title} did not become ready: {why}"),
                    why: explain::unready(now, &replicas),
                    earlier_serves: earlier_serves(now, &replicas),
                }));
            }
            Verdict::Waiting => trouble = explain::unready(now, &replicas),
        }
    }
}

/// Waits until the workload is gone or replaced by another one of the same name. The outer error is
/// a server error that a retry does not fix.
pub async fn gone(
    server: &Server,
    workload: &v1::Workload,
    limit: impl Into<Limit>,
) -> Result<Result<(), NotDone>, Status> {
    gone_showing(server, workload, limit, Progress::Everywhere).await
}

/// Like [`gone`], with a choice of where progress is shown.
pub async fn gone_showing(
    server: &Server,
    workload: &v1::Workload,
    limit: impl Into<Limit>,
    progress: Progress,
) -> Result<Result<(), NotDone>, Status> {
    let title = source::title(workload);
    let limit = limit.into();
    let begun = limit.begin();
    let mut view = View::new(server, workload);
    let mut show = Show::new(title.clone(), progress == Progress::Everywhere);
    loop {
        let until = begun.until(view.seen.now().is_some() || view.seen.broken.is_some());
        if let Ok(changed) = time::timeout_at(until, view.changed()).await {
            changed?;
        } else {
            let mut not_done = NotDone::because(format!(
                "{title} is still stopping after {}",
                rounded(limit.timeout)
            ));
            let replicas = view.seen.now().map(|(_, replicas)| replicas);
            let headlines = replicas.iter().flatten().map(explain::headline);
            not_done.why = headlines.chain(view.seen.broken.clone()).collect();
            return Ok(Err(not_done));
        }
        if let Some(why) = &view.seen.broken {
            show.broken(why);
            continue;
        }
        match view.seen.now() {
            None => {}
            Some((Some(now), replicas)) if now.uid == workload.uid => {
                show.replicas(show::leaving(&replicas), &replicas);
            }
            Some(_) => return Ok(Ok(())),
        }
    }
}

/// Rounds to milliseconds, because several workloads share one limit and the rest of it may be any
/// fraction.
fn rounded(timeout: Duration) -> String {
    let millis = timeout
        .saturating_add(Duration::from_micros(500))
        .as_millis();
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    format_duration(Duration::from_millis(millis))
}

/// Describes a wait that timed out, with the reasons that are known.
fn late(headline: String, workload: &v1::Workload, view: &View) -> NotDone {
    let mut not_done = NotDone::because(headline);
    if let Some((now, replicas)) = view.seen.now() {
        let now = now.unwrap_or(workload);
        not_done.earlier_serves = earlier_serves(now, &replicas);
        not_done.why = explain::unready(now, &replicas);
        if not_done.why.is_empty() {
            let earlier = replicas
                .iter()
                .filter(|replica| replica.revision != now.revision && judge::takes_work(replica));
            not_done.why = earlier
                .map(|replica| format!("{}, of an earlier revision", explain::headline(replica)))
                .collect();
        }
    }
    not_done.why.extend(view.seen.broken.clone());
    not_done
}

// === impl Limit ===

impl Limit {
    /// Returns the deadlines of a wait that begins now. The workload that is awaited last may be
    /// ready already and must not be reported as late only because there was no time to look.
    fn begin(self) -> Begun {
        Begun {
            deadline: self.deadline,
            first_look: self.deadline.max(Instant::now() + LOOK),
        }
    }
}

// === impl Begun ===

impl Begun {
    fn until(self, looked: bool) -> Instant {
        if looked {
            self.deadline
        } else {
            self.first_look
        }
    }
}

impl From<Duration> for Limit {
    fn from(timeout: Duration) -> Self {
        let now = Instant::now();
        let deadline = now.checked_add(timeout);
        Self {
            timeout,
            // A duration can exceed what the clock can represent.
            deadline: deadline.unwrap_or(now + FOR_EVER),
        }
    }
}

// === impl NotDone ===

impl NotDone {
    fn because(headline: String) -> Self {
        Self {
            headline,
            why: Vec::new(),
            earlier_serves: false,
        }
    }
}

impl fmt::Display for NotDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline)?;
        for line in &self.why {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NotDone {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
