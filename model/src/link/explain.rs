//! What would link to what, for somebody who looks at a component before there is a workload.

use super::{
    Link, host,
    resolve::{self, Exporters, Exports},
};
use crate::{
    component::{ComponentInfo, ExternItem, Function, InterfaceName, Use},
    name::Name,
};

/// One component's border, item by item, and what the components beside it make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// In the component's order.
    pub imports: Vec<Import>,
    /// In the component's order.
    pub exports: Vec<Export>,
}

/// One import, and who answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// As the component spells it.
    pub name: String,
    /// Which exports could answer it, whoever has them. `None` where nothing needs linking, or nothing could link.
    pub wanted: Option<Wanted>,
    /// What must be linked, each with the reason where it cannot be ([`Function::unlinkable`]).
    pub functions: Vec<Function>,
    pub answer: Answer,
}

/// Every export that an import could be linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `namespace:package/interface`, without a version.
    pub interface: String,
    /// What compatible versions share: `1` of 1.2.3, `0.2` of 0.2.12. `None`: only an export without a version.
    pub track: Option<String>,
}

/// Who answers an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The worker does: an interface of `wasi` that it provides.
    Worker,
    /// Nobody has to: it is types alone, which both sides describe themselves.
    NotNeeded,
    /// One of the other components.
    Linked(Link),
    /// Nobody, and why, each a sentence about the component ("imports `a:b/c`, which ..."). Never empty.
    Unlinked(Vec<String>),
}

/// One export, and who of the others uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// As the component spells it.
    pub name: String,
    /// What a workload may use the component as because of it.
    pub makes: Option<Use>,
    /// What it offers to link, each with the reason where it cannot be.
    pub functions: Vec<Function>,
    /// In the order given.
    pub importers: Vec<ExportImporter>,
}

/// Another component that imports the interface of an export, on its track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportImporter {
    pub component: Name,
    /// As that component spells it: its version may differ.
    pub import: String,
    /// What keeps it from being linked to this export, each a sentence about that component. Empty when it would link.
    pub obstacles: Vec<String>,
}

/// Tells for each import of a component who answers it, and for each export who uses it, were they one workload with
/// `others` as its components.
///
/// Never fails: what is missing or does not fit is part of the answer, in the words with which Apply would refuse it.
/// Without others it says what the component needs and offers.
pub fn explain(
    name: &Name,
    info: &ComponentInfo,
    others: &[(Name, &ComponentInfo)],
) -> Explanation {
    let exported = Exports::new(others);
    let imports = info.imports.iter();
    let imports = imports.map(|item| import(item, exported.all()));
    let alone = [(name.clone(), info)];
    let own = Exports::new(&alone);
    let exports = info.exports.iter();
    let exports = exports.map(|item| export(own.all(), item, others));
    Explanation {
        imports: imports.collect(),
        exports: exports.collect(),
    }
}

fn import(item: &ExternItem, others: Exporters<'_, '_>) -> Import {
    let parsed = item.name.parse::<InterfaceName>().ok();
    let of_worker = parsed.as_ref().is_some_and(|name| name.namespace == "wasi");
    let answer = match resolve::link(item, None, others) {
        Ok(Some(link)) => Answer::Linked(link),
        Ok(None) if of_worker => Answer::Worker,
        Ok(None) => Answer::NotNeeded,
        Err(why) => Answer::Unlinked(vec![why]),
    };
    let of_another_host = host::of_another(&item.name).is_some();
    let linked = matches!(answer, Answer::Linked(_));
    // What only a host provides is not a component's to export.
    let wanted = parsed
        .filter(|_| !of_worker && answer != Answer::NotNeeded && (linked || !of_another_host));
    Import {
        name: item.name.clone(),
        wanted: wanted.as_ref().map(Wanted::new),
        functions: item.functions.clone(),
        answer,
    }
}

fn export(own: Exporters<'_, '_>, item: &ExternItem, others: &[(Name, &ComponentInfo)]) -> Export {
    let offered = item.name.parse::<InterfaceName>().ok();
    let wants = |import: &ExternItem| {
        let wanted = import.name.parse::<InterfaceName>().ok();
        wanted
            .zip(offered.as_ref())
            .is_some_and(|(wanted, offered)| wanted.links_with(offered))
    };
    let importers = others.iter().flat_map(|(other, its)| {
        let imports = its.imports.iter().filter(|import| wants(import));
        let linked = imports.filter_map(|import| {
            let obstacles = match resolve::link(import, None, own) {
                // Of several versions on one track another may be the one that is taken.
                Ok(Some(link)) if link.export == item.name => Vec::new(),
                Ok(_) => return None,
                Err(why) => vec![why],
            };
            Some(ExportImporter {
                component: other.clone(),
                import: import.name.clone(),
                obstacles,
            })
        });
        linked.collect::<Vec<_>>()
    });
    Export {
        name: item.name.clone(),
        makes: item.export_use(),
        functions: item.functions.clone(),
        importers: importers.collect(),
    }
}

// === impl Wanted ===

impl Wanted {
    fn new(name: &InterfaceName) -> Self {
        Self {
            interface: name.unversioned().to_string(),
            track: name.track(),
        }
    }
}
