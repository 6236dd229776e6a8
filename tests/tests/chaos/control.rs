//! The control plane is killed in the middle of many applies.

use std::{collections::BTreeMap, fmt::Write as _};

use warren_tests::{Cluster, guest};

use crate::{alone, lab, size};

const WORKLOADS: usize = 100;

#[tokio::test]
async fn acknowledged_changes_survive_every_kill() {
    let _alone = alone().await;
    let kills = size().kills;
    let mut cluster = Cluster::start(lab(), 0).await;
    let component = guest("http-echo");
    cluster.warren(&["push", &component]).await.ok();
    let mut known = BTreeMap::new();
    let mut acknowledged = 0;
    for round in 1..=kills {
        let mut all = String::new();
        for number in 0..WORKLOADS {
            writeln!(
                all,
                "---\nname: w{number}\nreplicas: 0\ncomponents:\n- name: web\n  component: {component}\n  \
                 env: {{ ROUND: \"{round}\" }}"
            )
            .unwrap();
        }
        let file = cluster.lab.write("all.yaml", all);
        let mut apply = cluster.follow("apply", &["apply", "-f", &file]);
        // At another place each time.
        let some = 1 + round * 37 % (WORKLOADS - 1);
        let some_are_in = apply.said("acknowledgements", |lines| {
            (lines.len() >= some).then_some(())
        });
        some_are_in.await;
        cluster.control.process.kill().await;
        apply.kill().await;
        let lines = apply.stdout();
        let told: Vec<_> = lines
            .iter()
            .map(|line| {
                let rest = line.strip_prefix("workload/").unwrap();
                rest.split_whitespace().next().unwrap().to_owned()
            })
            .collect();
        acknowledged += told.len();
        cluster.control.start_again(&cluster.lab).await;

        let held = rounds(&cluster).await;
        for name in &told {
            assert_eq!(held.get(name), Some(&round), "{name} was acknowledged");
        }
        for (name, before) in &known {
            let now = held.get(name);
            assert!(
                now == Some(before) || now == Some(&round),
                "{name}: {now:?}"
            );
        }
        known = held;
    }
    eprintln!("{kills} kills in the midst of {WORKLOADS} applies, {acknowledged} acknowledged");
}

/// Which round each workload is of.
async fn rounds(cluster: &Cluster) -> BTreeMap<String, usize> {
    let answer = cluster.warren(&["get", "workloads", "-o", "json"]).await;
    let workloads = answer.json();
    let workloads = workloads.as_array().unwrap().iter();
    workloads
        .map(|workload| {
            let round = &workload["spec"]["components"][0]["env"][0]["value"];
            let round = round.as_str().unwrap_or_else(|| panic!("{workload:#}"));
            let name = workload["name"].as_str().unwrap();
            (name.to_owned(), round.parse().unwrap())
        })
        .collect()
}
