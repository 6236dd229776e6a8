//! Components that do not fit together. Without a server the same is said of them, in the same
//! words.

use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt as _;
use warren_reflect::Client;
use warren_tests::Cluster;

use super::{
    Standing,
    components::{SERVICE, component},
    places,
};

const WORDS: &str = "
package demo:words@1.0.0 {
    interface count { count: func(text: string) -> result<u32, string>; }
    interface other { other: func(); }
    interface shelf { resource book { constructor(title: string); title: func() -> string; } }
}
";

/// Files that are put together to one workload: the service, and components by their names.
struct Parts<'a> {
    service: Option<&'a str>,
    components: &'a [(&'a str, &'a str)],
}

impl Parts<'_> {
    fn manifest(&self) -> String {
        let mut text = "name: bad\n".to_owned();
        if let Some(file) = self.service {
            text += &format!("service:\n  component: {file}\n");
        }
        text += "components:\n";
        for (name, file) in self.components {
            text += &format!("- name: {name}\n  component: {file}\n");
        }
        text
    }

    /// What the server itself says to a client that asks it at once: each field with its message.
    async fn server_says(&self, cluster: &Cluster) -> Vec<(String, String)> {
        let push = async |file: &str| {
            let pushed = cluster.warren(&["push", file]).await.ok();
            pushed.trim().to_owned()
        };
        let mut spec = json!({ "components": [] });
        if let Some(file) = self.service {
            spec["service"] = json!({ "component": push(file).await });
        }
        for (name, file) in self.components {
            let component = json!({ "name": name, "component": push(file).await });
            spec["components"].as_array_mut().unwrap().push(component);
        }
        let client = Client::connect(&cluster.control.url).await.unwrap();
        let workload = json!({ "workload": { "name": "bad", "spec": spec } });
        let refused = client
            .call("warren.v1.WorkloadService/Apply", workload)
            .await
            .unwrap_err();
        let status = refused.downcast_ref::<tonic::Status>().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        let violations = violations.into_iter();
        violations.map(|one| (one.field, one.description)).collect()
    }
}

/// It is refused with these words, at this field; `validate` says the same, and so does the server.
async fn misfit(standing: &mut Standing, parts: Parts<'_>, field: &str, words: &[&str]) {
    let told = standing.refused(&parts.manifest(), words).await;
    let file = standing.cluster.lab.path("applied.yaml");
    let file = file.display().to_string();
    let offline = standing
        .cluster
        .lab
        .warren(&["validate", "-f", &file])
        .await;
    let offline = offline.refused(1, words);
    assert_eq!(places(&offline), places(&told));
    let server = parts.server_says(&standing.cluster).await;
    assert_eq!(server.len(), places(&told).len(), "{server:?}\n{told}");
    for (at, message) in server {
        assert_eq!(at, field, "{message}");
        assert!(told.contains(&message), "{message}\n{told}");
    }
    standing.unharmed().await;
}

#[tokio::test]
async fn imports_that_cannot_be_linked_are_refused_with_the_interface_and_the_candidates() {
    let mut standing = Standing::start().await;
    let lab = &standing.cluster.lab;
    let caller = format!("import demo:words/count@1.0.0; {SERVICE}");
    let caller = component(lab, "caller", WORDS, &caller);
    let count = component(lab, "count", WORDS, "export demo:words/count@1.0.0;");
    let other = component(lab, "other", WORDS, "export demo:words/other@1.0.0;");
    let shelf = format!("import demo:words/shelf@1.0.0; {SERVICE}");
    let borrower = component(lab, "borrower", WORDS, &shelf);
    let shelf = component(lab, "shelf", WORDS, "export demo:words/shelf@1.0.0;");
    let wanted = "`demo:words/count@1.0.0`";

    let service = "spec.service.component";
    let nobody = Parts {
        service: Some(&caller),
        components: &[("other", &other)],
    };
    let words = [
        "applied.yaml:3:14: ",
        wanted,
        "no other component",
        "exports",
    ];
    misfit(&mut standing, nobody, service, &words).await;

    let two = Parts {
        service: Some(&caller),
        components: &[("one", &count), ("two", &count)],
    };
    let words = [
        "applied.yaml:3:14: ",
        wanted,
        "`one`, `two`",
        "leave all but one out",
    ];
    misfit(&mut standing, two, service, &words).await;

    let resource = Parts {
        service: Some(&borrower),
        components: &[("shelf", &shelf)],
    };
    let words = [
        "applied.yaml:3:14: ",
        "demo:words/shelf",
        "book",
        "resource",
    ];
    misfit(&mut standing, resource, service, &words).await;

    let library = Parts {
        service: Some(&other),
        components: &[("count", &count)],
    };
    let words = [
        "applied.yaml:3:14: ",
        "cannot be the service",
        "`wasi:cli/run`",
    ];
    misfit(&mut standing, library, service, &words).await;
}

#[tokio::test]
async fn interfaces_that_no_worker_provides_are_refused_once_each() {
    let mut standing = Standing::start().await;
    let lab = &standing.cluster.lab;
    let packages = "
        package wasi:cli@0.2.7 { interface exit { exit: func(status: result); vanish: func(); } }
        package wasi:http@0.3.0 { interface handler { handle: async func(); } }
        package wasmcloud:messaging@0.2.0 {
            interface consumer { publish: func(subject: string); request: func(subject: string); }
        }
    ";
    let asker = |name: &str, import: &str| {
        component(lab, name, packages, &format!("import {import}; {SERVICE}"))
    };
    let cases = [
        (
            asker("handler", "wasi:http/handler@0.3.0"),
            "`wasi:http/handler@0.3.0`, which workers do not provide: of wasi:http@0.3 they provide client, types",
        ),
        (
            asker("exit", "wasi:cli/exit@0.2.7"),
            "`wasi:cli/exit@0.2.7` with `vanish`, which workers do not provide",
        ),
        (
            asker("consumer", "wasmcloud:messaging/consumer@0.2.0"),
            "it is an interface of wasmCloud's host, which workers do not provide",
        ),
    ];
    let spare = component(lab, "spare", WORDS, "export demo:words/other@1.0.0;");
    for (service, words) in cases {
        let parts = Parts {
            service: Some(&service),
            components: &[("spare", &spare)],
        };
        let words = ["applied.yaml:3:14: ", words];
        misfit(&mut standing, parts, "spec.service.component", &words).await;
    }
}

#[tokio::test]
async fn a_cycle_of_links_is_refused_with_its_path() {
    let mut standing = Standing::start().await;
    let packages = "
        package demo:a { interface a { a: func(); } }
        package demo:b { interface b { b: func(); } }
        package demo:c { interface c { c: func(); } }
    ";
    let lab = &standing.cluster.lab;
    let link = |name: &str, imports: &str, exports: &str| {
        let world = format!("import demo:{imports}/{imports}; export demo:{exports}/{exports};");
        component(lab, name, packages, &world)
    };
    let (a, b, c) = (
        link("a", "b", "a"),
        link("b", "c", "b"),
        link("c", "a", "c"),
    );
    let circle = Parts {
        service: None,
        components: &[("a", &a), ("b", &b), ("c", &c)],
    };
    let words = ["applied.yaml:4:14: ", "in a circle: a -> b -> c -> a"];
    misfit(
        &mut standing,
        circle,
        "spec.components[0].component",
        &words,
    )
    .await;
}

#[tokio::test]
async fn artifacts_on_the_server_are_linked_as_files_are() {
    let mut standing = Standing::start().await;
    let lab = &standing.cluster.lab;
    let caller = format!("import demo:words/count@1.0.0; {SERVICE}");
    let caller = component(lab, "caller", WORDS, &caller);
    let other = component(lab, "other", WORDS, "export demo:words/other@1.0.0;");
    let pushed = standing.cluster.warren(&["push", &other]).await.ok();
    let missing = format!("sha256:{}", "7".repeat(64));
    let first = Parts {
        service: Some(&caller),
        components: &[("other", &format!("\"{}\"", pushed.trim()))],
    };
    let second = Parts {
        service: None,
        components: &[("gone", &format!("\"{missing}\""))],
    };
    let second = second.manifest().replace("bad", "worse");
    let both = format!("{}---\n{second}", first.manifest());
    let words = [
        "2 problems",
        "applied.yaml:3:14: ",
        "`demo:words/count@1.0.0`",
        "applied.yaml:11:14: ",
        &missing,
        "`warren push FILE`",
        "nothing was applied",
    ];
    standing.refused(&both, &words).await;
}
