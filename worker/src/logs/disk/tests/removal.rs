//! When the files of replicas are removed, and which are removed first.

use super::*;

#[tokio::test]
async fn files_are_removed_with_the_replica_but_not_while_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(&dir, SMALL);
    let log = hub.open("r");
    for i in 0..100 {
        say(&log, &format!("{i} {}", "x".repeat(1000)));
    }
    written(&log).await;
    drop(log);
    let reader = hub
        .subscribe(
            "r",
            LogQuery {
                follow: true,
                ..all()
            },
        )
        .unwrap();
    hub.close("r");
    assert!(hub.subscribe("r", all()).is_none());
    let lines = rest(reader).await;
    assert_eq!(lines.len(), 100, "the remaining lines, then the end");
    eventually("the files are gone", || !dir.path().join("logs/r").exists()).await;
}

#[tokio::test]
async fn lines_of_replicas_that_no_longer_exist_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let hub = open(&dir, SMALL);
    for replica in ["r", "gone", "read"] {
        say(&hub.open(replica), "hello");
    }
    hub.leave();
    hub.close("r");
    killed(hub).await;
    let logs = dir.path().join("logs");
    assert!(logs.join("r").exists(), "the worker ended, not the replica");

    let hub = open(&dir, SMALL);
    let reading = hub
        .subscribe(
            "read",
            LogQuery {
                follow: true,
                ..all()
            },
        )
        .unwrap();
    let new = hub.open("new");
    hub.forget_others(|replica| replica == "r");
    eventually("one is gone", || !logs.join("gone").exists()).await;
    assert_eq!(rest(reading).await.len(), 1);
    eventually("the other is gone", || !logs.join("read").exists()).await;
    say(&new, "mine");
    written(&new).await;
    assert_eq!(texts(&hub, all()).await, ["hello"]);
    assert!(logs.join("new").exists());
}

#[tokio::test]
async fn all_files_stay_within_the_limit_and_ended_replicas_lose_theirs_first() {
    let dir = tempfile::tempdir().unwrap();
    let limits = DiskLimits {
        total: 512 << 10,
        ..SMALL
    };
    let hub = open(&dir, limits);
    let logs = ["ended", "quiet", "loud"].map(|replica| hub.open(replica));
    let fill = async |log: &ReplicaLog, kib: usize| {
        for _ in 0..kib / 10 {
            for _ in 0..10 {
                say(log, &"x".repeat(1000));
            }
            written(log).await;
        }
    };
    let [ended, quiet, loud] = &logs;
    fill(quiet, 200).await;
    fill(ended, 200).await;
    ended.end();
    fill(loud, 150).await;
    let total = || ["ended", "quiet", "loud"].map(|replica| bytes(&dir, replica));
    eventually("there is room", || {
        total().iter().sum::<u64>() <= limits.total
    })
    .await;
    let [of_ended, of_quiet, of_loud] = total();
    assert!(of_ended < 160 << 10, "{of_ended}");
    assert!(
        of_quiet > 190 << 10 && of_loud > 140 << 10,
        "{of_quiet} {of_loud}"
    );
}
