//! Components without a manifest, as `warren dev` accepts them.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use warren_model::component::{ComponentInfo, Limits, Use};
use warren_proto::v1;

use super::{
    Attachment, Document, Problem, SERVICE_COMPONENT, component, component_field, refused,
};
use crate::args::global::Global;

/// The name of a component that is the only guest of its workload.
const COMPONENT: &str = "http";

/// The name of the service, which no component may have.
const SERVICE: &str = "service";

/// The role of a component, by its exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Service,
    /// It gets a route.
    Http,
    /// Others call it.
    Library,
}

/// Combines component files into one workload. The one that exports `wasi:cli/run` is its service,
/// those that export `wasi:http` are components with a route, and the others are components that
/// these call. The error lists every problem.
pub fn read(files: &[PathBuf], global: &Global, limits: &Limits) -> anyhow::Result<Document> {
    let mut problems = Vec::new();
    let mut parts = Vec::new();
    for file in files {
        match component::inspect(file, limits) {
            Ok((_, info)) => match role(&info, files.len() > 1) {
                Some(role) => parts.push((role, file.as_path())),
                None => problems.push(Problem::of_file(file, useless(files.len() > 1))),
            },
            Err(why) => problems.push(Problem::of_file(file, why.to_string())),
        }
    }
    let of = |wanted: Role| {
        let its = parts.iter().filter(move |(role, _)| *role == wanted);
        its.map(|(_, file)| *file)
    };
    let names = |files: &mut dyn Iterator<Item = &Path>| {
        let names: Vec<String> = files.map(|file| file.display().to_string()).collect();
        names.join(", ")
    };
    if of(Role::Service).count() > 1 {
        return Err(anyhow!(
            "a workload has at most one service, but each of these exports `wasi:cli/run`: {}; omit \
             all but one, or give each a manifest of its own",
            names(&mut of(Role::Service))
        ));
    }
    if !problems.is_empty() {
        return Err(refused(problems));
    }
    if parts.iter().all(|(role, _)| *role == Role::Library) {
        return Err(anyhow!(
            "none of {} exports `wasi:cli/run` (a service) or `wasi:http` (a component with a route): \
             add one that calls the others",
            names(&mut of(Role::Library))
        ));
    }
    let named = of(Role::Service).next().or_else(|| of(Role::Http).next());
    let name = named.map(label).unwrap_or_default();
    let (spec, attachments) = spec(&parts);
    Ok(Document {
        source: names(&mut files.iter().map(PathBuf::as_path)),
        workload: v1::Workload {
            namespace: global.namespace()?,
            name,
            spec: Some(spec),
            ..Default::default()
        },
        files: attachments,
        manifest: None,
    })
}

/// Checks for HTTP first: a program built around an HTTP handler exports `run` too, but that cannot
/// serve.
fn role(info: &ComponentInfo, several: bool) -> Option<Role> {
    if info.uses.contains(&Use::Http) {
        Some(Role::Http)
    } else if info.uses.contains(&Use::Service) {
        Some(Role::Service)
    } else {
        // On its own, nothing would call it.
        (several && info.uses.contains(&Use::Library)).then_some(Role::Library)
    }
}

fn useless(several: bool) -> String {
    let rest = match several {
        true => ", nor an interface that others can call",
        false => "; list it in a manifest together with the component that uses it",
    };
    format!(
        "it cannot run by itself: it exports neither `wasi:cli/run` (a service) nor `wasi:http` (a component with a \
         route){rest}"
    )
}

fn spec(parts: &[(Role, &Path)]) -> (v1::WorkloadSpec, Vec<Attachment>) {
    let mut spec = v1::WorkloadSpec::default();
    let mut attachments = Vec::new();
    let http = parts.iter().filter(|(role, _)| *role == Role::Http).count();
    for (role, file) in parts {
        let written = file.display().to_string();
        let field = if *role == Role::Service {
            spec.service = Some(v1::Service {
                component: written,
                ..Default::default()
            });
            SERVICE_COMPONENT.to_owned()
        } else {
            let name = match parts.len() {
                1 => COMPONENT.to_owned(),
                _ => unlike(&label(file), &spec.components),
            };
            let route = |host: String| v1::Route {
                host,
                path: "/".to_owned(),
            };
            let routes = match (role, http) {
                (Role::Http, 1) => vec![route(String::new())],
                // Only one component can have a given route.
                (Role::Http, _) => vec![route(format!("{name}.localhost"))],
                _ => Vec::new(),
            };
            spec.components.push(v1::Component {
                name,
                component: written,
                routes,
                ..Default::default()
            });
            component_field(spec.components.len() - 1)
        };
        attachments.push(Attachment {
            field,
            path: file.to_path_buf(),
        });
    }
    (spec, attachments)
}

/// Appends a number if another component has the name, because files in two directories may have
/// the same one.
fn unlike(name: &str, others: &[v1::Component]) -> String {
    let is_free = |name: &str| name != SERVICE && others.iter().all(|other| other.name != name);
    let numbered = (2..).map(|number| {
        let end = format!("-{number}");
        let start = &name[..name.len().min(LONGEST - end.len())];
        start.trim_end_matches('-').to_owned() + &end
    });
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| is_free(name)).unwrap_or_default()
}

/// The maximum length of a DNS label.
const LONGEST: usize = 63;

/// Turns the name of a file into a DNS label: `target/My_App.wasm` becomes `my-app`.
fn label(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let words: Vec<String> = stem
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let mut label = words.join("-");
    label.truncate(LONGEST);
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

    #[test]
    fn several_files_are_one_workload() {
        let parts = [
            (Role::Http, Path::new("a/api.wasm")),
            (Role::Service, Path::new("cache.wasm")),
            (Role::Library, Path::new("b/api.wasm")),
            (Role::Http, Path::new("service.wasm")),
        ];
        let (spec, files) = spec(&parts);
        assert_eq!(
            spec.service.map(|one| one.component).as_deref(),
            Some("cache.wasm")
        );
        let described: Vec<_> = spec
            .components
            .iter()
            .map(|one| {
                let hosts = one.routes.iter().map(|route| route.host.as_str());
                (
                    one.name.as_str(),
                    one.component.as_str(),
                    hosts.collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(
            described,
            [
                ("api", "a/api.wasm", vec!["api.localhost"]),
                ("api-2", "b/api.wasm", vec![]),
                ("service-2", "service.wasm", vec!["service-2.localhost"]),
            ]
        );
        let fields: Vec<&str> = files.iter().map(|file| file.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.components[0].component",
                "spec.service.component",
                "spec.components[1].component",
                "spec.components[2].component",
            ]
        );
    }

    #[test]
    fn a_single_http_component_serves_every_host() {
        let (alone, _) = spec(&[(Role::Http, Path::new("api.wasm"))]);
        assert_eq!(alone.components[0].name, COMPONENT);
        let (beside, _) = spec(&[
            (Role::Service, Path::new("cache.wasm")),
            (Role::Http, Path::new("api.wasm")),
        ]);
        assert_eq!(beside.components[0].name, "api");
        for spec in [alone, beside] {
            let [route] = spec.components[0].routes.as_slice() else {
                panic!("one route, not {:?}", spec.components[0].routes);
            };
            assert_eq!((&*route.host, &*route.path), ("", "/"));
        }
    }
}
