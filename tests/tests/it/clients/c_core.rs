//! gRPC's C core, by Python's grpcio: every streaming RPC, refused and answered.

use std::{collections::BTreeSet, path::Path, process::Stdio};

use prost::Message;
use prost_reflect::DescriptorPool;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncWriteExt as _, process::Command};
use warren_proto::v1;
use warren_tests::{example, tools, within};

use super::{address, with_workload};

const OK: (&str, &[&str]) = ("OK", &[]);
const NOT_FOUND: (&str, &[&str]) = ("NOT_FOUND", &["ErrorInfo", "ResourceInfo"]);
const INVALID: (&str, &[&str]) = ("INVALID_ARGUMENT", &["ErrorInfo", "BadRequest"]);
const UNIMPLEMENTED: (&str, &[&str]) = ("UNIMPLEMENTED", &["ErrorInfo", "ResourceInfo"]);

/// One call by grpcio, and how it should end.
struct Call {
    kind: &'static str,
    method: &'static str,
    requests: Vec<Vec<u8>>,
    /// Cancelled after so many answers: it goes on for ever.
    take: Option<u32>,
    code: &'static str,
    details: &'static [&'static str],
}

impl Call {
    fn new(
        kind: &'static str,
        method: &'static str,
        requests: &[&dyn Encode],
        (code, details): (&'static str, &'static [&'static str]),
    ) -> Self {
        Self {
            kind,
            method,
            requests: requests.iter().map(|request| request.encode()).collect(),
            take: None,
            code,
            details,
        }
    }

    /// One that asks once and is answered by a stream.
    fn stream(
        method: &'static str,
        request: &dyn Encode,
        end: (&'static str, &'static [&'static str]),
    ) -> Self {
        Self::new("unary_stream", method, &[request], end)
    }

    fn take(self, take: u32) -> Self {
        Self {
            take: Some(take),
            ..self
        }
    }

    fn path(&self) -> String {
        let package = match self.method.split_once('.') {
            Some(_) => "",
            None => "warren.v1.",
        };
        format!("/{package}{}", self.method)
    }

    fn to_json(&self) -> Value {
        let requests: Vec<_> = self.requests.iter().map(hex::encode).collect();
        json!({ "kind": self.kind, "path": self.path(), "requests": requests, "take": self.take })
    }

    fn check(&self, end: &Value) {
        let what = format!("{}: {end}", self.to_json());
        assert_eq!(end["code"], self.code, "{what}");
        let details = end["details"].as_array().unwrap();
        let details: Vec<_> = details.iter().map(|one| one.as_str().unwrap()).collect();
        let expected = self.details.iter();
        let expected: Vec<_> = expected.map(|one| format!("google.rpc.{one}")).collect();
        assert_eq!(details, expected, "{what}");
        let has_failed = self.code != "OK";
        let message = end["message"].as_str().unwrap();
        assert_eq!(message.is_empty(), !has_failed, "{what}");
        // A log may be empty.
        if self.method != "WorkloadService/Logs" {
            assert_eq!(end["answers"] == 0, has_failed, "{what}");
        }
    }
}

/// [`Message`], whichever it is.
trait Encode {
    fn encode(&self) -> Vec<u8>;
}

impl<M: Message> Encode for M {
    fn encode(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

fn header(digest: &str) -> v1::PushRequest {
    let header = v1::PushHeader {
        digest: digest.to_owned(),
        size_bytes: 0,
    };
    v1::PushRequest {
        message: Some(v1::push_request::Message::Header(header)),
    }
}

fn chunk(bytes: Vec<u8>) -> v1::PushRequest {
    v1::PushRequest {
        message: Some(v1::push_request::Message::Chunk(bytes.into())),
    }
}

/// Health of nothing that there is, with these details, and of the whole.
fn health(details: &'static [&'static str]) -> Vec<Call> {
    // The field of the service's name has the number of a digest's.
    let unknown = v1::PullRequest {
        digest: "no.such.Service".to_owned(),
    };
    let refused = ("NOT_FOUND", details);
    let watch = "grpc.health.v1.Health/Watch";
    vec![
        Call::new(
            "unary_unary",
            "grpc.health.v1.Health/Check",
            &[&unknown],
            refused,
        ),
        Call::stream(watch, &v1::GetInfoRequest {}, OK).take(1),
    ]
}

/// What is refused, and what succeeds beside it.
fn calls() -> Vec<Call> {
    let absent = || "absent".to_owned();
    let bytes = std::fs::read(example("echo")).unwrap();
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
    let missing = format!("sha256:{}", "7".repeat(64));
    let get = v1::GetRequest {
        name: absent(),
        ..Default::default()
    };
    let bad_get = v1::GetRequest {
        name: "Not A Name".into(),
        ..Default::default()
    };
    let logs = v1::LogsRequest {
        name: absent(),
        ..Default::default()
    };
    let bad_logs = v1::LogsRequest {
        since: Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        }),
        ..logs.clone()
    };
    let nowhere = || "nowhere".to_owned();
    let (pull, bad_pull) = (
        v1::PullRequest { digest: missing },
        v1::PullRequest { digest: absent() },
    );
    let heartbeat = v1::SessionRequest {
        message: Some(v1::session_request::Message::Heartbeat(
            v1::Heartbeat::default(),
        )),
    };
    let nothing = v1::GetInfoRequest {};
    let calls = vec![
        Call::new("unary_unary", "WorkloadService/Get", &[&get], NOT_FOUND),
        Call::new("unary_unary", "WorkloadService/Get", &[&bad_get], INVALID),
        Call::new("unary_unary", "SystemService/GetInfo", &[&nothing], OK),
        Call::new(
            "unary_unary",
            "WorkloadService/Gett",
            &[&nothing],
            UNIMPLEMENTED,
        ),
        Call::stream("WorkloadService/Logz", &nothing, UNIMPLEMENTED),
        Call::new(
            "stream_stream",
            "acme.Other/Thing",
            &[&nothing],
            UNIMPLEMENTED,
        ),
        Call::stream("WorkloadService/Logs", &logs, NOT_FOUND),
        Call::stream("WorkloadService/Logs", &bad_logs, INVALID),
        Call::stream(
            "WorkloadService/Logs",
            &v1::LogsRequest {
                name: "echo".into(),
                ..Default::default()
            },
            OK,
        ),
        Call::stream(
            "WorkloadService/Watch",
            &v1::WatchRequest {
                resource_version: nowhere(),
                ..Default::default()
            },
            INVALID,
        ),
        Call::stream("WorkloadService/Watch", &v1::WatchRequest::default(), OK).take(2),
        Call::stream(
            "WorkloadService/WatchReplicas",
            &v1::WatchReplicasRequest {
                resource_version: nowhere(),
                ..Default::default()
            },
            INVALID,
        ),
        Call::stream(
            "WorkloadService/WatchReplicas",
            &v1::WatchReplicasRequest::default(),
            OK,
        )
        .take(2),
        Call::stream(
            "WorkloadService/Events",
            &v1::EventsRequest {
                name: "Not A Name".into(),
                ..Default::default()
            },
            INVALID,
        ),
        Call::stream("WorkloadService/Events", &v1::EventsRequest::default(), OK),
        Call::stream(
            "WorkerService/Watch",
            &v1::WorkerServiceWatchRequest {
                resource_version: nowhere(),
                ..Default::default()
            },
            INVALID,
        ),
        Call::stream(
            "WorkerService/Watch",
            &v1::WorkerServiceWatchRequest::default(),
            OK,
        )
        .take(1),
        Call::stream("ArtifactService/Pull", &pull, NOT_FOUND),
        Call::stream("ArtifactService/Pull", &bad_pull, INVALID),
        Call::stream(
            "ArtifactService/Pull",
            &v1::PullRequest {
                digest: digest.clone(),
            },
            OK,
        ),
        Call::new(
            "stream_unary",
            "ArtifactService/Push",
            &[&chunk(vec![1])],
            INVALID,
        ),
        Call::new(
            "stream_unary",
            "ArtifactService/Push",
            &[&header(&digest), &chunk(b"other".to_vec())],
            INVALID,
        ),
        Call::new(
            "stream_unary",
            "ArtifactService/Push",
            &[&header(&digest), &chunk(bytes)],
            OK,
        ),
        Call::stream("SystemService/Backup", &v1::BackupRequest {}, OK),
        Call::new(
            "stream_stream",
            "FleetService/Session",
            &[&heartbeat],
            INVALID,
        ),
        Call::new(
            "stream_unary",
            "FleetService/PushLogs",
            &[&v1::PushLogsRequest {
                request_id: absent(),
                lines: vec![],
            }],
            NOT_FOUND,
        ),
    ];
    calls.into_iter().chain(health(&["ErrorInfo"])).collect()
}

/// Makes the calls, one after the other, and compares how each ends.
async fn end_as_expected(python: &Path, address: &str, calls: &[Call]) {
    let mut python = Command::new(python);
    python.arg(tools::client_script("call.py")).arg(address);
    python.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.kill_on_drop(true).spawn().unwrap();
    let lines: String = calls
        .iter()
        .map(|call| format!("{}\n", call.to_json()))
        .collect();
    let mut stdin = python.stdin.take().unwrap();
    let writing = tokio::spawn(async move { stdin.write_all(lines.as_bytes()).await });
    let output = within("grpcio's calls", python.wait_with_output()).await;
    writing.await.unwrap().unwrap();
    let output = String::from_utf8(output.unwrap().stdout).unwrap();
    let mut ends = output.lines();
    for call in calls {
        let end = ends
            .next()
            .unwrap_or_else(|| panic!("{} did not end", call.path()));
        call.check(&serde_json::from_str(end).unwrap());
    }
}

#[tokio::test]
async fn the_c_core_reads_the_status_of_every_streaming_rpc() {
    let Some(python) = tools::python_with(&["grpc", "grpc_status"]) else {
        return tools::skip("Python has no grpcio (tests/clients/requirements.txt)");
    };
    let calls = calls();
    let pool = DescriptorPool::decode(warren_proto::FILE_DESCRIPTOR_SET).unwrap();
    let called: BTreeSet<_> = calls.iter().map(Call::path).collect();
    for service in pool.services() {
        let methods = service.methods();
        for method in methods.filter(|one| one.is_client_streaming() || one.is_server_streaming()) {
            let path = format!("/{}/{}", service.full_name(), method.name());
            assert!(called.contains(&path), "nothing calls {path}");
        }
    }
    let cluster = with_workload().await;
    end_as_expected(&python, address(&cluster), &calls).await;
    // A worker has the service of health too.
    let listen = cluster.workers[0].listen.to_string();
    end_as_expected(&python, &listen, &health(&[])).await;
}
