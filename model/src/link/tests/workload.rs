//! Workloads as a whole.

use warren_proto::v1;

use super::*;
use crate::{
    component::{InspectError, inspect, tests::build},
    digest::Digest,
};

#[test]
fn circles_are_refused_with_their_path() {
    let a = info(&["x:b/i", "x:c/i", "x:b/j"], &["x:a/i"]);
    let b = info(&["x:c/i"], &["x:b/i", "x:b/j"]);
    let c = info(&["x:a/i"], &["x:c/i"]);
    let errors = planned(None, &[("a", &a), ("b", &b), ("c", &c)]).unwrap_err();
    let messages: Vec<_> = errors.iter().map(|e| e.message.as_str()).collect();
    assert_eq!(
        messages,
        ["components import from each other in a circle: a -> b -> c -> a"]
    );

    let c = info(&[], &["x:c/i"]);
    assert!(planned(None, &[("a", &a), ("b", &b), ("c", &c)]).is_ok());

    let entry = info(&["x:b/i"], &[]);
    let b = info(&["x:c/i"], &["x:b/i"]);
    let c = info(&["x:b/i"], &["x:c/i"]);
    refused(
        None,
        &[("entry", &entry), ("b", &b), ("c", &c)],
        "spec.components[1].component",
        &["b -> c -> b"],
    );
}

#[test]
fn every_problem_is_reported() {
    let service = info(&["a:b/c"], &[]);
    let api = info(&["a:b/d", "wasi:nn/tensor@0.2.0"], &[]);
    let errors = planned(Some(&service), &[("api", &api)]).unwrap_err();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert!(texts[0].contains("it cannot be the service") && texts[0].contains("exports nothing"));
    assert!(
        texts[1].starts_with("service: imports `a:b/c`"),
        "{}",
        texts[1]
    );
    assert!(
        texts[2].starts_with("component `api`: imports `a:b/d`"),
        "{}",
        texts[2]
    );
    assert_eq!(errors[3].importer, Importer::Component(name("api")));
}

fn checked(
    spec: &WorkloadSpec,
    components: &[(Name, &ComponentInfo)],
) -> Result<LinkPlan, Vec<LinkError>> {
    check(spec, None, components, HostInterfaces::of_this_version())
}

#[test]
fn routes_need_http() {
    let component = |name: &str, routes: Vec<v1::Route>| v1::Component {
        name: name.into(),
        component: Digest::of(b"").to_string(),
        routes,
        ..Default::default()
    };
    let components = vec![
        component("plain", vec![]),
        component("api", vec![v1::Route::default()]),
    ];
    let spec = v1::WorkloadSpec {
        components,
        ..Default::default()
    };
    let spec = WorkloadSpec::from_proto(&spec).unwrap();

    let library = info(&[], &["a:b/c"]);
    let http = info(&[], &["wasi:http/incoming-handler@0.2.3"]);
    let infos = [(name("plain"), &library), (name("api"), &http)];
    assert!(checked(&spec, &infos).is_ok());

    let infos = [(name("plain"), &http), (name("api"), &library)];
    let errors = checked(&spec, &infos).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].field(), "spec.components[1].component");
    assert!(
        errors[0].message.contains("cannot answer HTTP"),
        "{}",
        errors[0]
    );
    assert!(
        errors[0].message.contains("it exports `a:b/c`"),
        "{}",
        errors[0]
    );

    let newer = info(&[], &["wasi:http/handler@0.3.0"]);
    assert!(checked(&spec, &[infos[0].clone(), (name("api"), &newer)]).is_ok());
}

#[test]
fn reuse_needs_http_of_wasi_0_3() {
    let component = v1::Component {
        name: "api".into(),
        component: Digest::of(b"").to_string(),
        reuse: Some(v1::Reuse::default()),
        ..Default::default()
    };
    let spec = v1::WorkloadSpec {
        components: vec![component],
        ..Default::default()
    };
    let spec = WorkloadSpec::from_proto(&spec).unwrap();
    let newer = info(&[], &["wasi:http/handler@0.3.0"]);
    assert!(checked(&spec, &[(name("api"), &newer)]).is_ok());

    let older = info(&[], &["wasi:http/incoming-handler@0.2.3"]);
    let errors = checked(&spec, &[(name("api"), &older)]).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].field(), FIRST);
    assert!(
        errors[0]
            .message
            .contains("`reuse` needs `wasi:http/handler` of WASI 0.3"),
        "{}",
        errors[0]
    );
}

#[test]
fn built_components_link() -> Result<(), InspectError> {
    let packages = "
        package wasi:cli@0.2.0 { interface run { run: func() -> result; } }
        package demo:words@1.0.0 {
            interface types { record word { text: string } }
            interface count { use types.{word}; count: func(w: list<word>) -> result<u32, string>; }
        }
    ";
    let service = inspect(&build(
        packages,
        "import demo:words/count@1.0.0; export wasi:cli/run@0.2.0;",
    ))?;
    let newer = packages
        .replace("1.0.0", "1.1.0")
        .replace("use types", "extra: func(); use types");
    let library = inspect(&build(&newer, "export demo:words/count@1.1.0;"))?;
    let plan = planned(Some(&service), &[("library", &library)]).unwrap();
    assert_eq!(plan.service.len(), 1);
    assert_eq!(plan.service[0].export, "demo:words/count@1.1.0");

    let other = packages.replace("text: string", "text: char");
    let library = inspect(&build(&other, "export demo:words/count@1.0.0;"))?;
    refused(
        Some(&service),
        &[("library", &library)],
        SERVICE,
        &["record { text: char }"],
    );
    Ok(())
}
