#![allow(clippy::unwrap_used)]

use super::*;
use crate::component::Function;

mod explain;
mod workload;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn function(name: &str, signature: &str) -> Function {
    Function {
        name: name.to_owned(),
        signature: signature.to_owned(),
        unlinkable: None,
    }
}

fn item(name: &str, functions: &[Function]) -> ExternItem {
    ExternItem {
        name: name.to_owned(),
        functions: functions.to_vec(),
    }
}

/// A component whose interfaces all hold the function `f`.
fn info(imports: &[&str], exports: &[&str]) -> ComponentInfo {
    let items = |names: &[&str]| {
        names
            .iter()
            .map(|name| item(name, &[function("f", "func()")]))
            .collect::<Vec<_>>()
    };
    ComponentInfo {
        imports: items(imports),
        exports: items(exports),
        ..Default::default()
    }
}

fn service(imports: &[&str]) -> ComponentInfo {
    ComponentInfo {
        uses: [Use::Service].into(),
        ..info(imports, &["wasi:cli/run@0.2.0"])
    }
}

fn planned(
    service: Option<&ComponentInfo>,
    components: &[(&str, &ComponentInfo)],
) -> Result<LinkPlan, Vec<LinkError>> {
    let components: Vec<_> = components
        .iter()
        .map(|(n, info)| (name(n), *info))
        .collect();
    plan(service, &components)
}

#[track_caller]
fn refused(
    service: Option<&ComponentInfo>,
    components: &[(&str, &ComponentInfo)],
    field: &str,
    parts: &[&str],
) {
    let errors = planned(service, components).unwrap_err();
    let [error] = errors.as_slice() else {
        panic!("{errors:?}")
    };
    assert_eq!(error.field(), field);
    for part in parts {
        assert!(error.message.contains(part), "{part}: {error}");
    }
}

const SERVICE: &str = "spec.service.component";
const FIRST: &str = "spec.components[0].component";

#[test]
fn links_by_interface_and_track() {
    let service = service(&["a:b/c@1.1.0", "wasi:sockets/tcp@0.2.3"]);
    let api = info(&["x:y/z"], &["wasi:http/incoming-handler@0.2.0"]);
    let library = info(&[], &["a:b/c@1.4.2", "x:y/z"]);
    let plan = planned(Some(&service), &[("api", &api), ("library", &library)]).unwrap();
    let link = |import: &str, export: &str| Link {
        import: import.to_owned(),
        exporter: name("library"),
        export: export.to_owned(),
    };
    assert_eq!(
        plan,
        LinkPlan {
            service: vec![link("a:b/c@1.1.0", "a:b/c@1.4.2")],
            components: vec![
                (name("api"), vec![link("x:y/z", "x:y/z")]),
                (name("library"), vec![])
            ],
        }
    );
    assert_eq!(planned(None, &[]), Ok(LinkPlan::default()));
}

#[test]
fn of_several_versions_on_a_track_the_highest_is_linked() {
    let service = service(&["a:b/c@1.0.0"]);
    let library = info(
        &[],
        &["a:b/c@1.0.0", "a:b/c@1.3.0", "a:b/c@1.2.0", "a:b/c@2.0.0"],
    );
    let plan = planned(Some(&service), &[("library", &library)]).unwrap();
    assert_eq!(plan.service[0].export, "a:b/c@1.3.0");
}

#[test]
fn what_an_importer_exports_itself_is_not_its_link() {
    let proxy = info(&["a:b/c@1.0.0"], &["a:b/c@1.0.0"]);
    let library = info(&[], &["a:b/c@1.0.0"]);
    let plan = planned(None, &[("proxy", &proxy), ("library", &library)]).unwrap();
    assert_eq!(plan.components[0].1[0].exporter, name("library"));
    refused(None, &[("proxy", &proxy)], FIRST, &["no other component"]);
}

#[test]
fn interfaces_of_types_alone_need_no_link() {
    let types = ComponentInfo {
        imports: vec![item("a:b/types@1.0.0", &[])],
        ..Default::default()
    };
    assert_eq!(
        planned(None, &[("api", &types)]).unwrap().components[0].1,
        []
    );
}

#[test]
fn missing_links_name_what_is_near() {
    let service = service(&["demo:words/count@1.0.0"]);
    let with = |exports: &[&str]| info(&[], exports);
    refused(
        Some(&service),
        &[],
        SERVICE,
        &["`demo:words/count@1.0.0`", "add a component"],
    );
    refused(
        Some(&service),
        &[
            ("a", &with(&["demo:words/counts@1.0.0"])),
            ("b", &with(&["other:thing/x"])),
        ],
        SERVICE,
        &["did you mean `demo:words/counts@1.0.0` of `a`?"],
    );
    refused(
        Some(&service),
        &[
            ("a", &with(&["demo:words/count@2.0.0"])),
            ("b", &with(&["demo:words/count"])),
        ],
        SERVICE,
        &[
            "`a` exports the incompatible `demo:words/count@2.0.0`",
            "`b` exports",
        ],
    );
    refused(
        Some(&service),
        &[("a", &with(&["wasi:http/handler@0.3.0"]))],
        SERVICE,
        &["add a component"],
    );
}

#[test]
fn components_never_import_from_the_service() {
    let service = ComponentInfo {
        uses: [Use::Service].into(),
        ..info(&[], &["a:b/c@1.2.0", "wasi:cli/run@0.2.0"])
    };
    let api = info(&["a:b/c@1.0.0"], &[]);
    refused(
        Some(&service),
        &[("api", &api)],
        FIRST,
        &["only the service does", "ports"],
    );
}

#[test]
fn ambiguous_links_name_every_candidate() {
    let service = service(&["a:b/c@1.0.0"]);
    let library = info(&[], &["a:b/c@1.0.0"]);
    refused(
        Some(&service),
        &[("one", &library), ("two", &library)],
        SERVICE,
        &["more than one", "`one`, `two`"],
    );
}

#[test]
fn functions_must_agree() {
    let service = service(&["a:b/c@1.0.0"]);
    let exporter = |functions: &[Function]| ComponentInfo {
        exports: vec![item("a:b/c@1.1.0", functions)],
        ..Default::default()
    };
    refused(
        Some(&service),
        &[("a", &exporter(&[function("g", "func()")]))],
        SERVICE,
        &["`a` exports it as `a:b/c@1.1.0` without the function `f`"],
    );
    refused(
        Some(&service),
        &[("a", &exporter(&[function("f", "func() -> u8")]))],
        SERVICE,
        &["`f: func()`", "`f: func() -> u8`", "same WIT"],
    );
    let more = [function("g", "func()"), function("f", "func()")];
    assert!(planned(Some(&service), &[("a", &exporter(&more))]).is_ok());
}

#[test]
fn unlinkable_functions_are_named_with_the_reason() {
    let open = Function {
        unlinkable: Some("it passes a resource".into()),
        ..function("open", "func() -> file")
    };
    let fine = function("fine", "func()");
    let files = [item("a:b/files@1.0.0", &[open, fine])];
    let api = ComponentInfo {
        imports: files.to_vec(),
        ..Default::default()
    };
    let library = ComponentInfo {
        exports: files.to_vec(),
        ..Default::default()
    };
    refused(
        None,
        &[("api", &api), ("library", &library)],
        FIRST,
        &[
            "`a:b/files@1.0.0`",
            "`open` cannot be linked: it passes a resource",
        ],
    );
}

#[test]
fn only_interfaces_of_packages_are_linked() {
    let api = info(&["log"], &[]);
    let other = info(&[], &["log"]);
    refused(
        None,
        &[("api", &api), ("other", &other)],
        FIRST,
        &["`log`", "namespace:package/interface"],
    );
}

#[test]
fn wasi_is_linked_where_workers_provide_it() {
    for (import, provided) in [
        ("wasi:io/streams@0.2.0", true),
        ("wasi:http/types@0.2.12", true),
        ("wasi:sockets/types@0.3.0", true),
        ("wasi:cli/run@0.3.2", true),
        ("wasi:http/client@0.3.0", true),
        ("wasi:io/poll@0.3.0", false),
        ("wasi:keyvalue/store@0.2.0", false),
        ("wasi:http/types@0.3.0-rc-2025-09-16", false),
        ("wasi:http/types@1.0.0", false),
        ("wasi:http/types", false),
    ] {
        let service = service(&[import]);
        let result = planned(Some(&service), &[("all", &info(&[], &[import]))]);
        assert_eq!(result.is_ok(), provided, "{import}: {result:?}");
        if let Err(errors) = result {
            assert!(errors[0].message.contains(import), "{}", errors[0]);
            assert!(errors[0].message.contains("wasi:{cli, "), "{}", errors[0]);
        }
    }
}
