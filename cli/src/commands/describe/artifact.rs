//! Describes a stored component.

use warren_model::component::ComponentInfo;
use warren_proto::v1;

use super::text::Text;
use crate::{commands::inspect, output::bytes, source};

pub fn describe(text: &mut Text, artifact: &v1::Artifact, workloads: &[v1::Workload]) {
    text.heading(&format!("Artifact {}", artifact.digest));
    let pushed = text.ago(artifact.create_time.as_ref());
    text.line(
        1,
        format!("{}, pushed {pushed}", bytes(artifact.size_bytes)),
    );
    let named: Vec<String> = workloads
        .iter()
        .flat_map(|workload| users(workload, &artifact.digest))
        .collect();
    if named.is_empty() {
        text.line(
            1,
            "no workload uses it: `warren delete artifact` removes it",
        );
    } else {
        text.heading("Used by");
        for one in named {
            text.line(1, one);
        }
    }
    if let Some(failure) = &artifact.compile_failure {
        text.heading("Cannot be compiled");
        text.line(1, &failure.message);
        let version = &failure.version;
        let line = format!(
            "tried by a worker of version {version}; a worker with higher limits will be tried"
        );
        text.line(1, line);
    }
    let info = ComponentInfo::from_proto(artifact);
    for section in inspect::alone(&info) {
        text.heading(section.title);
        for (depth, line) in section.lines {
            text.line(depth, line);
        }
    }
}

/// Formats `workload/counter as its service` for each place that names the artifact.
fn users(workload: &v1::Workload, digest: &str) -> Vec<String> {
    let title = source::title(workload);
    let Some(spec) = &workload.spec else {
        return Vec::new();
    };
    let service = spec.service.iter().filter(|one| one.component == digest);
    let service = service.map(|_| format!("{title} as its service"));
    let components = spec.components.iter().filter(|one| one.component == digest);
    let components = components.map(|one| format!("{title} as its component {}", one.name));
    service.chain(components).collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::output::Style;

    #[test]
    fn lists_the_workloads_that_use_it() {
        let artifact = v1::Artifact {
            digest: "sha256:aa".into(),
            size_bytes: 2048,
            create_time: Some(prost_types::Timestamp::default()),
            uses: vec![v1::artifact::Use::Library.into()],
            exports: vec![v1::ExternItem {
                name: "shop:cart/store".into(),
                functions: vec![v1::Function {
                    name: "open".into(),
                    signature: "func()".into(),
                    ..Default::default()
                }],
            }],
            compile_failure: Some(v1::CompileFailure {
                message: "compiling it takes more than 1GiB of memory".into(),
                version: "1.2.3".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let workload = v1::Workload {
            name: "shop".into(),
            spec: Some(v1::WorkloadSpec {
                components: vec![v1::Component {
                    name: "cart".into(),
                    component: "sha256:aa".into(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        let described = |workloads: &[v1::Workload]| {
            let mut text = Text::new(SystemTime::UNIX_EPOCH, Style::plain());
            describe(&mut text, &artifact, workloads);
            text.into_shown().as_str().to_owned()
        };
        assert_eq!(
            described(&[workload]),
            "\
Artifact sha256:aa
  2KiB, pushed 0s ago

Used by
  workload/shop as its component cart

Cannot be compiled
  compiling it takes more than 1GiB of memory
  tried by a worker of version 1.2.3; a worker with higher limits will be tried

May be used as
  not the service: it does not export `wasi:cli/run`
  not a component with routes: it does not export `wasi:http/incoming-handler` or `wasi:http/handler`
  a component that others call: it exports `shop:cart/store`

Exports
  shop:cart/store
    open: func()
"
        );
        assert!(described(&[]).contains("no workload uses it"));
    }
}
