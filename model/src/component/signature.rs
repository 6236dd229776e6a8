//! Function types as text: equal types give equal text, whatever their types were called.

use std::collections::HashMap;

use wasmparser::{
    PrimitiveValType,
    component_types::{
        ComponentDefinedType, ComponentDefinedTypeId, ComponentFuncType, ComponentValType,
        ResourceId,
    },
    types::Types,
};

/// The maximum bytes of a type as text. A longer one is refused: types share parts, so a small
/// component can describe a huge one.
const MAX_LENGTH: usize = 16 << 10;

/// The names of the resources that an interface knows.
pub(super) type Resources = HashMap<ResourceId, String>;

pub(super) struct Signature {
    pub text: String,
    pub unlinkable: Option<String>,
}

/// Writes a function's type; `resources` are the names of those that its interface knows.
pub(super) fn write(
    types: &Types,
    resources: &Resources,
    function: &ComponentFuncType,
) -> Signature {
    let mut writer = Writer {
        types,
        resources,
        text: String::new(),
        obstacle: None,
    };
    writer.function(function);
    let Writer { text, obstacle, .. } = writer;
    Signature {
        text: if obstacle == Some(Obstacle::Length) {
            text + "..."
        } else {
            text
        },
        unlinkable: obstacle.map(|obstacle| obstacle.reason().to_owned()),
    }
}

struct Writer<'a> {
    types: &'a Types,
    resources: &'a Resources,
    text: String,
    /// The first that was met; [`Obstacle::Length`] takes the place of another, and ends the
    /// writing.
    obstacle: Option<Obstacle>,
}

/// A type that cannot pass from one component's instance to another's.
#[derive(Clone, Copy, PartialEq)]
enum Obstacle {
    Async,
    Resource,
    Stream,
    Future,
    ErrorContext,
    Length,
}

impl Obstacle {
    fn reason(self) -> &'static str {
        match self {
            Self::Async => "it is async, and calls between components are not yet",
            Self::Resource => "it passes a resource, which cannot leave its component yet",
            Self::Stream => "it passes a stream, which cannot leave its component yet",
            Self::Future => "it passes a future, which cannot leave its component yet",
            Self::ErrorContext => "it passes an error-context, which cannot leave its component",
            Self::Length => "its type is longer than 16 KiB written out",
        }
    }
}

impl<'a> Writer<'a> {
    fn function(&mut self, function: &ComponentFuncType) {
        if function.async_ {
            self.obstacle(Obstacle::Async);
            self.push("async ");
        }
        self.push("func(");
        self.list(&function.params, |w, (name, ty)| {
            w.push(name.as_str());
            w.push(": ");
            w.value(*ty);
        });
        self.push(")");
        if let Some(result) = function.result {
            self.push(" -> ");
            self.value(result);
        }
    }

    fn value(&mut self, ty: ComponentValType) {
        match ty {
            ComponentValType::Primitive(primitive) => self.primitive(primitive),
            ComponentValType::Type(id) => self.defined(id),
        }
    }

    fn primitive(&mut self, primitive: PrimitiveValType) {
        if primitive == PrimitiveValType::ErrorContext {
            self.obstacle(Obstacle::ErrorContext);
        }
        self.push(&primitive.to_string());
    }

    fn defined(&mut self, id: ComponentDefinedTypeId) {
        // Ends the walk with the text: shared parts could else be visited exponentially often.
        if self.obstacle == Some(Obstacle::Length) {
            return;
        }
        let types: &'a Types = self.types;
        match &types[id] {
            ComponentDefinedType::Primitive(primitive) => self.primitive(*primitive),
            ComponentDefinedType::Record(record) => {
                self.braces("record", &record.fields, |w, (name, ty)| {
                    w.push(name.as_str());
                    w.push(": ");
                    w.value(*ty);
                });
            }
            ComponentDefinedType::Variant(variant) => {
                self.braces("variant", &variant.cases, |w, (name, case)| {
                    w.push(name.as_str());
                    if let Some(ty) = case.ty {
                        w.push("(");
                        w.value(ty);
                        w.push(")");
                    }
                });
            }
            ComponentDefinedType::Flags(names) => self.braces("flags", names, |w, n| w.push(n)),
            ComponentDefinedType::Enum(names) => self.braces("enum", names, |w, n| w.push(n)),
            ComponentDefinedType::List { element, .. } => self.generic("list", &[Some(*element)]),
            ComponentDefinedType::Map { key, value, .. } => {
                self.generic("map", &[Some(*key), Some(*value)]);
            }
            ComponentDefinedType::FixedLengthList {
                element, length, ..
            } => {
                self.push("list<");
                self.value(*element);
                self.push(&format!(", {length}>"));
            }
            ComponentDefinedType::Tuple(tuple) => {
                self.push("tuple<");
                self.list(&tuple.types, |w, ty| w.value(*ty));
                self.push(">");
            }
            ComponentDefinedType::Option { ty, .. } => self.generic("option", &[Some(*ty)]),
            ComponentDefinedType::Result { ok, err, .. } => match (ok, err) {
                (None, None) => self.push("result"),
                (ok, None) => self.generic("result", &[*ok]),
                (ok, err) => self.generic("result", &[*ok, *err]),
            },
            ComponentDefinedType::Own(resource) => self.resource(resource.resource()),
            ComponentDefinedType::Borrow(resource) => {
                self.push("borrow<");
                self.resource(resource.resource());
                self.push(">");
            }
            ComponentDefinedType::Future { ty, .. } => {
                self.obstacle(Obstacle::Future);
                self.payload("future", *ty);
            }
            ComponentDefinedType::Stream { ty, .. } => {
                self.obstacle(Obstacle::Stream);
                self.payload("stream", *ty);
            }
        }
    }

    fn resource(&mut self, id: ResourceId) {
        self.obstacle(Obstacle::Resource);
        let named = self.resources.get(&id);
        self.push(named.map_or("resource", String::as_str));
    }

    fn payload(&mut self, name: &str, ty: Option<ComponentValType>) {
        match ty {
            Some(_) => self.generic(name, &[ty]),
            None => self.push(name),
        }
    }

    /// An absent argument is written `_`.
    fn generic(&mut self, name: &str, arguments: &[Option<ComponentValType>]) {
        self.push(name);
        self.push("<");
        self.list(arguments, |w, ty| match ty {
            Some(ty) => w.value(*ty),
            None => w.push("_"),
        });
        self.push(">");
    }

    fn braces<T>(
        &mut self,
        keyword: &str,
        items: impl IntoIterator<Item = T>,
        each: impl FnMut(&mut Self, T),
    ) {
        self.push(keyword);
        self.push(" { ");
        self.list(items, each);
        self.push(" }");
    }

    fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.push(", ");
            }
            each(self, item);
        }
    }

    fn push(&mut self, text: &str) {
        if self.obstacle == Some(Obstacle::Length) {
            return;
        }
        if self.text.len() + text.len() > MAX_LENGTH {
            self.obstacle = Some(Obstacle::Length);
        } else {
            self.text.push_str(text);
        }
    }

    fn obstacle(&mut self, obstacle: Obstacle) {
        self.obstacle.get_or_insert(obstacle);
    }
}
