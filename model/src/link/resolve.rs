//! The export that answers an import.

use super::{Link, LinkError, Site};
use crate::{
    component::{ComponentInfo, ExternItem, Function, InterfaceName},
    name::Name,
};

/// What workers provide of WASI: packages by track.
const WASI: [(&str, &[&str]); 2] = [
    (
        "0.2",
        &[
            "cli",
            "io",
            "clocks",
            "random",
            "filesystem",
            "sockets",
            "http",
        ],
    ),
    (
        "0.3",
        &["cli", "clocks", "random", "filesystem", "sockets", "http"],
    ),
];

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
            Err(messages) => errors.extend(messages.into_iter().map(|m| importer.error(m))),
        }
    }
    links
}

/// `None` for what needs no link: the worker provides it, or it is types alone, which both sides describe themselves.
pub(super) fn link(
    import: &ExternItem,
    service: Option<&ComponentInfo>,
    exporters: &[(Name, &ComponentInfo)],
) -> Result<Option<Link>, Vec<String>> {
    let name = &import.name;
    let parsed: Option<InterfaceName> = name.parse().ok();
    if let Some(wasi) = parsed.as_ref().filter(|parsed| parsed.namespace == "wasi") {
        return if is_provided(wasi) {
            Ok(None)
        } else {
            Err(vec![not_provided(wasi)])
        };
    }
    if import.functions.is_empty() {
        return Ok(None);
    }
    let Some(wanted) = parsed else {
        return Err(vec![format!(
            "imports `{name}`, which is no interface of a package: only interfaces with names like `namespace:package/interface` can be linked"
        )]);
    };
    let mut errors = unlinkable(import);
    let exported = exported(exporters);
    let candidates: Vec<_> = exported
        .iter()
        .filter(|export| export.name.links_with(&wanted))
        .collect();
    match candidates.as_slice() {
        [] => errors.push(missing(&wanted, &exported, service)),
        [export] if errors.is_empty() => {
            errors.extend(disagreements(import, export));
            if errors.is_empty() {
                return Ok(Some(Link {
                    import: name.clone(),
                    exporter: export.component.clone(),
                    export: export.item.name.clone(),
                }));
            }
        }
        [_] => {}
        several => {
            let components: Vec<_> = several
                .iter()
                .map(|e| format!("`{}`", e.component))
                .collect();
            errors.push(format!(
                "imports `{name}`, which more than one component exports: {}; leave all but one out",
                components.join(", ")
            ));
        }
    }
    Err(errors)
}

/// One interface that one component exports.
struct Export<'a> {
    component: &'a Name,
    item: &'a ExternItem,
    name: InterfaceName,
}

/// Every interface that can be linked to. Of several versions on one track a component offers its highest.
fn exported<'a>(exporters: &'a [(Name, &ComponentInfo)]) -> Vec<Export<'a>> {
    let mut exports: Vec<Export<'a>> = Vec::new();
    for (component, info) in exporters {
        for item in &info.exports {
            let Ok(name) = item.name.parse::<InterfaceName>() else {
                continue;
            };
            let export = Export {
                component,
                item,
                name,
            };
            let same = exports
                .iter_mut()
                .find(|known| known.component == component && known.name.links_with(&export.name));
            match same {
                Some(known) if known.name.version < export.name.version => *known = export,
                Some(_) => {}
                None => exports.push(export),
            }
        }
    }
    exports
}

fn is_provided(wasi: &InterfaceName) -> bool {
    let track = wasi.track();
    WASI.iter().any(|(provided, packages)| {
        track.as_deref() == Some(*provided) && packages.contains(&wasi.package.as_str())
    })
}

fn not_provided(wasi: &InterfaceName) -> String {
    let provided =
        WASI.map(|(track, packages)| format!("wasi:{{{}}}@{track}", packages.join(", ")));
    format!(
        "imports `{wasi}`, which workers do not provide: they provide {}",
        provided.join(" and ")
    )
}

fn unlinkable(import: &ExternItem) -> Vec<String> {
    let functions = import.functions.iter().filter_map(|function| {
        let reason = function.unlinkable.as_ref()?;
        Some(format!(
            "imports `{}`, whose `{}` cannot be linked: {reason}",
            import.name, function.name
        ))
    });
    functions.collect()
}

/// Functions that the importer calls and the exporter does not have as it expects them.
fn disagreements(import: &ExternItem, export: &Export<'_>) -> Vec<String> {
    let Export {
        component, item, ..
    } = export;
    let differs = |wanted: &Function| {
        let Some(found) = item.functions.iter().find(|f| f.name == wanted.name) else {
            return Some(format!(
                "imports `{}`, and `{component}` exports it as `{}` without the function `{}`",
                import.name, item.name, wanted.name
            ));
        };
        (found.signature != wanted.signature).then(|| {
            format!(
                "imports `{}` with `{}: {}`, and `{component}` exports it as `{}` with `{}: {}`: build both from the same WIT",
                import.name, wanted.name, wanted.signature, item.name, found.name, found.signature
            )
        })
    };
    import.functions.iter().filter_map(differs).collect()
}

fn missing(
    wanted: &InterfaceName,
    exported: &[Export<'_>],
    service: Option<&ComponentInfo>,
) -> String {
    let other_versions: Vec<_> = exported
        .iter()
        .filter(|export| export.name.same_interface(wanted))
        .map(|export| {
            format!(
                "`{}` exports the incompatible `{}`",
                export.component, export.name
            )
        })
        .collect();
    let hint = if !other_versions.is_empty() {
        other_versions.join(", ")
    } else if exports_it(service, wanted) {
        "only the service does, and components cannot call it: connect to one of its ports"
            .to_owned()
    } else if let Some(near) = nearest(wanted, exported) {
        format!("did you mean `{}` of `{}`?", near.name, near.component)
    } else {
        "add a component that exports it".to_owned()
    };
    format!("imports `{wanted}`, which no other component of the workload exports: {hint}")
}

fn exports_it(info: Option<&ComponentInfo>, wanted: &InterfaceName) -> bool {
    let mut exports = info.iter().flat_map(|info| &info.exports);
    exports.any(|item| item.name.parse().is_ok_and(|name| wanted.links_with(&name)))
}

fn nearest<'a>(wanted: &InterfaceName, exported: &'a [Export<'a>]) -> Option<&'a Export<'a>> {
    let wanted = wanted.to_string();
    exported
        .iter()
        .filter(|export| export.name.namespace != "wasi")
        .map(|export| {
            (
                strsim::jaro_winkler(&wanted, &export.name.to_string()),
                export,
            )
        })
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, export)| export)
}
