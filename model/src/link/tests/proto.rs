//! A plan that is stored, and read again.

use warren_proto::v1;

use super::*;
use crate::digest::Digest;

fn spec() -> WorkloadSpec {
    let digest = || Digest::of(b"").to_string();
    let component = |name: &str| v1::Component {
        name: name.into(),
        component: digest(),
        ..Default::default()
    };
    let spec = v1::WorkloadSpec {
        service: Some(v1::Service {
            component: digest(),
            ..Default::default()
        }),
        components: vec![component("api"), component("library")],
        ..Default::default()
    };
    WorkloadSpec::from_proto(&spec).unwrap()
}

#[test]
fn a_plan_is_read_as_it_was_written() {
    let service = service(&["a:b/c@1.1.0", "wasi:sockets/tcp@0.2.3"]);
    let api = info(&["x:y/z", "wasi:http/types@0.3.0"], &[]);
    let library = info(&[], &["a:b/c@1.4.2", "x:y/z"]);
    let plan = planned(Some(&service), &[("api", &api), ("library", &library)]).unwrap();
    let written = plan.to_proto();
    let importers: Vec<_> = written.links.iter().map(|link| &*link.importer).collect();
    assert_eq!(importers, ["service", "api"]);
    assert_eq!(
        written.interfaces,
        ["wasi:http/types@0.3.0", "wasi:sockets/tcp@0.2.3"]
    );
    assert_eq!(LinkPlan::from_proto(&written, &spec()), Ok(plan));
}

#[test]
fn a_plan_of_other_guests_is_refused_by_field() {
    let link = |importer: &str, exporter: &str| v1::Link {
        importer: importer.into(),
        import: "a:b/c".into(),
        exporter: exporter.into(),
        export: "a:b/c".into(),
    };
    let plan = v1::LinkPlan {
        links: vec![
            link("service", "library"),
            link("api", "service"),
            link("other", "api"),
        ],
        interfaces: vec![],
    };
    let violations = LinkPlan::from_proto(&plan, &spec()).unwrap_err();
    let fields: Vec<_> = violations.0.iter().map(|one| &*one.field).collect();
    assert_eq!(
        fields,
        ["link_plan.links[1].exporter", "link_plan.links[2].importer"]
    );
}
