//! What the worker provides.

use warren_proto::v1;

use super::*;

fn provided_with(more: &[&str]) -> HostInterfaces {
    let mut provided = HostInterfaces::clone(HostInterfaces::of_this_version());
    provided.extend(&HostInterfaces::named(more));
    provided
}

fn stated(names: &[&str]) -> Vec<v1::HostInterface> {
    let state = |name: &&str| v1::HostInterface {
        name: (*name).to_owned(),
        needs_binding: false,
    };
    names.iter().map(state).collect()
}

/// The interfaces that a component which imports this needs, or why it is refused.
fn needed(import: ExternItem, provided: &HostInterfaces) -> Result<Vec<String>, String> {
    let importer = ComponentInfo {
        imports: vec![import],
        ..Default::default()
    };
    match plan(None, &[(name("it"), &importer)], provided) {
        Ok(plan) => Ok(plan.interfaces.names().collect()),
        Err(errors) => Err(errors[0].message.clone()),
    }
}

#[test]
fn a_plan_needs_the_least_version_that_has_every_imported_function() {
    let this_version = HostInterfaces::of_this_version();
    for (import, least) in [
        ("wasi:http/types@0.2.3", "wasi:http/types@0.2.3"),
        ("wasi:http/types@0.2.12", "wasi:http/types@0.2.12"),
        // Nothing that is newer than the table is imported of it.
        ("wasi:http/types@0.2.99", "wasi:http/types@0.2.12"),
        ("wasi:http/types@0.3.1", "wasi:http/types@0.3.0"),
    ] {
        let needed = needed(item(import, &[]), this_version);
        assert_eq!(needed, Ok(vec![least.to_owned()]), "{import}");
    }
}

#[test]
fn what_a_later_worker_states_is_known_by_version() {
    let get = function("get", "func()");
    let provided = provided_with(&["wasi:later/store@0.2.5", "wasi:http/types@0.2.20"]);
    for (import, functions, needs) in [
        ("wasi:later/store@0.2.1", vec![get.clone()], true),
        ("wasi:later/store@0.2.5", vec![get.clone()], true),
        ("wasi:later/store@0.2.6", vec![get.clone()], false),
        ("wasi:later/store@0.3.0", vec![get.clone()], false),
        ("wasi:later/other@0.2.1", vec![get.clone()], false),
        ("wasi:http/types@0.2.13", vec![get.clone()], true),
        ("wasi:http/types@0.2.21", vec![get.clone()], false),
        // This version has the interface in this version, and without the function.
        ("wasi:http/types@0.2.12", vec![get.clone()], false),
    ] {
        let expected = needs.then(|| vec![import.to_owned()]);
        let needed = needed(item(import, &functions), &provided);
        assert_eq!(needed.clone().ok(), expected, "{import}: {needed:?}");
    }
    let refused = needed(item("wasi:later/store@0.3.0", &[get]), &provided).unwrap_err();
    let packages = "wasi:{cli, clocks, filesystem, http, io, random, sockets}@0.2.12";
    let drafts = "they provide wasi:logging@0.1.0-draft, \
        wasi:config@0.2.0-draft-2024-09-27, wasi:config@0.2.0-rc.1, wasi:later@0.2.5, ";
    assert!(refused.contains(drafts), "{refused}");
    assert!(refused.contains(packages), "{refused}");
    // A draft of which no version was released has no better one to offer.
    let refused = needed(item("wasi:config/store@0.2.0-rc.2", &[]), &provided).unwrap_err();
    assert!(refused.contains("wasi:config@0.2.0-rc.1") && !refused.contains("a pre-release"));
}

#[test]
fn outside_wasi_a_component_comes_before_the_worker() {
    let resource = Function {
        unlinkable: Some("it is a resource".into()),
        ..function("client", "resource")
    };
    let import = item("wasmcloud:messaging/consumer@0.2.0", &[resource]);
    let provided = provided_with(&["wasmcloud:messaging/consumer@0.2.0"]);
    let by_worker = needed(import.clone(), &provided);
    assert_eq!(by_worker, Ok(vec![import.name.clone()]));
    let refused = needed(import, HostInterfaces::of_this_version()).unwrap_err();
    assert!(refused.contains("wasmCloud's host"), "{refused}");

    let api = info(&["wasmcloud:messaging/consumer@0.2.0"], &[]);
    let own = info(&[], &["wasmcloud:messaging/consumer@0.2.0"]);
    let both = [(name("api"), &api), (name("own"), &own)];
    let plan = plan(None, &both, &provided).unwrap();
    assert!(plan.interfaces.is_empty());
    assert_eq!(plan.components[0].1[0].exporter, name("own"));
}

#[test]
fn a_worker_lacks_what_is_of_another_track_or_a_later_version() {
    let provided = HostInterfaces::named(["wasi:config/store@0.2.4", "wasi:http/types@0.3.0"]);
    for (needed, lacks) in [
        ("wasi:config/store@0.2.0", false),
        ("wasi:config/store@0.2.4", false),
        ("wasi:config/store@0.2.5", true),
        ("wasi:config/store@0.1.0", true),
        ("wasi:config/store@0.2.4-rc.1", true),
        ("wasi:config/types@0.2.0", true),
        ("wasi:http/types@0.2.0", true),
    ] {
        let needed = HostInterfaces::named([needed]);
        assert_eq!(provided.lacks(&needed).is_some(), lacks, "{needed}");
    }
}

#[test]
fn a_worker_that_states_nothing_provides_what_did_its_version() {
    let unstated = HostInterfaces::stated(&[]);
    for (needed, lacks) in [
        ("wasi:cli/environment@0.2.12", false),
        ("wasi:sockets/types@0.3.0", false),
        ("wasi:cli/environment@0.2.13", true),
        ("wasi:config/store@0.2.0-rc.1", true),
        ("wasi:logging/logging@0.1.0-draft", true),
    ] {
        let needed = HostInterfaces::named([needed]);
        assert_eq!(unstated.lacks(&needed).is_some(), lacks, "{needed}");
    }
    let one = HostInterfaces::stated(&stated(&["wasi:cli/exit@0.2.12", "not one", "a:b/c"]));
    assert_eq!(*one, HostInterfaces::named(["wasi:cli/exit@0.2.12"]));
}

#[test]
fn workers_of_one_version_share_one_list() {
    let own = crate::component::provided().iter();
    let own: Vec<_> = own.map(crate::component::Provided::to_proto).collect();
    let read = HostInterfaces::stated(&own);
    assert!(std::sync::Arc::ptr_eq(
        &read,
        HostInterfaces::of_this_version()
    ));
}
