//! A schedule that calls a component.

use jiff::Timestamp;
use serde_json::Value;

use super::{logs_with, manifest, restarts};
use crate::cluster;

#[tokio::test]
async fn the_job_runs_every_second_each_time_in_a_new_instance() {
    let cluster = cluster(1).await;
    cluster.apply(&manifest("cron")).await;
    logs_with(&cluster, "cron", "tick 6: ").await;

    let lines = cluster.warren(&["logs", "cron", "--source", "service", "-o", "json"]);
    let lines = lines.await.ok();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said: Vec<&str> = lines
        .iter()
        .take(6)
        .map(|line| line["line"].as_str().unwrap())
        .collect();
    assert_eq!(
        said,
        [
            "tick 1: done, run 1 of this instance",
            "tick 2: done, run 1 of this instance",
            "tick 3: done, run 1 of this instance",
            "tick 4: done, run 1 of this instance",
            "tick 5 failed: as every fifth run does",
            "tick 6: done, run 1 of this instance",
        ]
    );
    let at = |number: usize| -> Timestamp {
        let time = lines[number - 1]["time"].as_str().unwrap();
        time.parse().unwrap()
    };
    // The first run may be late by its compilation, but not by a second: then one is left out.
    let took = at(6).duration_since(at(1)).as_secs_f64();
    assert!(took > 4.0, "five seconds of schedule took {took} s");
    assert_eq!(restarts(&cluster, "cron").await, 0);
}
