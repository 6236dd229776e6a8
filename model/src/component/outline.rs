//! One cheap pass over a component before it is validated, which refuses what would be expensive to
//! validate.
//!
//! Validation is linear in most of a component, and far from it in how components and their types
//! are nested, shared and instantiated. This pass takes time and memory in proportion to the bytes,
//! and recurses nowhere. It resolves just enough of the index spaces to know how large types are
//! once written out; whether the component is valid it leaves to the validator.

use wasmparser::{BinaryReader, Encoding, FromReader, Parser, Payload, SectionLimited};

use super::{
    error::InspectError,
    inspect::Interrupt,
    limits::{Limit, Limits},
};
use shape::Scope;

mod core;
mod items;
mod shape;
#[cfg(test)]
mod tests;

type Result<T = ()> = std::result::Result<T, InspectError>;

/// Refuses a component that exceeds a limit, [`Limit::BlockDepth`] apart, which the validation of
/// bodies watches.
pub(super) fn check(bytes: &[u8], limits: &Limits, interrupt: &Interrupt<'_>) -> Result {
    count(bytes, limits, interrupt).map(drop)
}

fn count(bytes: &[u8], limits: &Limits, interrupt: &Interrupt<'_>) -> Result<Counted> {
    let mut outline = Outline {
        bytes,
        limits,
        interrupt,
        counted: Counted::default(),
        scopes: Vec::new(),
        module: None,
        modules: 0,
    };
    for payload in Parser::new(0).parse_all(bytes) {
        interrupt.check()?;
        outline.payload(payload?)?;
    }
    Ok(outline.counted)
}

struct Outline<'a, 'i> {
    bytes: &'a [u8],
    limits: &'i Limits,
    interrupt: &'i Interrupt<'i>,
    counted: Counted,
    /// The components, and the types of components and instances, that are open, outermost first.
    scopes: Vec<Scope<'a>>,
    /// The core module that is open: always within the last of `scopes`.
    module: Option<Module>,
    /// Core modules before the next one.
    modules: u64,
}

#[derive(Debug, Default)]
struct Counted {
    modules: u64,
    instances: u64,
    functions: u64,
    memories: u64,
    tables: u64,
    definitions: u64,
    type_size: u64,
}

/// A core module.
#[derive(Default)]
struct Module {
    /// Imports and exports.
    border: u64,
    /// The index of its next function, and so first how many it imports.
    functions: u64,
}

impl<'a> Outline<'a, '_> {
    fn payload(&mut self, payload: Payload<'a>) -> Result {
        match payload {
            Payload::Version {
                encoding, range, ..
            } => self.open(encoding, range.start),
            Payload::End(_) => self.close(),
            Payload::CodeSectionEntry(body) => self.body(&body),
            Payload::TypeSection(section) => {
                self.each(section, |outline, group, at| outline.core_group(&group, at))
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports_with_offsets() {
                    let (at, import) = import?;
                    self.define(1, at)?;
                    self.core_import(import.ty);
                }
                Ok(())
            }
            Payload::TableSection(section) => {
                self.add(Limit::Tables, section.count().into(), section.range().start)
            }
            Payload::MemorySection(section) => self.add(
                Limit::Memories,
                section.count().into(),
                section.range().start,
            ),
            Payload::TagSection(section) => {
                self.define(section.count().into(), section.range().start)
            }
            Payload::GlobalSection(section) => {
                self.define(section.count().into(), section.range().start)
            }
            Payload::ElementSection(section) => {
                self.define(section.count().into(), section.range().start)
            }
            Payload::DataSection(section) => {
                self.define(section.count().into(), section.range().start)
            }
            Payload::ExportSection(section) => {
                if let Some(module) = &mut self.module {
                    module.border += u64::from(section.count());
                }
                self.define(section.count().into(), section.range().start)
            }
            Payload::FunctionSection(section) => self.add(
                Limit::Functions,
                section.count().into(),
                section.range().start,
            ),
            Payload::InstanceSection(section) => self.each(section, Self::core_instance),
            Payload::CoreTypeSection(section) => self.each(section, Self::core_type),
            Payload::ComponentInstanceSection(section) => self.each(section, Self::instance),
            Payload::ComponentAliasSection(section) => self.each(section, Self::alias),
            Payload::ComponentTypeSection(section) => {
                let range = section.range();
                let content = self.bytes.get(range.clone()).unwrap_or_default();
                let mut reader = BinaryReader::new(content, range.start);
                let count = reader.read_var_u32()?;
                self.types(&mut reader, count)
            }
            Payload::ComponentCanonicalSection(section) => self.each(section, Self::canonical),
            Payload::ComponentImportSection(section) => self.each(section, Self::import),
            Payload::ComponentExportSection(section) => self.each(section, Self::export),
            _ => Ok(()),
        }
    }

    fn each<T: FromReader<'a>>(
        &mut self,
        section: SectionLimited<'a, T>,
        mut item: impl FnMut(&mut Self, T, usize) -> Result,
    ) -> Result {
        for one in section.into_iter_with_offsets() {
            let (at, one) = one?;
            item(self, one, at)?;
        }
        Ok(())
    }

    // === Components and modules ===

    fn open(&mut self, encoding: Encoding, at: usize) -> Result {
        self.add(Limit::Modules, 1, at)?;
        match encoding {
            Encoding::Module => {
                self.nest(at)?;
                self.module = Some(Module::default());
                self.modules += 1;
            }
            Encoding::Component => self.open_scope(at)?,
        }
        Ok(())
    }

    fn close(&mut self) -> Result {
        if let Some(module) = self.module.take() {
            self.here().modules.push(module.border + 1);
        } else if let Some(closed) = self.scopes.pop()
            && let Some(parent) = self.scopes.last_mut()
        {
            parent.components.push(closed.into_shape());
        }
        Ok(())
    }

    fn open_scope(&mut self, at: usize) -> Result {
        self.nest(at)?;
        self.scopes.push(Scope::default());
        Ok(())
    }

    /// Before something is opened within what is open.
    fn nest(&self, at: usize) -> Result {
        match self.scopes.len() as u64 >= self.limits.get(Limit::Nesting) {
            true => Err(self.exceeded(Limit::Nesting, at)),
            false => Ok(()),
        }
    }

    /// The innermost scope. Without one the bytes are a core module, which [`super::inspect()`]
    /// refuses before.
    fn here(&mut self) -> &mut Scope<'a> {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    // === Counting ===

    fn define(&mut self, parts: u64, at: usize) -> Result {
        self.add(Limit::Definitions, parts, at)
    }

    /// A type of this size occurs once more.
    fn repeat(&mut self, size: u64, at: usize) -> Result {
        self.add(Limit::TypeSize, size, at)
    }

    fn add(&mut self, limit: Limit, more: u64, at: usize) -> Result {
        let counted = &mut self.counted;
        let count = match limit {
            Limit::Modules => &mut counted.modules,
            Limit::Instances => &mut counted.instances,
            Limit::Functions => &mut counted.functions,
            Limit::Memories => &mut counted.memories,
            Limit::Tables => &mut counted.tables,
            Limit::TypeSize => &mut counted.type_size,
            _ => &mut counted.definitions,
        };
        *count = count.saturating_add(more);
        match *count > self.limits.get(limit) {
            true => Err(self.exceeded(limit, at)),
            false => Ok(()),
        }
    }

    fn exceeded(&self, limit: Limit, offset: usize) -> InspectError {
        InspectError::TooMuch {
            limit,
            most: self.limits.get(limit),
            offset,
        }
    }
}

fn at_index<T>(items: &[T], index: u32) -> Option<&T> {
    items.get(index as usize)
}
