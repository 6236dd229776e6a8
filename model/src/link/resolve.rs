//! The export that answers an import.

use super::{Link, LinkError, Site, host, names};
use crate::{
    component::{ComponentInfo, ExternItem, Function, InterfaceName},
    name::Name,
};

/// Names further from each other than this are no typing mistakes.
const SIMILAR: f64 = 0.8;

/// The links of one importer to the exporters that it may use; what cannot be linked is noted in `errors`.
pub(super) fn links(
    importer: &Site<'_>,
    service: Option<&ComponentInfo>,
    exporters: &[(Name, &ComponentInfo)],
    errors: &mut Vec<LinkError>,
) -> Vec<Link> {
    let mut links = Vec::new();
    for import in &importer.info.imports {
        match link(import, service, exporters) {
            Ok(found) => links.extend(found),
            Err(message) => errors.push(importer.error(message)),
        }
    }
    links
}

/// The export that answers an import: of each component the highest version on the import's track
/// that has every function of the import with its type, wherever it stands in the binary. More than
/// one component that has such an export is a mistake.
///
/// `None` for what needs no link: the worker provides it, or it is types alone, which both sides describe themselves.
pub(super) fn link(
    import: &ExternItem,
    service: Option<&ComponentInfo>,
    exporters: &[(Name, &ComponentInfo)],
) -> Result<Option<Link>, String> {
    let name = &import.name;
    let parsed: Option<InterfaceName> = name.parse().ok();
    if let Some(wanted) = parsed.as_ref().filter(|parsed| parsed.namespace == "wasi") {
        return host::check(wanted, import).map(|()| None);
    }
    if import.functions.is_empty() {
        return Ok(None);
    }
    let Some(wanted) = parsed else {
        return Err(format!(
            "imports `{name}`, which is no interface of a package: only interfaces with names like `namespace:package/interface` can be linked"
        ));
    };
    if let Some(why) = unlinkable(import) {
        return Err(why);
    }
    let exports: Vec<_> = exporters
        .iter()
        .flat_map(|(component, info)| exports(component, info))
        .collect();
    let candidates = candidates(&wanted, &exports);
    let fitting: Vec<_> = candidates
        .iter()
        .filter_map(|versions| versions.iter().find(|export| export.fits(import)))
        .collect();
    match fitting.as_slice() {
        [export] => Ok(Some(Link {
            import: name.clone(),
            exporter: export.component.clone(),
            export: export.item.name.clone(),
        })),
        [] => Err(
            match candidates.iter().find_map(|versions| versions.first()) {
                Some(export) => export.disagreement(import),
                None => missing(&wanted, &exports, service),
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

/// One interface that one component exports.
#[derive(Clone, Copy)]
struct Export<'a> {
    component: &'a Name,
    item: &'a ExternItem,
}

/// Every interface that a component exports, with its name read.
fn exports<'a>(
    component: &'a Name,
    info: &'a ComponentInfo,
) -> impl Iterator<Item = (InterfaceName, Export<'a>)> {
    // What belongs to no package, such as the `exports` of some toolchains, cannot be imported.
    info.exports
        .iter()
        .filter_map(move |item| Some((item.name.parse().ok()?, Export { component, item })))
}

/// The exports on an import's track: for each component its versions, the highest first.
fn candidates<'a>(
    wanted: &InterfaceName,
    exports: &[(InterfaceName, Export<'a>)],
) -> Vec<Vec<Export<'a>>> {
    let on_track: Vec<_> = exports
        .iter()
        .filter(|(name, _)| name.links_with(wanted))
        .collect();
    on_track
        .chunk_by(|(_, a), (_, b)| a.component == b.component)
        .map(|versions| {
            let mut versions = versions.to_vec();
            versions.sort_by(|(a, _), (b, _)| b.version.cmp(&a.version));
            versions.into_iter().map(|(_, export)| *export).collect()
        })
        .collect()
}

// === impl Export ===

impl Export<'_> {
    /// Whether it has every function that the importer calls, with the same type.
    fn fits(&self, import: &ExternItem) -> bool {
        let mut wanted = import.functions.iter();
        wanted.all(|wanted| {
            self.function(wanted)
                .is_some_and(|found| found.signature == wanted.signature)
        })
    }

    fn function(&self, wanted: &Function) -> Option<&Function> {
        self.item.functions.iter().find(|f| f.name == wanted.name)
    }

    /// Why it does not fit.
    fn disagreement(&self, import: &ExternItem) -> String {
        let Self { component, item } = self;
        let wanted = import.functions.iter();
        let absent = wanted.filter(|wanted| self.function(wanted).is_none());
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
            .filter_map(|wanted| Some((wanted, self.function(wanted)?)))
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

/// Why no component could answer an import, whichever there are: said once, however many functions
/// are concerned.
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
    exports: &[(InterfaceName, Export<'_>)],
    service: Option<&ComponentInfo>,
) -> String {
    let other_versions: Vec<_> = exports
        .iter()
        .filter(|(name, _)| name.same_interface(wanted))
        .map(|(name, export)| format!("`{}` exports the incompatible `{name}`", export.component))
        .collect();
    let hint = if !other_versions.is_empty() {
        other_versions.join(", ")
    } else if exports_it(service, wanted) {
        "only the service does, and components cannot call it: connect to one of its ports"
            .to_owned()
    } else if let Some((name, export)) = nearest(wanted, exports) {
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
    exports: &'e [(InterfaceName, Export<'a>)],
) -> Option<&'e (InterfaceName, Export<'a>)> {
    let wanted = wanted.to_string();
    exports
        .iter()
        .filter(|(name, _)| name.namespace != "wasi")
        .map(|export| (strsim::jaro_winkler(&wanted, &export.0.to_string()), export))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, export)| export)
}
