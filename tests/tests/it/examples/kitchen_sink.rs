//! Every kind of WIT value.

use super::{logs_with, manifest};
use crate::cluster;

const KINDS: [&str; 23] = [
    "bool", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f32", "f64", "char", "string",
    "list", "list<u8>", "tuple", "option", "result", "enum", "flags", "record", "variant",
    "nested",
];

#[tokio::test]
async fn every_kind_of_value_comes_back_from_service_and_component() {
    let cluster = cluster(1).await;
    cluster.apply(&manifest("kitchen-sink")).await;
    let logs = logs_with(&cluster, "kitchen-sink", "everything came back as it was").await;
    let kinds = KINDS.join(", ");
    for way in ["service to component", "component to component"] {
        let line = format!("service | {way}: {kinds}");
        assert!(logs.contains(&line), "`{line}` is missing in\n{logs}");
    }
    let replica = cluster.replica("kitchen-sink").await;
    assert_eq!(replica["phase"], "COMPLETED", "{replica:#}");
    assert_eq!(replica["lastExit"]["code"], 0, "{replica:#}");
    assert_eq!(replica["restarts"], 0, "{replica:#}");
}
