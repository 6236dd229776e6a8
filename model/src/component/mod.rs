//! The imports and exports of a component, and what a workload may use it as.
//!
//! Read from the bytes once, when an artifact is pushed ([`inspect()`]); stored with the artifact
//! and read back from there.

use std::collections::BTreeSet;

use warren_proto::v1;

mod error;
mod inspect;
mod interface;
mod limits;
mod needs;
mod outline;
mod signature;
mod wasi;

pub use error::InspectError;
pub use inspect::{Interrupt, border, inspect, inspect_within};
pub use interface::{InterfaceName, InterfaceNameError};
pub use limits::{Limit, LimitError, Limits, Setting};
pub use needs::{Needs, needs};
pub use wasi::{Provided, provided, provides};

/// The interfaces and functions at a component's border.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentInfo {
    pub imports: Vec<ExternItem>,
    pub exports: Vec<ExternItem>,
    pub uses: BTreeSet<Use>,
}

/// One import or export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternItem {
    /// `namespace:package/interface@version`, or a plain name.
    pub name: String,
    /// What must be linked: the interface's functions and resources, or the one thing of a plain
    /// name. Empty for an interface of types alone. An import of `wasi` lists only what workers do
    /// not provide ([`provided`]), an export of `wasi` nothing.
    pub functions: Vec<Function>,
}

/// One function, or a resource, which is listed here because it needs linking as functions do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// In WIT syntax with named types written out, so that equal signatures are equal types.
    pub signature: String,
    /// Why it cannot be linked between components of a workload; `None` when it can.
    pub unlinkable: Option<String>,
}

/// The role that a workload may use a component in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// The service: exports `wasi:cli/run` 0.2 or 0.3.
    Service,
    /// A component with routes: exports `wasi:http/incoming-handler` 0.2 or `wasi:http/handler`
    /// 0.3.
    Http,
    /// A component that others call: exports an interface with functions outside `wasi`.
    Library,
}

/// The WASI that a component was built for, which decides how the worker runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WasiGeneration {
    /// WASI 0.2 alone.
    P2,
    /// WASI 0.3, with 0.2 beside it where the component imports that too.
    P3,
}

/// [`WasiGeneration::P3`] where the component imports or exports anything of WASI 0.3.
pub fn wasi_generation(info: &ComponentInfo) -> WasiGeneration {
    let all = info.imports.iter().chain(&info.exports);
    let newest = all.filter_map(ExternItem::generation).max();
    newest.unwrap_or(WasiGeneration::P2)
}

// === impl ComponentInfo ===

impl ComponentInfo {
    fn new(imports: Vec<ExternItem>, exports: Vec<ExternItem>) -> Self {
        let uses = exports.iter().filter_map(ExternItem::export_use).collect();
        Self {
            imports,
            exports,
            uses,
        }
    }

    /// By which WASI it is run as the service, if it can be one. A component that exports
    /// `wasi:cli/run` of both 0.2 and 0.3 is run by 0.3, as wasmtime does: toolchains leave a stub
    /// of the other behind.
    pub fn run_by(&self) -> Option<WasiGeneration> {
        self.used_by(Use::Service)
    }

    /// By which WASI it answers HTTP, if it can. Of both, by 0.3, as [`Self::run_by`].
    pub fn answers_by(&self) -> Option<WasiGeneration> {
        self.used_by(Use::Http)
    }

    fn used_by(&self, wanted: Use) -> Option<WasiGeneration> {
        let exports = self.exports.iter();
        let serving = exports.filter(|item| item.export_use() == Some(wanted));
        serving.filter_map(ExternItem::generation).max()
    }

    /// Whether it can have routes.
    pub fn answers_http(&self) -> bool {
        self.answers_by().is_some()
    }

    /// Whether one instance of it can serve many requests: it answers HTTP by WASI 0.3.
    pub fn can_be_reused(&self) -> bool {
        self.answers_by() == Some(WasiGeneration::P3)
    }

    /// The fields `imports`, `exports` and `uses` of [`v1::Artifact`].
    pub fn to_proto_parts(&self) -> (Vec<v1::ExternItem>, Vec<v1::ExternItem>, Vec<i32>) {
        let items = |items: &[ExternItem]| items.iter().map(ExternItem::to_proto).collect();
        let uses = self.uses.iter().map(|one| one.to_proto().into()).collect();
        (items(&self.imports), items(&self.exports), uses)
    }

    /// What was found when the artifact was pushed. A use that this version does not know is left
    /// out.
    pub fn from_proto(artifact: &v1::Artifact) -> Self {
        let items = |items: &[v1::ExternItem]| items.iter().map(ExternItem::from_proto).collect();
        Self {
            imports: items(&artifact.imports),
            exports: items(&artifact.exports),
            uses: artifact.uses().filter_map(Use::from_proto).collect(),
        }
    }
}

// === impl ExternItem ===

impl ExternItem {
    pub(crate) fn export_use(&self) -> Option<Use> {
        let name: InterfaceName = self.name.parse().ok()?;
        if name.namespace != "wasi" {
            return (!self.functions.is_empty()).then_some(Use::Library);
        }
        let track = name.track()?;
        match (
            name.package.as_str(),
            name.interface.as_str(),
            track.as_str(),
        ) {
            ("cli", "run", "0.2" | "0.3") => Some(Use::Service),
            ("http", "incoming-handler", "0.2") | ("http", "handler", "0.3") => Some(Use::Http),
            _ => None,
        }
    }

    /// Of an interface of `wasi`, the WASI that it belongs to.
    fn generation(&self) -> Option<WasiGeneration> {
        let name: InterfaceName = self.name.parse().ok()?;
        match name.track().filter(|_| name.namespace == "wasi")?.as_str() {
            "0.2" => Some(WasiGeneration::P2),
            "0.3" => Some(WasiGeneration::P3),
            _ => None,
        }
    }

    fn to_proto(&self) -> v1::ExternItem {
        v1::ExternItem {
            name: self.name.clone(),
            functions: self.functions.iter().map(Function::to_proto).collect(),
        }
    }

    fn from_proto(item: &v1::ExternItem) -> Self {
        Self {
            name: item.name.clone(),
            functions: item.functions.iter().map(Function::from_proto).collect(),
        }
    }
}

// === impl Function ===

impl Function {
    fn to_proto(&self) -> v1::Function {
        v1::Function {
            name: self.name.clone(),
            signature: self.signature.clone(),
            unlinkable: self.unlinkable.clone().unwrap_or_default(),
        }
    }

    fn from_proto(function: &v1::Function) -> Self {
        let unlinkable = &function.unlinkable;
        Self {
            name: function.name.clone(),
            signature: function.signature.clone(),
            unlinkable: (!unlinkable.is_empty()).then(|| unlinkable.clone()),
        }
    }
}

// === impl Use ===

impl Use {
    fn to_proto(self) -> v1::artifact::Use {
        match self {
            Self::Service => v1::artifact::Use::Service,
            Self::Http => v1::artifact::Use::Http,
            Self::Library => v1::artifact::Use::Library,
        }
    }

    fn from_proto(value: v1::artifact::Use) -> Option<Self> {
        match value {
            v1::artifact::Use::Unspecified => None,
            v1::artifact::Use::Service => Some(Self::Service),
            v1::artifact::Use::Http => Some(Self::Http),
            v1::artifact::Use::Library => Some(Self::Library),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
