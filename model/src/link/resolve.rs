//! Finds what answers an import.

use std::collections::HashMap;

use super::{HostInterfaces, Link, LinkError, Site, host, names};
use crate::{
    component::{ComponentInfo, ExternItem, Function, InterfaceName},
    name::Name,
};

/// The least similarity of a name and its misspelling, from 0 to 1.
const SIMILAR: f64 = 0.8;

/// The most errors of one workload that are looked for.
const MOST_ERRORS: usize = 100;

/// The most exports that an import which nothing answers is compared with, in search of a typing
/// mistake.
const MOST_COMPARED: usize = 1_000;

/// The most exports of other versions that a message names.
const MOST_NAMED: usize = 10;

/// The part of the system that answers an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The worker, which must provide this interface in at least this version.
    Worker(InterfaceName),
    /// Nothing has to: it is types alone, which both sides describe themselves.
    NotNeeded,
    /// One of the other components.
    Linked(Link),
}

/// Everything that may answer the imports of one guest.
#[derive(Clone, Copy)]
pub(super) struct Resolver<'e, 'a> {
    /// The workload's service, which answers nothing: it makes a message clearer.
    pub service: Option<&'e ComponentInfo>,
    pub exporters: Exporters<'e, 'a>,
    pub provided: &'e HostInterfaces,
}

/// Every interface that components export, with the names read once for all imports.
pub(super) struct Exports<'a> {
    all: Vec<(InterfaceName, Export<'a>)>,
    /// Positions in `all` by the interface without its version, ascending.
    by_interface: HashMap<InterfaceName, Vec<usize>>,
}

/// The exports that one importer may use.
#[derive(Clone, Copy)]
pub(super) struct Exporters<'e, 'a> {
    exports: &'e Exports<'a>,
    /// The position of the importer itself, whose exports do not count.
    except: Option<usize>,
}

/// One interface that one component exports.
#[derive(Clone, Copy)]
struct Export<'a> {
    position: usize,
    component: &'a Name,
    item: &'a ExternItem,
}

// === impl Resolver ===

impl<'a> Resolver<'_, 'a> {
    /// Returns the links of one importer, and adds to `interfaces` what its worker must provide.
    /// What cannot be linked is added to `errors`, which hold [`MOST_ERRORS`] at most: a person
    /// reads no more, and each takes a search for what was meant.
    pub fn of(
        self,
        importer: &Site<'_>,
        interfaces: &mut HostInterfaces,
        errors: &mut Vec<LinkError>,
    ) -> Vec<Link> {
        let mut links = Vec::new();
        for import in &importer.info.imports {
            if errors.len() >= MOST_ERRORS {
                break;
            }
            match self.answer(import) {
                Ok(Answer::Linked(link)) => links.push(link),
                Ok(Answer::Worker(needed)) => interfaces.insert(needed),
                Ok(Answer::NotNeeded) => {}
                Err(message) => errors.push(importer.error(message)),
            }
        }
        links
    }

    /// Returns what answers an import: of each component the highest version on the import's track
    /// that has every function of the import with its type, wherever it is in the binary. More than
    /// one component that has such an export is a mistake.
    ///
    /// The worker alone answers imports of `wasi`. It answers others that no component exports.
    pub fn answer(self, import: &ExternItem) -> Result<Answer, String> {
        let name = &import.name;
        let parsed: Option<InterfaceName> = name.parse().ok();
        if let Some(wanted) = parsed.as_ref().filter(|parsed| parsed.namespace == "wasi") {
            return self.provided.answer(wanted, import).map(Answer::Worker);
        }
        if import.functions.is_empty() {
            return Ok(Answer::NotNeeded);
        }
        let Some(wanted) = parsed else {
            return Err(format!(
                "imports `{name}`, which is not an interface of a package: only interfaces with names like `namespace:package/interface` can be linked"
            ));
        };
        let candidates = self.candidates(&wanted);
        if candidates.is_empty()
            && let Ok(needed) = self.provided.answer(&wanted, import)
        {
            return Ok(Answer::Worker(needed));
        }
        if let Some(why) = unlinkable(import) {
            return Err(why);
        }
        let fitting: Vec<_> = candidates
            .iter()
            .filter_map(|versions| versions.iter().find(|export| export.fits(import)))
            .collect();
        match fitting.as_slice() {
            [export] => Ok(Answer::Linked(Link {
                import: name.clone(),
                exporter: export.component.clone(),
                export: export.item.name.clone(),
            })),
            [] => Err(
                match candidates.iter().find_map(|versions| versions.first()) {
                    Some(export) => export.disagreement(import),
                    None => missing(&wanted, self.exporters, self.service),
                },
            ),
            several => {
                let components = several
                    .iter()
                    .map(|export| format!("`{}`", export.component));
                let components: Vec<_> = components.collect();
                Err(format!(
                    "imports `{name}`, which more than one component exports: {}; leave all but one out",
                    components.join(", ")
                ))
            }
        }
    }

    /// Returns the exports on an import's track: for each component its versions, the highest
    /// first.
    fn candidates(self, wanted: &InterfaceName) -> Vec<Vec<Export<'a>>> {
        let on_track: Vec<_> = self
            .exporters
            .of(wanted)
            .filter(|(name, _)| name.links_with(wanted))
            .collect();
        on_track
            .chunk_by(|(_, a), (_, b)| a.position == b.position)
            .map(|versions| {
                let mut versions = versions.to_vec();
                versions.sort_by(|(a, _), (b, _)| b.version.cmp(&a.version));
                versions.into_iter().map(|(_, export)| *export).collect()
            })
            .collect()
    }
}

// === impl Exports ===

impl<'a> Exports<'a> {
    pub fn new(components: &'a [(Name, &'a ComponentInfo)]) -> Self {
        let mut exports = Self {
            all: Vec::new(),
            by_interface: HashMap::new(),
        };
        for (position, (component, info)) in components.iter().enumerate() {
            for item in &info.exports {
                // An export of no package, such as the `exports` of some toolchains, cannot be
                // imported.
                let Ok(name) = item.name.parse::<InterfaceName>() else {
                    continue;
                };
                let same = exports.by_interface.entry(name.unversioned()).or_default();
                same.push(exports.all.len());
                let export = Export {
                    position,
                    component,
                    item,
                };
                exports.all.push((name, export));
            }
        }
        exports
    }

    pub fn all(&self) -> Exporters<'_, 'a> {
        Exporters {
            exports: self,
            except: None,
        }
    }

    /// Returns all but those of the component at this position.
    pub fn except(&self, position: usize) -> Exporters<'_, 'a> {
        Exporters {
            exports: self,
            except: Some(position),
        }
    }
}

// === impl Exporters ===

impl<'e, 'a> Exporters<'e, 'a> {
    fn iter(self) -> impl Iterator<Item = &'e (InterfaceName, Export<'a>)> {
        let all = self.exports.all.iter();
        all.filter(move |(_, export)| Some(export.position) != self.except)
    }

    /// Returns those of an interface, in any version.
    fn of(self, wanted: &InterfaceName) -> impl Iterator<Item = &'e (InterfaceName, Export<'a>)> {
        let same = self.exports.by_interface.get(&wanted.unversioned());
        let same = same.into_iter().flatten();
        same.map(move |at| &self.exports.all[*at])
            .filter(move |(_, export)| Some(export.position) != self.except)
    }
}

// === impl Export ===

impl Export<'_> {
    /// Returns whether it has every function that the importer calls, with the same type.
    fn fits(&self, import: &ExternItem) -> bool {
        let found = self.functions();
        import.functions.iter().all(|wanted| {
            let found = found.get(wanted.name.as_str());
            found.is_some_and(|found| found.signature == wanted.signature)
        })
    }

    fn functions(&self) -> HashMap<&str, &Function> {
        let functions = self.item.functions.iter();
        functions.map(|one| (one.name.as_str(), one)).collect()
    }

    /// Says why it does not fit.
    fn disagreement(&self, import: &ExternItem) -> String {
        let Self {
            component, item, ..
        } = self;
        let found = self.functions();
        let function = |wanted: &Function| found.get(wanted.name.as_str()).copied();
        let wanted = import.functions.iter();
        let absent = wanted.filter(|wanted| function(wanted).is_none());
        let absent: Vec<_> = absent.map(|wanted| wanted.name.as_str()).collect();
        let head = format!("imports `{}`", import.name);
        let as_item = format!("and `{component}` exports it as `{}`", item.name);
        if let [one] = absent.as_slice() {
            return format!("{head}, {as_item} without the function `{one}`");
        } else if !absent.is_empty() {
            return format!("{head}, {as_item} without the functions {}", names(absent));
        }
        let differing: Vec<_> = import
            .functions
            .iter()
            .filter_map(|wanted| Some((wanted, function(wanted)?)))
            .filter(|(wanted, found)| wanted.signature != found.signature)
            .collect();
        let Some(((wanted, found), others)) = differing.split_first() else {
            return format!("{head}, {as_item}, which does not fit");
        };
        let others = match others {
            [] => String::new(),
            others => {
                let others = others.iter().map(|(wanted, _)| wanted.name.as_str());
                format!("; {} differ likewise", names(others))
            }
        };
        format!(
            "{head} with `{}: {}`, {as_item} with `{}: {}`{others}: build both from the same WIT",
            wanted.name, wanted.signature, found.name, found.signature
        )
    }
}

/// Says why no component could answer an import, once for all functions that are concerned.
fn unlinkable(import: &ExternItem) -> Option<String> {
    let functions = import.functions.iter();
    let mut obstacles = functions.filter_map(|f| Some((f.name.as_str(), f.unlinkable.as_ref()?)));
    let (first, reason) = obstacles.next()?;
    let others: Vec<_> = obstacles.map(|(name, _)| name).collect();
    let others = match others.as_slice() {
        [] => String::new(),
        others => format!("; nor can {}", names(others.iter().copied())),
    };
    let host =
        host::of_another(&import.name).map(|host| format!(", an interface of {host}'s host"));
    Some(format!(
        "imports `{}`{}, whose `{first}` cannot be linked: {reason}{others}",
        import.name,
        host.unwrap_or_default()
    ))
}

fn missing(
    wanted: &InterfaceName,
    exporters: Exporters<'_, '_>,
    service: Option<&ComponentInfo>,
) -> String {
    let other_versions: Vec<_> = exporters
        .of(wanted)
        .take(MOST_NAMED)
        .map(|(name, export)| format!("`{}` exports the incompatible `{name}`", export.component))
        .collect();
    let hint = if !other_versions.is_empty() {
        other_versions.join(", ")
    } else if exports_it(service, wanted) {
        "only the service does, and components cannot call it: connect to one of its ports"
            .to_owned()
    } else if let Some((name, export)) = nearest(wanted, exporters) {
        format!("did you mean `{name}` of `{}`?", export.component)
    } else if let Some(host) = host::of_another(&wanted.to_string()) {
        format!("it is an interface of {host}'s host, which workers do not provide")
    } else {
        "add a component that exports it".to_owned()
    };
    format!("imports `{wanted}`, which no other component of the workload exports: {hint}")
}

fn exports_it(info: Option<&ComponentInfo>, wanted: &InterfaceName) -> bool {
    let mut exports = info.iter().flat_map(|info| &info.exports);
    exports.any(|item| item.name.parse().is_ok_and(|name| wanted.links_with(&name)))
}

fn nearest<'e, 'a>(
    wanted: &InterfaceName,
    exporters: Exporters<'e, 'a>,
) -> Option<&'e (InterfaceName, Export<'a>)> {
    let wanted = wanted.to_string();
    exporters
        .iter()
        .filter(|(name, _)| name.namespace != "wasi")
        .take(MOST_COMPARED)
        .map(|export| (strsim::jaro_winkler(&wanted, &export.0.to_string()), export))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, export)| export)
}
