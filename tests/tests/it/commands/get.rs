//! `warren get` in every format, and how it selects objects.

use serde_json::Value;
use warren_tests::Cluster;

use crate::{cluster, counter::manifest};

/// Two counters with labels, in namespaces of their own choice.
async fn two_counters() -> Cluster {
    let cluster = cluster(1).await;
    cluster
        .apply(&(manifest("counter") + "labels: { tier: front, zone: a }\n"))
        .await;
    cluster
        .apply(&(manifest("other") + "namespace: shop\nlabels: { tier: front, zone: b }\n"))
        .await;
    cluster
}

fn words(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[tokio::test]
async fn get_prints_tables_data_names_and_manifests() {
    let cluster = two_counters().await;
    let get = async |arguments: &[&str]| cluster.warren(&[&["get"], arguments].concat()).await;

    let table = get(&["workloads"]).await.ok();
    let rows = words(&table);
    assert_eq!(rows[0], ["NAME", "READY", "STATUS", "REVISION", "AGE"]);
    assert_eq!(rows[1][..4], ["counter", "1/1", "Ready", "1"], "{table}");
    assert_eq!(rows.len(), 2, "{table}");
    let wide = get(&["wl", "-A", "-o", "wide"]).await.ok();
    let rows = words(&wide);
    assert_eq!(rows[0][0], "NAMESPACE");
    assert_eq!((rows[1][0], rows[2][0]), ("default", "shop"), "{wide}");
    assert!(
        wide.contains("counter.localhost/") && wide.contains("tier=front,zone=b"),
        "{wide}"
    );

    // A list is an array, and one is an object, whatever they are.
    for kind in ["workloads", "replicas", "workers", "artifacts"] {
        let list = get(&[kind, "-o", "json"]).await.json();
        let list = list
            .as_array()
            .unwrap_or_else(|| panic!("{kind}: no array"));
        assert!(!list.is_empty(), "{kind}");
        let id = ["name", "id", "digest"]
            .into_iter()
            .find(|key| list[0][*key].is_string());
        let id = match kind {
            "replicas" => list[0]["id"].as_str(),
            _ => id.and_then(|key| list[0][key].as_str()),
        };
        let one = get(&[kind, id.unwrap(), "-o", "json"]).await.json();
        let same = |value: &Value| {
            (
                value["uid"].clone(),
                value["id"].clone(),
                value["digest"].clone(),
            )
        };
        assert_eq!(same(&one), same(&list[0]), "{kind}");
        let yaml = get(&[kind, id.unwrap(), "-o", "yaml"]).await.ok();
        assert!(yaml.contains(id.unwrap()), "{kind}: {yaml}");
        let singular = kind.trim_end_matches('s');
        let names = get(&[singular, "-o", "name"]).await.ok();
        assert!(
            names
                .lines()
                .any(|line| line == format!("{singular}/{}", id.unwrap())),
            "{names}"
        );
    }

    // What is printed as a manifest changes nothing when it is applied.
    let text = get(&["workloads", "-A", "-o", "manifest"]).await.ok();
    assert_eq!(text.matches("\n---\n").count(), 1, "{text}");
    let apply = ["apply", "-f", "-", "--server", &cluster.control.url];
    let said = cluster.lab.warren_reads(&apply, &text).await.ok();
    assert_eq!(said.matches(" unchanged").count(), 2, "{said}");
    let refused = get(&["replicas", "-o", "manifest"]).await;
    refused.refused(2, &["only workloads have a manifest"]);
}

#[tokio::test]
async fn get_selects_by_labels() {
    let cluster = two_counters().await;
    let names = async |arguments: &[&str]| {
        let all = [&["get"], arguments, &["-o", "name"]].concat();
        cluster.warren(&all).await.ok()
    };
    assert_eq!(
        names(&["workloads", "-l", "tier=front"]).await,
        "workload/counter\n"
    );
    assert_eq!(
        names(&["workloads", "-A", "-l", "tier=front"]).await,
        "workload/counter\nworkload/other\n"
    );
    assert_eq!(
        names(&["workloads", "-A", "-l", "tier=front,zone=b"]).await,
        "workload/other\n"
    );
    let replicas = names(&["replicas", "-A", "-l", "zone=a"]).await;
    assert!(replicas.starts_with("replica/counter-"), "{replicas}");
    assert_eq!(replicas.lines().count(), 1, "{replicas}");

    // Nothing found is an answer, told where it does not disturb.
    for (arguments, said) in [
        (
            &["workloads", "-l", "zone=z"][..],
            "no workloads in namespace default with zone=z\n",
        ),
        (
            &["workloads", "-n", "empty"],
            "no workloads in namespace empty\n",
        ),
        (
            &["replicas", "-A", "-l", "zone=z"],
            "no replicas in any namespace with zone=z\n",
        ),
        (&["workers", "-l", "zone=z"], "no workers with zone=z\n"),
    ] {
        let answer = cluster.warren(&[&["get"], arguments].concat()).await;
        assert_eq!(answer.stderr, said);
        assert_eq!(answer.ok(), "");
        let json = cluster
            .warren(&[&["get"], arguments, &["-o", "json"]].concat())
            .await;
        assert_eq!(json.json(), Value::Array(Vec::new()));
    }
    let refused = cluster.warren(&["get", "workloads", "-l", "tier"]).await;
    refused.refused(2, &["`tier` is not KEY=VALUE"]);
    let refused = cluster.warren(&["get", "artifacts", "-l", "a=b"]).await;
    refused.refused(2, &["artifacts have no labels"]);
}

#[tokio::test]
async fn a_unique_prefix_of_a_name_is_enough() {
    let cluster = cluster(1).await;
    cluster
        .apply(&manifest("counter").replace("replicas: 1", "replicas: 2"))
        .await;
    let replicas = cluster.replicas("counter").await;
    let ids: Vec<&str> = replicas
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    let common = ids[0]
        .bytes()
        .zip(ids[1].bytes())
        .take_while(|(a, b)| a == b)
        .count();
    let get = async |arguments: &[&str]| cluster.warren(&[&["get"], arguments].concat()).await;

    let one = get(&["replicas", &ids[0][..=common], "-o", "json"])
        .await
        .json();
    assert_eq!(one["id"], ids[0]);
    // A workload's name is the beginning of its replicas' ids, and means all of them.
    let all = get(&["replicas", "counter", "-o", "json"]).await.json();
    assert_eq!(all.as_array().unwrap().len(), 2);
    let several = get(&["replicas", "counte"]).await;
    several.refused(1, &["`counte` is more than one replica", ids[0], ids[1]]);
    get(&["replicas", "nobody"]).await.refused(1, &["nobody"]);
    get(&["workloads", "countr"])
        .await
        .refused(1, &["countr", "did you mean", "counter"]);
    get(&["workers", "w11"])
        .await
        .refused(1, &["w11", "did you mean", "w1"]);

    let artifacts = get(&["artifacts", "-o", "json"]).await.json();
    let digest = artifacts[0]["digest"].as_str().unwrap();
    for prefix in [&digest[..19], &digest["sha256:".len()..19]] {
        let one = get(&["artifacts", prefix, "-o", "json"]).await.json();
        assert_eq!(one["digest"], digest);
    }
    get(&["artifacts", "sha256:"])
        .await
        .refused(2, &["is not a digest"]);
    let held = cluster.warren(&["delete", "artifact", &digest[..19]]).await;
    held.refused(1, &["counter"]);
}
