//! Imports that the worker itself answers, and those of other hosts.

use std::collections::BTreeSet;

use super::names;
use crate::component::{ExternItem, InterfaceName, provided, provides};

/// Namespaces of interfaces that other hosts provide, and whose they are.
const OTHER_HOSTS: [(&str, &str); 3] = [
    ("wasmcloud", "wasmCloud"),
    ("fermyon", "Spin"),
    ("spin", "Spin"),
];

/// Whether workers provide an interface of `wasi` with every function that is imported of it; if
/// not, why.
pub(super) fn check(wanted: &InterfaceName, import: &ExternItem) -> Result<(), String> {
    let Some(interface) = provides(wanted) else {
        return Err(not_provided(wanted));
    };
    let functions = import.functions.iter().map(|f| f.name.as_str());
    let missing: Vec<_> = functions
        .filter(|function| !interface.functions.contains(function))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "imports `{wanted}` with {}, which workers do not provide",
        names(missing)
    ))
}

/// The host whose interface this is, where a component that exports it is not what is missing.
pub(super) fn of_another(import: &str) -> Option<&'static str> {
    let (namespace, _) = import.split_once(':')?;
    let mut hosts = OTHER_HOSTS.iter();
    hosts.find_map(|(known, host)| (*known == namespace).then_some(*host))
}

fn not_provided(wanted: &InterfaceName) -> String {
    let track = wanted.track();
    let package = format!("{}:{}", wanted.namespace, wanted.package);
    let siblings: Vec<_> = provided()
        .iter()
        .filter(|one| one.package() == package && Some(one.track) == track.as_deref())
        .map(|one| one.name())
        .collect();
    if let (Some(track), false) = (track, siblings.is_empty()) {
        let siblings = siblings.join(", ");
        return format!(
            "imports `{wanted}`, which workers do not provide: of {package}@{track} they provide {siblings}"
        );
    }
    let all = ["0.2", "0.3"].map(|track| {
        let of_track = provided().iter().filter(|one| one.track == track);
        let packages: BTreeSet<_> = of_track
            .filter_map(|one| one.package().strip_prefix("wasi:"))
            .collect();
        let packages: Vec<_> = packages.into_iter().collect();
        format!("wasi:{{{}}}@{track}", packages.join(", "))
    });
    let pre_release = wanted.version.as_ref().is_some_and(|v| !v.pre.is_empty());
    let hint = match pre_release {
        true => "; this one is a pre-release: build it for a released version",
        false => "",
    };
    format!(
        "imports `{wanted}`, which workers do not provide: they provide {}{hint}",
        all.join(" and ")
    )
}
