//! Imports that a worker itself answers, and those of other hosts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Bound,
    sync::{Arc, LazyLock},
};

use warren_proto::v1;

use super::names;
use crate::component::{ExternItem, InterfaceName, provided, provides};

/// Interfaces with versions: those that a worker provides to guests, or those that a workload needs
/// of its worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostInterfaces(BTreeSet<InterfaceName>);

/// What workers of this version provide.
static THIS_VERSION: LazyLock<Arc<HostInterfaces>> = LazyLock::new(|| {
    let names = provided().iter().map(|one| one.versioned_name());
    Arc::new(HostInterfaces::named(names))
});

/// What workers provide that do not state it.
static UNSTATED: LazyLock<Arc<HostInterfaces>> = LazyLock::new(|| {
    let packages = [
        "wasi:cli",
        "wasi:clocks",
        "wasi:filesystem",
        "wasi:http",
        "wasi:io",
        "wasi:random",
        "wasi:sockets",
    ];
    // As of the last version whose workers did not state it: later entries of the table must not
    // count.
    let names = provided().iter().filter_map(|one| {
        let version = match one.track {
            "0.2" => "0.2.12",
            "0.3" => "0.3.0",
            _ => return None,
        };
        let is_of_then = packages.contains(&one.package());
        is_of_then.then(|| format!("{}@{version}", one.interface))
    });
    Arc::new(HostInterfaces::named(names))
});

/// Namespaces of interfaces that other hosts provide, with the names of those hosts.
const OTHER_HOSTS: [(&str, &str); 3] = [
    ("wasmcloud", "wasmCloud"),
    ("fermyon", "Spin"),
    ("spin", "Spin"),
];

// === impl HostInterfaces ===

impl HostInterfaces {
    /// Returns what workers of this version provide.
    pub fn of_this_version() -> &'static Arc<Self> {
        &THIS_VERSION
    }

    /// Reads what a worker states that it provides. A worker that states nothing is of a version
    /// that did not, and provides what that version provided. What is not an interface with a
    /// version is left out.
    ///
    /// Equal lists of many workers are mostly one allocation: that of this version.
    pub fn stated(interfaces: &[v1::HostInterface]) -> Arc<Self> {
        if interfaces.is_empty() {
            return Arc::clone(&UNSTATED);
        }
        let stated = Self::named(interfaces.iter().map(|one| &one.name));
        match stated == **Self::of_this_version() {
            true => Arc::clone(Self::of_this_version()),
            false => Arc::new(stated),
        }
    }

    /// Reads names with versions; any other text is left out.
    pub fn named(names: impl IntoIterator<Item: AsRef<str>>) -> Self {
        let names = names.into_iter();
        let parsed = names.filter_map(|name| name.as_ref().parse::<InterfaceName>().ok());
        Self(parsed.filter(|name| name.version.is_some()).collect())
    }

    /// Returns the name of each, in order.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds those of others.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }

    pub(super) fn insert(&mut self, name: InterfaceName) {
        self.0.insert(name);
    }

    /// Returns the first of the needed interfaces that is not provided here, on its track and in at
    /// least its version.
    pub fn lacks<'n>(&self, needed: &'n Self) -> Option<&'n InterfaceName> {
        needed.0.iter().find(|one| !self.provides(one))
    }

    fn provides(&self, needed: &InterfaceName) -> bool {
        let range = (Bound::Included(needed), Bound::Unbounded);
        let mut as_new = self.0.range::<InterfaceName, _>(range);
        as_new
            .by_ref()
            .take_while(|one| one.same_interface(needed))
            .any(|one| one.links_with(needed))
    }

    /// Returns what a worker must provide for an import: the least version that has every function
    /// that is imported. Fails where none of these does.
    pub(super) fn answer(
        &self,
        wanted: &InterfaceName,
        import: &ExternItem,
    ) -> Result<InterfaceName, String> {
        let known = provides(wanted);
        let missing: Vec<_> = known.map_or_else(Vec::new, |known| {
            let functions = import.functions.iter().map(|f| f.name.as_str());
            functions
                .filter(|function| !known.functions.contains(function))
                .collect()
        });
        let known = known.and_then(|known| known.versioned_name().parse::<InterfaceName>().ok());
        // What this version provides is known by function. A guest that was built for a later
        // version and uses none of its new functions runs.
        if let (Some(known), true) = (&known, missing.is_empty()) {
            let needed = wanted.min(known);
            if self.provides(needed) {
                return Ok(needed.clone());
            }
        }
        // What workers of later versions provide is known by version.
        if known.as_ref().is_none_or(|known| wanted > known) && self.provides(wanted) {
            return Ok(wanted.clone());
        }
        if missing.is_empty() {
            return Err(self.without(wanted));
        }
        Err(format!(
            "imports `{wanted}` with {}, which workers do not provide",
            names(missing)
        ))
    }

    /// Why an import has no answer: none of these is of its interface and track.
    fn without(&self, wanted: &InterfaceName) -> String {
        let track = wanted.track();
        let mut of_package = self
            .0
            .iter()
            .filter(|one| (&one.namespace, &one.package) == (&wanted.namespace, &wanted.package));
        let siblings = of_package.clone().filter(|one| one.track() == track);
        let siblings: Vec<_> = siblings.map(|one| one.interface.as_str()).collect();
        if let (Some(track), false) = (track, siblings.is_empty()) {
            let package = format!("{}:{}@{track}", wanted.namespace, wanted.package);
            return format!(
                "imports `{wanted}`, which workers do not provide: of {package} they provide {}",
                siblings.join(", ")
            );
        }
        let is_pre_release =
            |one: &InterfaceName| one.version.as_ref().is_some_and(|v| !v.pre.is_empty());
        let hint = match is_pre_release(wanted) && of_package.any(|one| !is_pre_release(one)) {
            true => "; this one is a pre-release: build it for a released version",
            false => "",
        };
        format!("imports `{wanted}`, which workers do not provide: they provide {self}{hint}")
    }
}

/// Packages by version: "wasi:{cli, io}@0.2.6 and wasi:http@0.2.12".
impl fmt::Display for HostInterfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut packages: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
        for one in &self.0 {
            let of_version = packages.entry((&one.namespace, &one.version));
            of_version.or_default().insert(&one.package);
        }
        let each = packages
            .into_iter()
            .map(|((namespace, version), packages)| {
                let packages: Vec<_> = packages.into_iter().collect();
                let packages = match packages.as_slice() {
                    [one] => (*one).to_owned(),
                    several => format!("{{{}}}", several.join(", ")),
                };
                let version = version.as_ref().map_or(String::new(), |v| format!("@{v}"));
                format!("{namespace}:{packages}{version}")
            });
        let each: Vec<_> = each.collect();
        match each.split_last() {
            None => f.write_str("nothing"),
            Some((one, [])) => f.write_str(one),
            Some((last, others)) => write!(f, "{} and {last}", others.join(", ")),
        }
    }
}

/// Returns the name of the host that provides an interface, where a component that exports it is
/// not what is missing.
pub(super) fn of_another(import: &str) -> Option<&'static str> {
    let (namespace, _) = import.split_once(':')?;
    let mut hosts = OTHER_HOSTS.iter();
    hosts.find_map(|(known, host)| (*known == namespace).then_some(*host))
}
