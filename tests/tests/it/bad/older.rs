//! Servers of another version: nothing is sent that they would drop, and what they lack is told
//! with both versions.

use super::{places, refused_quietly, stand_in::StandIn};
use crate::lab;

/// What the first servers said that they can do; they named no fields.
const FIRST: [&str; 4] = ["egress", "logs.follow", "publish.tcp", "watch.resume"];

/// A service with a route of its own, which the first servers did not know.
fn routed(name: &str) -> String {
    let digest = format!("sha256:{}", "7".repeat(64));
    format!(
        "name: {name}\n\
         service:\n  \
           component: \"{digest}\"\n  \
           args: [ \"8080\" ]\n  \
           routes:\n  \
           - host: {name}.localhost\n    \
             port: 8080\n"
    )
}

#[tokio::test]
async fn a_field_that_the_server_does_not_know_is_not_sent() {
    let lab = lab();
    let one = lab.write("one.yaml", routed("one"));
    let both = lab.write("both.yaml", routed("one") + "---\n" + &routed("two"));
    let some: Vec<&str> = FIRST
        .into_iter()
        .chain([
            "spec",
            "spec.service",
            "spec.service.component",
            "spec.service.args",
        ])
        .collect();
    for features in [&FIRST[..], &some] {
        let server = StandIn::start("0.0.9", features, "");
        let apply = ["apply", "-f", &one, "--server", &server.url];
        let told = refused_quietly(
            lab.warren(&apply).await,
            &[
                "one.yaml:5:3: ",
                "the server (version 0.0.9) does not know `spec.service.routes`",
                "upgrade the server, or leave the field out",
            ],
        );
        assert_eq!(places(&told).len(), 1, "{told}");
        let calls = server.calls();
        let sent = |call: &String| call.ends_with("/Apply") || call.ends_with("/Push");
        assert!(!calls.iter().any(sent), "{calls:?}");
        assert_eq!(calls[0], "SystemService/GetInfo");
        let asked = calls.iter().filter(|call| *call == "SystemService/GetInfo");
        assert_eq!(asked.count(), 1, "{calls:?}");
    }

    let server = StandIn::start("0.0.9", &FIRST, "");
    let apply = ["apply", "-f", &both, "--server", &server.url];
    let words = ["both.yaml:5:3: ", "both.yaml:13:3: ", "nothing was applied"];
    refused_quietly(lab.warren(&apply).await, &words);
}

#[tokio::test]
async fn fields_that_an_old_server_knows_are_sent_to_it() {
    let lab = lab();
    let plain = routed("one");
    let (plain, _) = plain.split_once("  routes:").unwrap();
    let plain = lab.write("plain.yaml", plain);
    let server = StandIn::start("0.0.9", &FIRST, "");
    // This one has no artifacts at all, and says so as any server does.
    let apply = ["apply", "-f", &plain, "--server", &server.url];
    let words = [
        "has version 0.0.9 and does not know ArtifactService.Stat",
        concat!("this is warren ", env!("CARGO_PKG_VERSION")),
        "update the server",
    ];
    refused_quietly(lab.warren(&apply).await, &words);
    assert_eq!(
        server.calls(),
        ["SystemService/GetInfo", "ArtifactService/Stat"]
    );
}

#[tokio::test]
async fn a_method_that_the_server_does_not_know_is_reported_with_both_versions() {
    let lab = lab();
    let server = StandIn::start("0.0.9", &FIRST, "");
    for (command, method) in [
        (&["scale", "counter", "3"][..], "WorkloadService.Scale"),
        (&["restart", "counter"], "WorkloadService.Restart"),
        (&["get", "workers"], "WorkerService.List"),
        (&["backup", "-"], "SystemService.Backup"),
    ] {
        let command = [command, &["--server", &server.url]].concat();
        let words = [
            &format!(
                "the server at {} has version 0.0.9 and does not know {method}",
                server.url
            ),
            concat!("this is warren ", env!("CARGO_PKG_VERSION")),
        ];
        refused_quietly(lab.warren(&command).await, &[words[0], words[1]]);
    }
    let version = lab.warren(&["version", "--server", &server.url]).await.ok();
    assert!(version.contains("0.0.9"), "{version}");
}
