//! The program itself: version, help, completions, a reader that goes away.

use std::process::Stdio;

use serde_json::Value;
use warren_tests::within;

use crate::{cluster, lab};

#[tokio::test]
async fn version_shows_client_server_and_features() {
    let cluster = cluster(0).await;
    let answer = cluster.warren(&["version"]).await;
    assert_eq!(answer.stderr, "", "equal versions print no notice");
    let text = answer.ok();
    assert!(
        text.starts_with("client ") && text.contains(&cluster.control.url),
        "{text}"
    );
    let data = cluster.warren(&["version", "-o", "json"]).await.json();
    assert_eq!(data["client"]["version"], data["server"]["version"]);
    let features = data["server"]["features"].as_array().unwrap();
    assert!(features.contains(&"watch.resume".into()), "{features:#?}");
    // No server is an answer too.
    let lab = lab();
    let alone = lab
        .warren(&["version", "-o", "json", "--server", "http://127.0.0.1:1"])
        .await;
    assert!(alone.stderr.contains("no server"), "{alone:#?}");
    assert_eq!(alone.json()["server"], Value::Null);
}

#[tokio::test]
async fn help_is_available_and_mistakes_are_usage_errors() {
    let lab = lab();
    for words in [
        &["--help"][..],
        &["get", "--help"],
        &["help", "delete", "workload"],
    ] {
        let help = lab.warren(words).await.ok();
        assert!(
            help.contains("Usage: warren") && help.contains("Examples:"),
            "{help}"
        );
    }
    let get = lab.warren(&["get", "--help"]).await.ok();
    assert!(
        get.contains("WARREN_SERVER") && get.contains("WARREN_NAMESPACE"),
        "{get}"
    );
    lab.warren(&["gett"]).await.refused(2, &["similar", "get"]);
    lab.warren(&["get", "workload", "--wach"])
        .await
        .refused(2, &["--watch"]);
    lab.warren(&["get", "pods"])
        .await
        .refused(2, &["workloads"]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = lab.warren(&["completions", shell]).await.ok();
        assert!(script.contains("rollback"), "{shell}: {script}");
    }
}

#[tokio::test]
async fn a_closed_pipe_is_not_an_error() {
    let lab = lab();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = lab.command(&["completions", "bash"]);
    command.stdout(writer).stderr(Stdio::piped());
    let output = within("its end", command.output()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}
