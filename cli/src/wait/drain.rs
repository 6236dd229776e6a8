//! Waits until nothing runs on a worker any more.

use futures::StreamExt as _;
use tokio::time;
use tonic::Status;
use warren_model::reason;
use warren_proto::v1;

use super::{
    Limit, NotDone, rounded,
    show::Line,
    watch::{Change, Target, changes},
};
use crate::{client::Server, output};

/// Waits until a worker is drained. The outer error is a server error that a retry does not fix.
pub async fn drained(
    server: &Server,
    worker: &v1::Worker,
    limit: impl Into<Limit>,
) -> Result<Result<(), NotDone>, Status> {
    let title = format!("worker/{}", worker.name);
    let target = Target {
        server: server.clone(),
        namespace: String::new(),
        name: worker.name.clone(),
        labels: Default::default(),
    };
    let limit = limit.into();
    let begun = limit.begin();
    let mut changes = changes::<v1::Worker>(target);
    let line = Line::new(title.clone());
    let mut left = worker.drain.clone().unwrap_or_default();
    let mut broken = None;
    let mut seen = false;
    loop {
        let Ok(change) =
            time::timeout_at(begun.until(seen || broken.is_some()), changes.next()).await
        else {
            let replicas = output::count(left.replicas, "replica");
            let mut not_done = NotDone::because(format!(
                "{title} still has {replicas} after {}; the drain continues",
                rounded(limit.timeout)
            ));
            not_done.why = left.obstacles.iter().map(obstacle).collect();
            not_done.why.extend(broken);
            return Ok(Err(not_done));
        };
        let change = change.unwrap_or_else(|| Err(Status::unavailable("the watch has ended")));
        match change? {
            Change::Broken(why) => {
                let first = why.lines().next().unwrap_or_default();
                line.say(&format!("{first}; trying again"));
                broken = Some(why);
            }
            Change::Gone(_) => {
                return Ok(Err(NotDone::because(format!("{title} was removed"))));
            }
            Change::Is(now) => match now.drain {
                _ if now.id != worker.id => {
                    let headline = format!("{title} is a different worker now");
                    return Ok(Err(NotDone::because(headline)));
                }
                None => {
                    let headline = format!("{title} was uncordoned, which ended the drain");
                    return Ok(Err(NotDone::because(headline)));
                }
                Some(drain) if drain.replicas == 0 => return Ok(Ok(())),
                Some(drain) => {
                    (broken, seen) = (None, true);
                    if is_hopeless(&drain) {
                        let replicas = output::count(drain.replicas, "replica");
                        let mut not_done = NotDone::because(format!(
                            "{title} still has {replicas} that no other worker can take; the drain continues"
                        ));
                        not_done.why = drain.obstacles.iter().map(obstacle).collect();
                        return Ok(Err(not_done));
                    }
                    line.say(&summary(&drain));
                    left = drain;
                }
            },
            Change::Resync | Change::Complete => {}
        }
    }
}

/// Formats `3 replicas left; default/web: 2 replicas wait until web-abc on worker w2 is ready`.
fn summary(drain: &v1::Drain) -> String {
    let mut text = format!("{} left", output::count(drain.replicas, "replica"));
    for held_up in drain.obstacles.iter().take(MOST_SHOWN) {
        text.push_str(&format!("; {}", obstacle(held_up)));
    }
    let more = drain.obstacles.len().saturating_sub(MOST_SHOWN);
    if more > 0 {
        text.push_str(&format!("; and {}", output::count(more as u64, "workload")));
    }
    text
}

/// The number of workloads shown in one line.
const MOST_SHOWN: usize = 3;

fn obstacle(held_up: &v1::drain::Obstacle) -> String {
    let v1::drain::Obstacle {
        namespace,
        workload,
        message,
        ..
    } = held_up;
    format!("{namespace}/{workload}: {message}")
}

/// Returns whether every remaining replica waits for a port that another one keeps: waiting does
/// not help.
fn is_hopeless(drain: &v1::Drain) -> bool {
    let mut obstacles = drain.obstacles.iter();
    drain.replicas > 0
        && !drain.obstacles.is_empty()
        && obstacles.all(|obstacle| obstacle.reason == reason::PORT_UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_is_left_and_why() {
        let obstacle = |workload: &str| v1::drain::Obstacle {
            namespace: "default".into(),
            workload: workload.into(),
            replicas: 1,
            message: "1 replica has no other worker: no workers".into(),
            reason: String::new(),
        };
        let mut drain = v1::Drain {
            replicas: 1,
            obstacles: vec![obstacle("a")],
            ..Default::default()
        };
        assert_eq!(
            summary(&drain),
            "1 replica left; default/a: 1 replica has no other worker: no workers"
        );
        drain.obstacles = ["a", "b", "c", "d", "e"].map(obstacle).into();
        drain.replicas = 5;
        let text = summary(&drain);
        assert!(text.starts_with("5 replicas left; default/a: "), "{text}");
        assert!(
            text.ends_with("; and 2 workloads") && !text.contains("default/d"),
            "{text}"
        );
    }
}
