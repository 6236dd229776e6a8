//! The sizes of the items in a component's index spaces.

use std::{collections::HashMap, rc::Rc};

use wasmparser::{
    ComponentDefinedType, ComponentExport, ComponentExternalKind, ComponentTypeRef,
    ComponentValType, TypeBounds,
};

/// A type, or something of a type, by its size written out. Shared, as types are.
#[derive(Clone)]
pub(super) struct Shape<'a> {
    pub size: u64,
    /// Of a component or an instance: what it exports.
    exports: Option<Rc<Exports<'a>>>,
}

struct Exports<'a> {
    by_name: HashMap<&'a str, Shape<'a>>,
    size: u64,
}

/// An open component, or the open type of a component or an instance.
#[derive(Default)]
pub(super) struct Scope<'a> {
    pub types: Vec<Shape<'a>>,
    pub instances: Vec<Shape<'a>>,
    pub components: Vec<Shape<'a>>,
    functions: Vec<Shape<'a>>,
    /// Imports and exports of each.
    pub modules: Vec<u64>,
    pub core_types: Vec<u64>,
    pub core_instances: Vec<u64>,
    /// The sizes of all imports.
    pub imports: u64,
    exports: HashMap<&'a str, Shape<'a>>,
    exports_size: u64,
}

// === impl Shape ===

impl<'a> Shape<'a> {
    pub fn of(size: u64) -> Self {
        Self {
            size,
            exports: None,
        }
    }

    /// What a component of this shape makes.
    pub fn instance(&self) -> Self {
        Self {
            size: 1 + self.exports.as_ref().map_or(0, |exports| exports.size),
            exports: self.exports.clone(),
        }
    }

    pub fn export(&self, name: &str) -> Option<Self> {
        self.exports.as_ref()?.by_name.get(name).cloned()
    }
}

/// The item for an index that does not exist: the validator will report it.
impl Default for Shape<'_> {
    fn default() -> Self {
        Self::of(1)
    }
}

// === impl Scope ===

impl<'a> Scope<'a> {
    pub fn into_shape(self) -> Shape<'a> {
        let parts = self.imports.saturating_add(self.exports_size);
        Shape {
            size: parts.saturating_add(1),
            exports: Some(Rc::new(Exports {
                by_name: self.exports,
                size: self.exports_size,
            })),
        }
    }

    /// Adds to the index space of its kind.
    pub fn push(&mut self, kind: ComponentExternalKind, shape: Shape<'a>) {
        match kind {
            ComponentExternalKind::Module => self.modules.push(shape.size),
            ComponentExternalKind::Func => self.functions.push(shape),
            ComponentExternalKind::Type => self.types.push(shape),
            ComponentExternalKind::Instance => self.instances.push(shape),
            ComponentExternalKind::Component => self.components.push(shape),
            // No version of Warren enables values.
            ComponentExternalKind::Value => {}
        }
    }

    /// An export makes an item of its own.
    pub fn export(&mut self, name: &'a str, kind: ComponentExternalKind, shape: Shape<'a>) {
        self.exports_size = self.exports_size.saturating_add(shape.size);
        self.exports.insert(name, shape.clone());
        self.push(kind, shape);
    }

    /// The type that an import or an export names.
    pub fn referenced(&self, ty: &ComponentTypeRef) -> Shape<'a> {
        match ty {
            ComponentTypeRef::Module(index) => Self::core(&self.core_types, *index),
            ComponentTypeRef::Func(index)
            | ComponentTypeRef::Instance(index)
            | ComponentTypeRef::Component(index)
            | ComponentTypeRef::Type(TypeBounds::Eq(index)) => Self::known(&self.types, *index),
            ComponentTypeRef::Type(TypeBounds::SubResource) | ComponentTypeRef::Value(_) => {
                Shape::default()
            }
        }
    }

    /// What an export exports, by its type where that is larger: it may be given another.
    pub fn exported(&self, export: &ComponentExport<'_>) -> Shape<'a> {
        let item = match export.kind {
            ComponentExternalKind::Module => Self::core(&self.modules, export.index),
            ComponentExternalKind::Func => Self::known(&self.functions, export.index),
            ComponentExternalKind::Type => Self::known(&self.types, export.index),
            ComponentExternalKind::Instance => Self::known(&self.instances, export.index),
            ComponentExternalKind::Component => Self::known(&self.components, export.index),
            ComponentExternalKind::Value => Shape::default(),
        };
        match &export.ty {
            Some(ty) => {
                let ty = self.referenced(ty);
                Shape {
                    size: ty.size.max(item.size),
                    exports: ty.exports.or(item.exports),
                }
            }
            None => item,
        }
    }

    pub fn value_size(&self, ty: ComponentValType) -> u64 {
        match ty {
            ComponentValType::Primitive(_) => 1,
            ComponentValType::Type(index) => self.types.get(index as usize).map_or(1, |ty| ty.size),
        }
    }

    fn known(items: &[Shape<'a>], index: u32) -> Shape<'a> {
        items.get(index as usize).cloned().unwrap_or_default()
    }

    fn core(items: &[u64], index: u32) -> Shape<'a> {
        Shape::of(items.get(index as usize).copied().unwrap_or(1))
    }
}

/// How many parts a type has of its own, and the types that it is made of.
pub(super) fn defined_parts(ty: &ComponentDefinedType<'_>) -> (u64, Vec<ComponentValType>) {
    use ComponentDefinedType as Defined;
    let used: Vec<ComponentValType> = match ty {
        Defined::Record(fields) => fields.iter().map(|(_, ty)| *ty).collect(),
        Defined::Variant(cases) => {
            let used = cases.iter().filter_map(|case| case.ty).collect();
            return (1 + cases.len() as u64, used);
        }
        Defined::Flags(names) | Defined::Enum(names) => {
            return (1 + names.len() as u64, Vec::new());
        }
        Defined::Tuple(types) => types.to_vec(),
        Defined::List(ty) | Defined::Option(ty) | Defined::FixedLengthList(ty, _) => vec![*ty],
        Defined::Map(key, value) => vec![*key, *value],
        Defined::Result { ok, err } => ok.iter().chain(err).copied().collect(),
        Defined::Future(ty) | Defined::Stream(ty) => ty.iter().copied().collect(),
        Defined::Own(_) | Defined::Borrow(_) | Defined::Primitive(_) => Vec::new(),
    };
    (1 + used.len() as u64, used)
}
