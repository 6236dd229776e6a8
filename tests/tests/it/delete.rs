//! Deleted objects leave nothing behind.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    time::UNIX_EPOCH,
};

use bytes::Bytes;
use hyper::body::Frame;
use tokio::net::TcpStream;
use warren_tests::{Cluster, Reply, eventually, example, get, guest, open, within};

use crate::{cluster, counter::count, http_echo, lab};

#[tokio::test]
async fn a_deleted_workload_releases_its_routes_ports_and_replicas() {
    let cluster = cluster(1).await;
    let (cache, counter) = (example("cache"), example("counter"));
    let manifest = format!(
        "name: counter\n\
         replicas: 1\n\
         service: {{ component: {cache}, publish: [ {{ port: 6379, listen: \"127.0.0.1:0\" }} ] }}\n\
         components:\n\
         - {{ name: api, component: {counter}, routes: [ {{ host: counter.localhost, path: / }} ] }}\n"
    );
    cluster.apply(&manifest).await;
    let before = cluster.replica("counter").await;
    let port = cluster.published("counter").await;
    assert_eq!(count(cluster.http(), "counter").await.number, 1);
    TcpStream::connect(port).await.unwrap();

    let said = cluster
        .warren(&["delete", "workload", "counter", "--wait"])
        .await
        .ok();
    assert!(said.contains("workload/counter deleted"), "{said}");
    eventually("the route is gone", async || {
        let reply = get(cluster.http(), "counter.localhost", "/").await;
        if reply.status == 404 {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
    assert!(
        TcpStream::connect(port).await.is_err(),
        "{port} is still open"
    );
    let all = cluster
        .warren(&["get", "replicas", "-A", "-o", "json"])
        .await
        .json();
    assert_eq!(all, serde_json::json!([]));
    let gone = cluster.warren(&["get", "workloads", "counter"]).await;
    gone.refused(1, &["there is no workload `default/counter`"]);
    for command in [
        &["describe", "workload", "counter"][..],
        &["logs", "counter"],
    ] {
        cluster.warren(command).await.refused(1, &["counter"]);
    }

    // The same name again is another workload.
    cluster.apply(&manifest).await;
    let after = cluster.replica("counter").await;
    assert_ne!(after["id"], before["id"]);
    assert_ne!(after["workloadUid"], before["workloadUid"]);
    assert_eq!(count(cluster.http(), "counter").await.number, 1);
}

#[tokio::test]
async fn requests_in_flight_finish_before_a_workload_is_gone() {
    let cluster = cluster(1).await;
    cluster.apply(&http_echo("")).await;
    let held = open(cluster.http(), "echo.localhost", "/echo", "held ").await;
    assert_eq!(held.response.status(), 200);
    cluster.warren(&["delete", "workload", "echo"]).await.ok();
    eventually("no new request is taken", async || {
        let reply = cluster.get("echo.localhost", "/").await;
        if reply.status == 200 {
            Err(reply)
        } else {
            Ok(())
        }
    })
    .await;
    let first = cluster.workload("echo").await;
    assert!(first["deleteTime"].is_string(), "{first:#}");
    let replicas = cluster.replicas("echo").await;
    assert_eq!(replicas.len(), 1, "{replicas:#?}");
    assert_eq!(replicas[0]["phase"], "STOPPING");
    // Asking again changes nothing.
    cluster.warren(&["delete", "workload", "echo"]).await.ok();
    let second = cluster.workload("echo").await;
    for field in ["uid", "deleteTime", "generation"] {
        assert_eq!(second[field], first[field], "{field}");
    }
    // Nor does another workload of that name come in between.
    let again = cluster.try_apply(&http_echo("")).await;
    again.refused(1, &["echo", "deleted"]);

    let rest = Frame::data(Bytes::from_static(b"and finished"));
    held.body.unbounded_send(Ok(rest)).unwrap();
    drop(held.body);
    let reply = within("the end", Reply::read(held.response)).await;
    assert!(
        reply.whole && reply.body == "held and finished",
        "{reply:?}"
    );
    cluster
        .warren(&["delete", "workload", "echo", "--wait"])
        .await;
    let gone = cluster.warren(&["delete", "workload", "echo"]).await;
    gone.refused(1, &["there is no workload `default/echo`"]);
}

#[tokio::test]
async fn unreferenced_artifacts_are_deleted() {
    let cluster = cluster(1).await;
    let file = example("cache");
    let digest = cluster.warren(&["push", &file]).await.ok();
    let digest = digest.trim();
    let again = cluster.warren(&["push", &file]).await;
    assert!(again.stderr.contains("was there already"), "{again:?}");
    cluster
        .apply(&format!(
            "name: cache\nreplicas: 1\nservice: {{ component: \"{digest}\" }}\n"
        ))
        .await;
    let used = cluster.warren(&["delete", "artifact", digest]).await;
    used.refused(1, &["in use", "cache"]);
    cluster
        .warren(&["delete", "workload", "cache", "--wait"])
        .await
        .ok();
    cluster.warren(&["delete", "artifact", digest]).await.ok();
    let artifacts = cluster
        .warren(&["get", "artifacts", "-o", "json"])
        .await
        .json();
    assert_eq!(artifacts, serde_json::json!([]));
}

#[tokio::test]
async fn a_worker_keeps_unused_artifacts_within_its_limit() {
    let lab = lab();
    let data = lab.path("w1");
    // Code of its own, which no other test has compiled, and none misses.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data.join("cache"))
        .unwrap();
    let cluster = Cluster::start_with(lab, 1, &[], &["--cache-max-size", "1KiB"]).await;
    let service =
        |name: &str, component| format!("name: {name}\nservice: {{ component: {component} }}\n");
    let directories = [data.join("artifacts"), data.join("cache")];
    let files = || directories.each_ref().map(|directory| names(directory));

    cluster.apply(&http_echo("")).await;
    let echo = files();
    assert_eq!(echo.each_ref().map(BTreeSet::len), [1, 1]);
    let delete = ["delete", "workload", "echo", "--wait"];
    cluster.warren(&delete).await.ok();

    // Too much, and yet it was used of late.
    cluster.apply(&service("cache", example("cache"))).await;
    let both = files();
    assert_eq!(both.each_ref().map(BTreeSet::len), [2, 2]);

    for (directory, names) in directories.iter().zip(&both) {
        for name in names {
            let file = File::open(directory.join(name)).unwrap();
            file.set_modified(UNIX_EPOCH).unwrap();
        }
    }
    cluster
        .apply(&service("echo-tcp", guest("tokio-echo")))
        .await;
    // What runs stays, however long ago it was loaded.
    let rest = files();
    for ((rest, both), echo) in rest.iter().zip(&both).zip(&echo) {
        assert_eq!(rest.len(), 2, "{rest:?}");
        assert!(rest.is_superset(&(both - echo)), "{rest:?} of {both:?}");
        assert!(rest.is_disjoint(echo), "{rest:?} still has {echo:?}");
    }

    // And what is gone comes back.
    cluster.apply(&http_echo("")).await;
    assert_eq!(cluster.get("echo.localhost", "/").await.text(), "hello\n");
}

/// All but the key of compiled code, which stays.
fn names(directory: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.filter(|name| name != "seal.key").collect()
}
