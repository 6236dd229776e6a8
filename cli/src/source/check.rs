//! Checks documents before they are applied: whether their files are components, whether these
//! link, and whether two documents claim the same route. The server checks all of it again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use warren_model::{
    component::{ComponentInfo, Limits},
    digest::Digest,
    link::{self, HostInterfaces},
    name::WorkloadId,
    route::Route,
    spec::{ValidWorkload, WorkloadSpec, validate_workload},
};
use warren_proto::v1;

use super::{
    Document, Problem,
    component::{self, FileError},
};

/// The components that are known so far.
#[derive(Debug)]
pub struct Checker {
    limits: Limits,
    /// Whether a server will inspect files that exceed the limits here, because its own limits may
    /// differ.
    server_decides: bool,
    files: BTreeMap<PathBuf, Found>,
    known: BTreeMap<Digest, ComponentInfo>,
}

/// What a file contains.
#[derive(Debug)]
enum Found {
    Component(Digest),
    /// It may be a component, depending on the limits of the server.
    Unknown,
    Useless(String),
}

/// Checks documents without a server, as far as that is possible.
pub fn check(documents: &[Document], limits: &Limits) -> Vec<Problem> {
    let mut checker = Checker::new(limits.clone(), false);
    let mut problems = checker.files(documents);
    problems.extend(checker.links(documents));
    problems.extend(contested(documents));
    problems.sort();
    problems
}

// === impl Checker ===

impl Checker {
    /// Returns a checker for documents that a server also checks, with limits of its own.
    pub fn for_server() -> Self {
        Self::new(Limits::default(), true)
    }

    fn new(limits: Limits, server_decides: bool) -> Self {
        Self {
            limits,
            server_decides,
            files: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// Inspects each file once.
    pub fn files(&mut self, documents: &[Document]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for document in documents {
            for file in &document.files {
                let found =
                    self.files.entry(file.path.clone()).or_insert_with(
                        || match component::inspect(&file.path, &self.limits) {
                            Ok((digest, info)) => {
                                self.known.insert(digest, info);
                                Found::Component(digest)
                            }
                            Err(FileError::Inspect(why))
                                if self.server_decides && why.is_limit() =>
                            {
                                Found::Unknown
                            }
                            Err(why) => Found::Useless(why.to_string()),
                        },
                    );
                if let Found::Useless(why) = found {
                    let problem = format!("{}: {why}", file.path.display());
                    problems.push(document.problem(&file.field, &problem));
                }
            }
        }
        problems
    }

    /// Returns the artifacts that documents name by digest and about which nothing is known, with
    /// the fields that name them.
    pub fn unknown<'d>(
        &self,
        documents: &'d [Document],
    ) -> BTreeMap<Digest, Vec<(&'d Document, String)>> {
        let mut unknown: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for document in documents {
            for (field, component) in document.components() {
                if let Ok(digest) = Digest::parse(component)
                    && !self.known.contains_key(&digest)
                {
                    unknown.entry(digest).or_default().push((document, field));
                }
            }
        }
        unknown
    }

    /// Records the artifact that a server has under a digest.
    pub fn learn(&mut self, digest: Digest, artifact: &v1::Artifact) {
        self.known
            .insert(digest, ComponentInfo::from_proto(artifact));
    }

    /// Checks that every import has an export, in those documents whose components are all known.
    pub fn links(&self, documents: &[Document]) -> Vec<Problem> {
        let each = documents.iter();
        each.flat_map(|document| self.document_links(document))
            .collect()
    }

    fn document_links(&self, document: &Document) -> Vec<Problem> {
        let digests: Option<Vec<String>> = document
            .files
            .iter()
            .map(|file| match self.files.get(&file.path)? {
                Found::Component(digest) => Some(digest.to_string()),
                Found::Unknown | Found::Useless(_) => None,
            })
            .collect();
        let Some(digests) = digests else {
            return Vec::new();
        };
        let spec = document.with_digests(&digests).spec.unwrap_or_default();
        let spec = match WorkloadSpec::from_proto(&spec) {
            Ok(spec) => spec,
            Err(violations) => {
                let each = violations.0.iter();
                return each
                    .map(|one| document.problem(&one.field, &one.message))
                    .collect();
            }
        };
        let service = spec.service.as_ref();
        let service = service.map(|service| self.known.get(&service.component));
        let components: Option<Vec<_>> = spec
            .components
            .iter()
            .map(|one| Some((one.name.clone(), self.known.get(&one.component)?)))
            .collect();
        let (None | Some(Some(_)), Some(components)) = (service, components) else {
            return Vec::new();
        };
        let provided = HostInterfaces::of_this_version();
        match link::check(&spec, service.flatten(), &components, provided) {
            Ok(_) => Vec::new(),
            Err(errors) => errors
                .iter()
                .map(|error| document.problem(&error.field(), &error.to_string()))
                .collect(),
        }
    }
}

/// Finds routes that two of the documents claim. A route belongs to one workload in the whole
/// fleet.
pub fn contested(documents: &[Document]) -> Vec<Problem> {
    let mut holders: Vec<(Route, &Document)> = Vec::new();
    let mut problems = Vec::new();
    for document in documents {
        for (field, route) in document.routes() {
            match holders.iter().find(|(held, _)| *held == route) {
                // Duplicate routes within one workload are reported where it is validated.
                Some((_, holder)) if holder.title() == document.title() => {}
                Some((_, holder)) => problems.push(document.problem(
                    &field,
                    &format!(
                        "route {route} is claimed by {} in {} too: choose another for one of them",
                        holder.title(),
                        holder.source
                    ),
                )),
                None => holders.push((route, document)),
            }
        }
    }
    problems
}

/// Finds routes that workloads outside the documents hold.
pub fn held_elsewhere(documents: &[Document], stored: &[v1::Workload]) -> Vec<Problem> {
    let ours: BTreeSet<(&str, &str)> = documents.iter().map(Document::key).collect();
    let held: Vec<(Route, WorkloadId)> = stored
        .iter()
        .filter(|workload| !ours.contains(&(&*workload.namespace, &*workload.name)))
        .filter_map(|workload| validate_workload(workload).ok())
        .flat_map(|ValidWorkload { id, spec, .. }| {
            let routes = routes(&spec).into_iter();
            routes.map(move |(_, route)| (route, id.clone()))
        })
        .collect();
    let mut problems = Vec::new();
    for document in documents {
        for (field, route) in document.routes() {
            if let Some((_, holder)) = held.iter().find(|(held, _)| *held == route) {
                problems.push(document.problem(
                    &field,
                    &format!(
                        "route {route} belongs to workload `{holder}`: choose another, or delete that one"
                    ),
                ));
            }
        }
    }
    problems
}

/// Returns every route of a spec with its field.
pub(super) fn routes(spec: &WorkloadSpec) -> Vec<(String, Route)> {
    let service = spec.service.iter().flat_map(|service| {
        let each = service.routes.iter().enumerate();
        each.map(|(j, one)| (format!("spec.service.routes[{j}]"), one.route.clone()))
    });
    let components = spec.components.iter().enumerate().flat_map(|(i, one)| {
        let each = one.routes.iter().enumerate();
        each.map(move |(j, route)| (format!("spec.components[{i}].routes[{j}]"), route.clone()))
    });
    service.chain(components).collect()
}
