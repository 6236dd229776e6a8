//! The output of `warren events`.

use warren_tests::{eventually, guest};

use crate::{cluster, http_echo};

#[tokio::test]
async fn a_repeated_event_is_reported_with_its_count() {
    let cluster = cluster(1).await;
    let guest = guest("std-net");
    let manifest = format!(
        "name: crasher\n\
         service: {{ component: {guest}, args: [ exit, err ], restart: {{ initialBackoff: 50ms, maxBackoff: 50ms }} }}\n"
    );
    let file = cluster.lab.write("crasher.yaml", manifest);
    cluster.warren(&["apply", "-f", &file]).await.ok();
    let watch = cluster.follow("events", &["events", "crasher", "-w"]);
    let header = watch.said_line("LAST").await;
    let column = |name: &str| header.find(name).unwrap();
    let counts = watch
        .said("three exits", |lines| {
            let exits = lines.iter().filter(|line| line.contains("Exited"));
            let counts: Vec<String> = exits
                .map(|line| {
                    let (reason, object) = (&line[column("REASON")..], &line[column("OBJECT")..]);
                    assert!(reason.starts_with("Exited"), "below its header: {line}");
                    assert!(
                        object.starts_with("replica/crasher-"),
                        "below its header: {line}"
                    );
                    line.split_whitespace().nth(4).unwrap().to_owned()
                })
                .collect();
            (counts.len() >= 3).then_some(counts)
        })
        .await;
    let first: u32 = counts[0].parse().unwrap();
    let expected: Vec<String> = (first..)
        .take(counts.len())
        .map(|count| count.to_string())
        .collect();
    assert_eq!(counts, expected, "each once");

    // A list has it once, with the latest count.
    let table = cluster.warren(&["events", "crasher"]).await.ok();
    assert_eq!(table.matches(" Exited ").count(), 1, "{table}");
}

#[tokio::test]
async fn unknown_names_are_errors_unless_their_events_remain() {
    let cluster = cluster(1).await;
    cluster.apply(&http_echo("")).await;
    for watch in [&["events", "ehco"][..], &["events", "ehco", "-w"]] {
        let answer = cluster.warren(watch).await;
        answer.refused(1, &["`default/ehco`", "did you mean `echo`?"]);
    }
    let elsewhere = cluster.warren(&["events", "echo", "-n", "shop"]).await;
    elsewhere.refused(1, &["`shop/echo`", "namespace `default`"]);
    cluster
        .warren(&["delete", "workload", "echo", "--wait"])
        .await
        .ok();
    eventually("the end is reported", async || {
        let events = cluster.warren(&["events", "echo"]).await.ok();
        if events.contains("Deleted") {
            Ok(())
        } else {
            Err(events)
        }
    })
    .await;
    let recent = cluster.warren(&["events", "echo", "--since", "1ms"]).await;
    assert_eq!(
        (recent.code, recent.stderr.as_str()),
        (Some(0), "no events\n")
    );
}
