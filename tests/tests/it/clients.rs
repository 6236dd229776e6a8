//! The API by clients that are not Warren's: gRPC's C core (Python's grpcio), grpcurl, and Buf.
//!
//! Each reads a failed call's status in its own way; a refusal before the first message is where
//! they differ.

mod c_core;

use serde_json::Value;
use tokio::process::Command;
use warren_tests::{Cluster, example, tools, within};

use crate::cluster;

/// One workload named `echo`, and its artifact.
async fn with_workload() -> Cluster {
    let cluster = cluster(1).await;
    let component = example("echo");
    let manifest = format!("name: echo\nreplicas: 1\nservice: {{ component: {component} }}\n");
    cluster.apply(&manifest).await;
    cluster
}

fn address(cluster: &Cluster) -> &str {
    cluster.control.url.trim_start_matches("http://")
}

#[tokio::test]
async fn grpcurl_reads_status_and_details() {
    let Some(grpcurl) = tools::find("grpcurl") else {
        return tools::skip("there is no grpcurl (tests/clients/requirements.txt)");
    };
    let cluster = with_workload().await;
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(&grpcurl);
        command.args(arguments).kill_on_drop(true);
        let output = within("grpcurl", command.output()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let address = address(&cluster);
    let (code, services, _) = run(&["-plaintext", address, "list"]).await;
    assert_eq!(code, Some(0));
    for service in [
        "grpc.health.v1.Health",
        "warren.v1.FleetService",
        "warren.v1.WorkloadService",
    ] {
        assert!(services.lines().any(|line| line == service), "{services}");
    }
    let missing = format!(r#"{{"digest": "sha256:{}"}}"#, "7".repeat(64));
    // 64 and the status: that is how grpcurl ends.
    for (method, request, expected, words) in [
        (
            "WorkloadService/Get",
            r#"{"name": "absent"}"#,
            69,
            "Code: NotFound",
        ),
        (
            "WorkloadService/Logs",
            r#"{"name": "absent"}"#,
            69,
            "google.rpc.ResourceInfo",
        ),
        (
            "WorkloadService/Logs",
            r#"{"name": "A B"}"#,
            67,
            "google.rpc.BadRequest",
        ),
        (
            "ArtifactService/Pull",
            &missing,
            69,
            "google.rpc.ResourceInfo",
        ),
        (
            "ArtifactService/Push",
            r#"{"chunk": "AAAA"}"#,
            67,
            "should come first",
        ),
        (
            "FleetService/Session",
            r#"{"heartbeat": {}}"#,
            67,
            "Code: InvalidArgument",
        ),
        ("WorkloadService/Get", r#"{"name": "echo"}"#, 0, ""),
        ("WorkloadService/Logs", r#"{"name": "echo"}"#, 0, ""),
    ] {
        let method = format!("warren.v1.{method}");
        let (code, _, said) = run(&["-plaintext", "-d", request, address, &method]).await;
        assert_eq!(code, Some(expected), "{method} {request}: {said}");
        assert!(said.contains(words), "{method} {request}: {said}");
    }
}

#[tokio::test]
async fn buf_reads_status_and_details() {
    let Some(buf) = tools::find("buf") else {
        return tools::skip("there is no buf (tests/clients/requirements.txt)");
    };
    let cluster = with_workload().await;
    let home = cluster.lab.path("buf");
    for (method, request, expected) in [
        (
            "WorkloadService/Get",
            r#"{"name": "absent"}"#,
            Some("not_found"),
        ),
        (
            "WorkloadService/Logs",
            r#"{"name": "absent"}"#,
            Some("not_found"),
        ),
        (
            "WorkloadService/Logs",
            r#"{"name": "A B"}"#,
            Some("invalid_argument"),
        ),
        (
            "ArtifactService/Push",
            r#"{"chunk": "AAAA"}"#,
            Some("invalid_argument"),
        ),
        ("WorkloadService/Get", r#"{"name": "echo"}"#, None),
        ("WorkloadService/Events", "{}", None),
    ] {
        let url = format!("{}/warren.v1.{method}", cluster.control.url);
        let mut command = Command::new(&buf);
        command.args([
            "curl",
            "--http2-prior-knowledge",
            "--protocol",
            "grpc",
            "-d",
            request,
            &url,
        ]);
        command.env("BUF_CACHE_DIR", &home).kill_on_drop(true);
        let output = within("buf", command.output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        match expected {
            None => assert!(output.status.success(), "{method} {request}: {said}"),
            Some(code) => {
                let error: Value = serde_json::from_str(&said).unwrap();
                assert_eq!(error["code"], code, "{method} {request}: {said}");
                assert_eq!(
                    error["details"][0]["type"], "google.rpc.ErrorInfo",
                    "{said}"
                );
            }
        }
    }
}
