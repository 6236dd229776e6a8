//! A component without a manifest, as `warren dev` takes it.

use std::path::Path;

use anyhow::{anyhow, bail};
use warren_model::component::Use;
use warren_proto::v1;

use super::{Attachment, Document, SERVICE_COMPONENT, component, component_field};
use crate::args::Global;

/// The name of the only component of a workload that is nothing else.
const COMPONENT: &str = "http";

/// Makes a workload of one component file, by what it exports.
pub fn read(file: &Path, global: &Global) -> anyhow::Result<Document> {
    let source = file.display().to_string();
    let (_, info) =
        component::inspect(file).map_err(|why| anyhow!("cannot run {source}: {why}"))?;
    let written = source.clone();

    // HTTP first: what is built as a program around an HTTP handler exports `run` too, and cannot be run by it.
    let (spec, field) = if info.uses.contains(&Use::Http) {
        let http = v1::Component {
            name: COMPONENT.to_owned(),
            component: written,
            routes: vec![v1::Route {
                host: String::new(),
                path: "/".to_owned(),
            }],
            ..Default::default()
        };
        let spec = v1::WorkloadSpec {
            components: vec![http],
            ..Default::default()
        };
        (spec, component_field(0))
    } else if info.uses.contains(&Use::Service) {
        let service = v1::Service {
            component: written,
            ..Default::default()
        };
        let spec = v1::WorkloadSpec {
            service: Some(service),
            ..Default::default()
        };
        (spec, SERVICE_COMPONENT.to_owned())
    } else {
        bail!(
            "cannot run {source} by itself: it exports neither `wasi:cli/run` (a service) nor `wasi:http` \
             (a component with a route); name it in a manifest beside what uses it"
        );
    };

    Ok(Document {
        source,
        workload: v1::Workload {
            namespace: global.namespace()?,
            name: label(file),
            spec: Some(spec),
            ..Default::default()
        },
        files: vec![Attachment {
            field,
            path: file.to_path_buf(),
        }],
        manifest: None,
    })
}

/// The file's name as a DNS label: `target/My_App.wasm` becomes `my-app`.
fn label(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let words: Vec<String> = stem
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let mut label = words.join("-");
    label.truncate(63);
    match label.trim_end_matches('-') {
        "" => "workload".to_owned(),
        label => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_file_names() {
        let long = "a".repeat(80);
        for (file, name) in [
            ("cache.wasm", "cache"),
            ("target/wasm32-wasip2/release/My_App.wasm", "my-app"),
            ("hello world.v2.wasm", "hello-world-v2"),
            ("--x--.wasm", "x"),
            ("çé.wasm", "workload"),
            (&format!("{long}.wasm"), &long[..63]),
            (&format!("{}-b.wasm", &long[..62]), &long[..62]),
        ] {
            assert_eq!(label(Path::new(file)), name);
            assert!(warren_model::name::Name::parse(name).is_ok());
        }
    }
}
