//! Explains what would link to what, before there is a workload.

use super::{
    Answer, HostInterfaces, host,
    resolve::{Exports, Resolver},
};
use crate::{
    component::{ComponentInfo, ExternItem, Function, InterfaceName, Use},
    name::Name,
};

/// One component's border, item by item, with what each item links to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// In the component's order.
    pub imports: Vec<Import>,
    /// In the component's order.
    pub exports: Vec<Export>,
}

/// One import, and what answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// As the component spells it.
    pub name: String,
    /// The exports that could answer it. `None` where nothing needs linking, or nothing could link.
    pub wanted: Option<Wanted>,
    /// The functions to be linked, each with the reason where it cannot be
    /// ([`Function::unlinkable`]).
    pub functions: Vec<Function>,
    /// The answer to it. The error is a sentence about the component: "imports `a:b/c`, which ...".
    pub answer: Result<Answer, String>,
}

/// Every export that an import could be linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `namespace:package/interface`, without a version.
    pub interface: String,
    /// The part that compatible versions share: `1` of 1.2.3, `0.2` of 0.2.12. `None`: only an
    /// export without a version can answer.
    pub track: Option<String>,
}

/// One export, and the other components that use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// As the component spells it.
    pub name: String,
    /// The use that the component has because of it.
    pub makes: Option<Use>,
    /// The functions that it offers, each with the reason where it cannot be linked.
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
    /// The reason why it is not linked to this export, as a sentence about that component. `None`
    /// when it would link.
    pub obstacle: Option<String>,
}

/// Says what answers each import of a component and what uses each of its exports, were they one
/// workload with `others` as its components, on workers of this version.
///
/// It never fails: what is missing or does not fit is part of the answer, in the words with which
/// Apply would refuse it. Without others it says what the component needs and offers.
pub fn explain(
    name: &Name,
    info: &ComponentInfo,
    others: &[(Name, &ComponentInfo)],
) -> Explanation {
    let provided = HostInterfaces::of_this_version();
    let beside = Exports::new(others);
    let beside = Resolver {
        service: None,
        exporters: beside.all(),
        provided,
    };
    let imports = info.imports.iter().map(|item| import(item, beside));
    let alone = [(name.clone(), info)];
    let own = Exports::new(&alone);
    let own = Resolver {
        service: None,
        exporters: own.all(),
        provided,
    };
    let exports = info.exports.iter().map(|item| export(own, item, others));
    Explanation {
        imports: imports.collect(),
        exports: exports.collect(),
    }
}

fn import(item: &ExternItem, others: Resolver<'_, '_>) -> Import {
    let answer = others.answer(item);
    let is_of_wasi = |name: &InterfaceName| name.namespace == "wasi";
    let parsed = item.name.parse::<InterfaceName>().ok();
    // What only a host provides is not a component's to export.
    let is_linked_by_components = match &answer {
        Ok(Answer::Linked(_)) => true,
        Ok(Answer::Worker(_) | Answer::NotNeeded) => false,
        Err(_) => host::of_another(&item.name).is_none(),
    };
    let wanted = parsed.filter(|name| is_linked_by_components && !is_of_wasi(name));
    Import {
        name: item.name.clone(),
        wanted: wanted.as_ref().map(Wanted::new),
        functions: item.functions.clone(),
        answer,
    }
}

fn export(own: Resolver<'_, '_>, item: &ExternItem, others: &[(Name, &ComponentInfo)]) -> Export {
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
            let obstacle = match own.answer(import) {
                // Another version on the track is the one that is linked.
                Ok(Answer::Linked(link)) if link.export == item.name => None,
                Ok(_) => return None,
                Err(why) => Some(why),
            };
            Some(ExportImporter {
                component: other.clone(),
                import: import.name.clone(),
                obstacle,
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
