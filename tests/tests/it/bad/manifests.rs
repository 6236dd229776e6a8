//! What is wrong with manifests is told all at once, with places, and of several documents none is
//! applied.

use std::{fs, process::Stdio};

use serde_json::json;
use warren_tests::{example, guest};

use super::{Standing, places, refused_quietly};
use crate::{counter::manifest, http_echo, lab};

#[tokio::test]
async fn a_manifest_with_five_mistakes_reports_all_five() {
    let mut standing = Standing::start().await;
    let cache = example("cache");
    let five = format!(
        "name: shop\n\
         replicas: 1001\n\
         service:\n  \
           component: {cache}\n  \
           restarts: {{}}\n  \
           publish: [ {{ port: 0, listen: \"127.0.0.1:0\" }} ]\n  \
           egress: [ \"db.internal\" ]\n  \
           stopGrace: 10\n"
    );
    let words = [
        "the manifest has 5 problems",
        "applied.yaml:2:11: ",
        "applied.yaml:5:3: unknown field `restarts` in the service: did you mean `restart`?",
        "applied.yaml:6:22: ",
        "applied.yaml:7:13: ",
        "applied.yaml:8:14: ",
    ];
    let told = standing.refused(&five, &words).await;
    assert_eq!(places(&told).len(), 5, "{told}");
    let file = standing.cluster.lab.path("applied.yaml");
    let validate = ["validate", "-f", &file.display().to_string()];
    let offline = lab().warren(&validate).await.refused(1, &words);
    assert_eq!(places(&offline), places(&told));
}

#[tokio::test]
async fn no_document_is_applied_when_one_of_them_is_invalid() {
    let mut standing = Standing::start().await;
    let echo = http_echo("");
    let (cache, module) = (
        example("cache"),
        standing
            .cluster
            .lab
            .write("module.wasm", b"\0asm\x01\0\0\0"),
    );
    // A file that is no component, and a route that another workload holds: the one known here, the
    // other there.
    let held = format!(
        "name: held\ncomponents:\n- name: web\n  component: {}\n  routes: [ {{ host: counter.localhost }} ]\n",
        guest("http-echo")
    );
    let all = format!(
        "{echo}---\nname: module\nservice: {{ component: {module} }}\n---\n{held}---\n\
         name: fine\nservice: {{ component: {cache} }}\n"
    );
    let words = [
        "2 problems",
        "applied.yaml:9:",
        "core WebAssembly module",
        "applied.yaml:15:",
        "counter.localhost/ belongs to workload `default/counter`",
        "nothing was applied",
    ];
    standing.refused(&all, &words).await;

    // Two documents that want one route, whoever has it.
    let both = format!("{echo}---\n{}", echo.replace("name: echo", "name: second"));
    let words = [
        "applied.yaml:13:",
        "claimed by workload/echo",
        "nothing was applied",
    ];
    standing.refused(&both, &words).await;
}

#[tokio::test]
async fn every_file_is_read_before_any_is_applied() {
    let mut standing = Standing::start().await;
    let lab = &standing.cluster.lab;
    let good = lab.write("good.yaml", http_echo(""));
    let bad = lab.write("bad.yaml", "name: Bad\nservice: { component: a.wasm }\n");
    let same = lab.write("same.yaml", http_echo(""));
    let missing = lab.path("missing.yaml").display().to_string();
    let words = [
        "bad.yaml:1:7: ",
        "missing.yaml: No such file",
        "same.yaml:1:7: `default/echo` is already in ",
        "nothing was applied",
    ];
    // As a shell writes a glob, and as several flags.
    let glob = ["apply", "-f", &good, &bad, &missing, &same];
    let flags = [
        "apply", "-f", &good, "-f", &bad, "-f", &missing, "-f", &same,
    ];
    for arguments in [&glob[..], &flags] {
        let answer = standing.cluster.warren(arguments).await;
        refused_quietly(answer, &words);
    }
    standing.unharmed().await;
}

#[tokio::test]
async fn manifests_come_from_directories_pipes_and_stdin() {
    let standing = Standing::start().await;
    let cluster = &standing.cluster;
    let directory = cluster.lab.path("project");
    fs::create_dir(&directory).unwrap();
    fs::copy(guest("http-echo"), directory.join("web.wasm")).unwrap();
    let text = http_echo("").replace(&guest("http-echo"), "./web.wasm");

    // Without a manifest a directory is none.
    let path = directory.display().to_string();
    let none = cluster.warren(&["apply", "-f", &path]).await;
    refused_quietly(
        none,
        &[
            "project/warren.yaml",
            "name a manifest, or create warren.yaml",
        ],
    );
    fs::write(directory.join("warren.yaml"), &text).unwrap();
    let apply = ["apply", "-f", &path];
    assert_eq!(cluster.warren(&apply).await.ok(), "workload/echo created\n");

    // From stdin paths are relative to where the command runs.
    let from_stdin = async |folder: &std::path::Path| {
        let mut command = cluster.command(&["apply", "-f", "-"]);
        command.current_dir(folder).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stdin, text.as_bytes())
            .await
            .unwrap();
        drop(stdin);
        warren_tests::within("its end", child.wait_with_output())
            .await
            .unwrap()
    };
    let there = from_stdin(&directory).await;
    assert_eq!(
        String::from_utf8_lossy(&there.stdout),
        "workload/echo unchanged\n"
    );
    let elsewhere = from_stdin(&cluster.lab.path("")).await;
    let told = String::from_utf8_lossy(&elsewhere.stderr);
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(
        told.contains("<stdin>:5:14: ") && told.contains("web.wasm: No such file"),
        "{told}"
    );

    // A pipe is read as a shell's `<(...)` is.
    let pipe = cluster.lab.path("pipe.yaml");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let (to, absolute) = (pipe.clone(), http_echo("  env: { A: b }\n"));
    let writer = tokio::task::spawn_blocking(move || fs::write(to, absolute));
    let pipe = pipe.display().to_string();
    let answer = cluster.warren(&["apply", "-f", &pipe, "--wait"]).await.ok();
    assert_eq!(answer, "workload/echo updated\nworkload/echo ready\n");
    writer.await.unwrap().unwrap();
    assert_eq!(cluster.get("echo.localhost", "/env").await.text(), "A=b\n");
}

#[tokio::test]
async fn a_refusal_in_the_middle_says_what_was_applied_and_what_was_not() {
    let cluster = crate::cluster(1).await;
    cluster.apply(&manifest("counter")).await;
    // It holds the route until its own document is applied, which comes too late: nobody can know
    // that before.
    let takes = http_echo("").replace("echo.localhost", "counter.localhost");
    let gives = manifest("counter").replace("counter.localhost", "other.localhost");
    let last = http_echo("")
        .replace("echo.localhost", "last.localhost")
        .replace("name: echo", "name: last");
    let first = http_echo("")
        .replace("echo.localhost", "first.localhost")
        .replace("name: echo", "name: first");
    let all = [first.as_str(), &takes, &gives, &last].join("---\n");
    let file = cluster.lab.write("all.yaml", &all);
    let answer = cluster.warren(&["apply", "-f", &file]).await;
    assert_eq!(answer.stdout, "workload/first created\n");
    answer.refused(
        1,
        &[
            "all.yaml:13:",
            "default/counter",
            "already applied: workload/first created",
            "not applied: workload/echo, workload/counter, workload/last",
        ],
    );
    let list = ["get", "workloads", "-o", "json"];
    let list = cluster.warren(&list).await.json();
    let names = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone());
    let names: serde_json::Value = names.collect();
    assert_eq!(names, json!(["counter", "first"]));
}
