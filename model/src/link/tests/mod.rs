#![allow(clippy::unwrap_used)]

use super::*;
use crate::component::{ExternItem, Function};

mod explain;
mod functions;
mod host;
mod proto;
mod wasi;
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

/// A component whose interfaces all hold the function `f`. Those of WASI are as inspection leaves
/// them: without what workers provide.
fn info(imports: &[&str], exports: &[&str]) -> ComponentInfo {
    let items = |names: &[&str]| {
        let functions = |name: &str| match name.starts_with("wasi:") {
            true => vec![],
            false => vec![function("f", "func()")],
        };
        let items = names.iter().map(|name| item(name, &functions(name)));
        items.collect::<Vec<_>>()
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
    plan(service, &components, HostInterfaces::of_this_version())
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
            interfaces: HostInterfaces::named(["wasi:sockets/tcp@0.2.3"]),
        }
    );
    assert_eq!(planned(None, &[]), Ok(LinkPlan::default()));
}

/// Every order of a few items.
fn orders<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let each = (0..items.len()).flat_map(|first| {
        let mut rest = items.to_vec();
        let first = rest.remove(first);
        let rests = orders(&rest).into_iter();
        rests.map(move |rest| [vec![first.clone()], rest].concat())
    });
    each.collect()
}

#[test]
fn the_highest_version_on_the_track_that_fits_is_linked_wherever_it_stands() {
    let (f, g) = (function("f", "func()"), function("g", "func()"));
    let other_f = function("f", "func() -> u8");
    let versions = [
        item("a:b/c@1.0.0", std::slice::from_ref(&f)),
        item("a:b/c@1.1.0", &[f.clone(), g.clone()]),
        item("a:b/c@1.2.0-rc.1", &[f.clone(), g.clone()]),
        item("a:b/c@1.2.0", &[other_f, g.clone()]),
        item("a:b/c@2.0.0", &[f.clone(), g.clone()]),
        item("a:b/c", &[f.clone(), g.clone()]),
    ];
    let importer = |import: ExternItem| ComponentInfo {
        imports: vec![import],
        ..Default::default()
    };
    for exports in orders(&versions) {
        let library = ComponentInfo {
            exports,
            ..Default::default()
        };
        let taken = |import: &str, functions: &[Function]| {
            let importer = importer(item(import, functions));
            let plan = planned(None, &[("it", &importer), ("library", &library)]).unwrap();
            plan.components[0].1[0].export.clone()
        };
        assert_eq!(
            taken("a:b/c@1.0.0", std::slice::from_ref(&f)),
            "a:b/c@1.1.0"
        );
        assert_eq!(
            taken("a:b/c@1.1.0", std::slice::from_ref(&g)),
            "a:b/c@1.2.0"
        );
        assert_eq!(
            taken("a:b/c@1.7.0", std::slice::from_ref(&g)),
            "a:b/c@1.2.0"
        );
        assert_eq!(
            taken("a:b/c@1.2.0-rc.1", std::slice::from_ref(&f)),
            "a:b/c@1.2.0-rc.1"
        );
        assert_eq!(taken("a:b/c", std::slice::from_ref(&f)), "a:b/c");
        assert_eq!(
            taken("a:b/c@2.3.0", std::slice::from_ref(&f)),
            "a:b/c@2.0.0"
        );
        // The highest is what a message speaks of where none fits.
        let wants_h = importer(item("a:b/c@1.0.0", &[function("h", "func()")]));
        let errors = planned(None, &[("it", &wants_h), ("library", &library)]).unwrap_err();
        assert_eq!(errors.len(), 1);
        let message = &errors[0].message;
        assert!(
            message.contains("exports it as `a:b/c@1.2.0` without the function `h`"),
            "{message}"
        );
    }
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
fn only_components_that_could_answer_are_candidates() {
    let g = function("g", "func()");
    let wants_g = ComponentInfo {
        imports: vec![item("a:b/c@1.1.0", std::slice::from_ref(&g))],
        ..Default::default()
    };
    let older = info(&[], &["a:b/c@1.0.0"]);
    let newer = ComponentInfo {
        exports: vec![item("a:b/c@1.0.0", &[]), item("a:b/c@1.1.0", &[g])],
        ..Default::default()
    };
    for [first, second] in [
        [("old", &older), ("new", &newer)],
        [("new", &newer), ("old", &older)],
    ] {
        let plan = planned(None, &[("it", &wants_g), first, second]).unwrap();
        let [link] = &plan.components[0].1[..] else {
            panic!("{plan:?}");
        };
        assert_eq!(
            (link.exporter.as_str(), link.export.as_str()),
            ("new", "a:b/c@1.1.0")
        );
        refused(
            None,
            &[("it", &wants_g), first, second, ("newest", &newer)],
            FIRST,
            &["more than one component exports: ", "`new`, ", "`newest`"],
        );
    }
}

#[test]
fn exports_of_no_package_answer_nothing() {
    let importer = info(&["a:b/exports"], &[]);
    let python = info(&[], &["exports"]);
    refused(
        None,
        &[("it", &importer), ("py", &python)],
        FIRST,
        &["no other component"],
    );
    let nameless = ComponentInfo {
        imports: vec![item("exports", &[])],
        ..Default::default()
    };
    assert!(planned(None, &[("it", &nameless), ("py", &python)]).is_ok());
}

#[test]
fn components_are_ordered_after_those_that_they_import_from() {
    let a = info(&["x:c/i", "x:b/i"], &[]);
    let b = info(&["x:c/i"], &["x:b/i"]);
    let c = info(&[], &["x:c/i"]);
    let plan = planned(None, &[("a", &a), ("b", &b), ("c", &c)]).unwrap();
    assert_eq!(plan.order(), [2, 1, 0]);
    let plan = planned(None, &[("c", &c), ("a", &a), ("b", &b)]).unwrap();
    assert_eq!(plan.order(), [0, 2, 1]);
}

#[test]
fn what_another_host_provides_is_not_asked_of_a_component() {
    let api = info(&["wasmcloud:messaging/consumer@0.2.0"], &[]);
    let errors = planned(None, &[("api", &api)]).unwrap_err();
    let [error] = errors.as_slice() else {
        panic!("{errors:?}");
    };
    assert!(error.message.contains("wasmCloud's host"), "{error}");
    assert!(!error.message.contains("add a component"), "{error}");
    // A component of one's own may stand in.
    let own = info(&[], &["wasmcloud:messaging/consumer@0.2.0"]);
    assert!(planned(None, &[("api", &api), ("own", &own)]).is_ok());
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
fn workloads_as_large_as_they_may_be_are_linked_at_once() {
    let began = std::time::Instant::now();
    let interfaces = |of: usize| -> Vec<String> {
        let names = (0..1_000).map(|i| format!("made:p{of}/i{i}@1.0.0"));
        names.collect()
    };
    let all: Vec<ComponentInfo> = (0..30)
        .map(|of| {
            let imports = if of == 0 {
                Vec::new()
            } else {
                interfaces(of - 1)
            };
            let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
            let exports = interfaces(of);
            let exports: Vec<&str> = exports.iter().map(String::as_str).collect();
            info(&imports, &exports)
        })
        .collect();
    let names: Vec<String> = (0..30).map(|of| format!("c{of}")).collect();
    let components: Vec<_> = names.iter().map(String::as_str).zip(&all).collect();
    let plan = planned(None, &components).unwrap();
    assert!(
        plan.components[1..]
            .iter()
            .all(|(_, links)| links.len() == 1_000)
    );

    // One interface of as many functions as a description holds.
    let functions: Vec<Function> = (0..60_000)
        .map(|i| function(&format!("f{i}"), "func()"))
        .collect();
    let wide = |import: bool| {
        let items = vec![item("made:p/i@1.0.0", &functions)];
        match import {
            true => ComponentInfo {
                imports: items,
                ..Default::default()
            },
            false => ComponentInfo {
                exports: items,
                ..Default::default()
            },
        }
    };
    let plan = planned(None, &[("a", &wide(true)), ("b", &wide(false))]).unwrap();
    assert_eq!(plan.components[0].1.len(), 1);
    assert!(
        began.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn of_many_mistakes_the_first_are_reported() {
    let interfaces: Vec<String> = (0..1_000).map(|i| format!("made:p/i{i}@1.0.0")).collect();
    let names: Vec<&str> = interfaces.iter().map(String::as_str).collect();
    let errors = planned(
        None,
        &[("a", &info(&names, &[])), ("b", &info(&names, &[]))],
    )
    .unwrap_err();
    assert_eq!(errors.len(), 100);
    assert!(
        errors[0].message.contains("`made:p/i0@1.0.0`"),
        "{}",
        errors[0]
    );
}
