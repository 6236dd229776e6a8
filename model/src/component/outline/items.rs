//! The contents of components: types, imports, exports, and the items between them.

use wasmparser::{
    BinaryReader, CanonicalFunction, ComponentAlias, ComponentExport, ComponentExternName,
    ComponentExternalKind, ComponentImport, ComponentInstance, ComponentOuterAliasKind,
    ComponentType,
};

use super::{
    Outline, Result, at_index,
    shape::{Scope, Shape, defined_parts},
};
use crate::component::{InspectError, Limit};

impl<'a> Outline<'a, '_> {
    /// Types of a section. Those of components and instances hold declarations, and these hold
    /// types again.
    pub(super) fn types(&mut self, reader: &mut BinaryReader<'a>, count: u32) -> Result {
        let base = self.scopes.len();
        // What is left of the section, and of each type that is open.
        let mut left = vec![count];
        loop {
            if left.last() == Some(&0) {
                left.pop();
                if left.is_empty() {
                    return Ok(());
                }
                let closed = self.scopes.pop().unwrap_or_default();
                self.here().types.push(closed.into_shape());
                continue;
            }
            if let Some(left) = left.last_mut() {
                *left -= 1;
            }
            let at = reader.original_position();
            self.interrupt.check()?;
            let is_type = self.scopes.len() == base
                || match reader.read_u8()? {
                    0x01 => true,
                    byte => {
                        self.declaration(reader, byte, at)?;
                        false
                    }
                };
            if is_type && let Some(inner) = self.ty(reader)? {
                left.push(inner);
            }
        }
    }

    /// One type; of a component or an instance how many declarations follow.
    fn ty(&mut self, reader: &mut BinaryReader<'a>) -> Result<Option<u32>> {
        let at = reader.original_position();
        if matches!(reader.clone().read_u8()?, 0x41 | 0x42) {
            reader.read_u8()?;
            let count = reader.read_var_u32()?;
            self.define(1, at)?;
            self.open_scope(at)?;
            return Ok(Some(count));
        }
        let ty: ComponentType<'a> = reader.read()?;
        let (parts, used) = match &ty {
            ComponentType::Func(function) => {
                let params = function.params.iter().map(|(_, ty)| *ty);
                let used: Vec<_> = params.chain(function.result).collect();
                (1 + function.params.len() as u64, used)
            }
            ComponentType::Defined(defined) => defined_parts(defined),
            // Those of components and instances were read before.
            ComponentType::Resource { .. }
            | ComponentType::Component(_)
            | ComponentType::Instance(_) => (1, Vec::new()),
        };
        self.define(parts, at)?;
        let scope = self.here();
        let size = used
            .iter()
            .fold(parts, |size, ty| size.saturating_add(scope.value_size(*ty)));
        scope.types.push(Shape::of(size));
        Ok(None)
    }

    /// A declaration that is not a type, within the type of a component or an instance.
    fn declaration(&mut self, reader: &mut BinaryReader<'a>, byte: u8, at: usize) -> Result {
        match byte {
            0x00 => {
                let ty = reader.read()?;
                self.core_type(ty, at)
            }
            0x02 => {
                let alias = reader.read()?;
                self.alias(alias, at)
            }
            0x03 => {
                let import = reader.read()?;
                self.import(import, at)
            }
            0x04 => {
                let name: ComponentExternName<'a> = reader.read()?;
                let ty = reader.read()?;
                let shape = self.here().referenced(&ty);
                self.define(1, at)?;
                self.here().export(name.name, ty.kind(), shape.clone());
                self.repeat(shape.size, at)
            }
            _ => Err(InspectError::Invalid {
                offset: at,
                message: format!("unknown declaration {byte:#x} in a type"),
            }),
        }
    }

    pub(super) fn import(&mut self, import: ComponentImport<'a>, at: usize) -> Result {
        self.define(1, at)?;
        let scope = self.here();
        let shape = scope.referenced(&import.ty);
        let size = shape.size;
        scope.imports = scope.imports.saturating_add(size);
        scope.push(import.ty.kind(), shape);
        self.repeat(size, at)
    }

    pub(super) fn export(&mut self, export: ComponentExport<'a>, at: usize) -> Result {
        self.define(1, at)?;
        let scope = self.here();
        let shape = scope.exported(&export);
        let size = shape.size;
        scope.export(export.name.name, export.kind, shape);
        self.repeat(size, at)
    }

    pub(super) fn alias(&mut self, alias: ComponentAlias<'a>, at: usize) -> Result {
        self.define(1, at)?;
        match alias {
            ComponentAlias::InstanceExport {
                kind,
                instance_index,
                name,
            } => {
                let scope = self.here();
                let instance = at_index(&scope.instances, instance_index);
                let shape = instance.and_then(|instance| instance.export(name));
                scope.push(kind, shape.unwrap_or_default());
            }
            ComponentAlias::CoreInstanceExport { .. } => {}
            ComponentAlias::Outer { kind, count, index } => {
                let outer = (self.scopes.len() - 1).checked_sub(count as usize);
                let Some(outer) = outer.map(|outer| &self.scopes[outer]) else {
                    return Ok(());
                };
                match kind {
                    ComponentOuterAliasKind::CoreModule => {
                        let module = at_index(&outer.modules, index).copied().unwrap_or(1);
                        self.here().modules.push(module);
                    }
                    ComponentOuterAliasKind::CoreType => {
                        let ty = at_index(&outer.core_types, index).copied().unwrap_or(1);
                        self.here().core_types.push(ty);
                    }
                    ComponentOuterAliasKind::Type => {
                        let ty = at_index(&outer.types, index).cloned().unwrap_or_default();
                        self.here().types.push(ty);
                    }
                    ComponentOuterAliasKind::Component => {
                        let component = at_index(&outer.components, index);
                        let component = component.cloned().unwrap_or_default();
                        self.here().components.push(component);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn instance(&mut self, instance: ComponentInstance<'a>, at: usize) -> Result {
        self.add(Limit::Instances, 1, at)?;
        let given = match &instance {
            ComponentInstance::Instantiate { args, .. } => args.len(),
            ComponentInstance::FromExports(exports) => exports.len(),
        };
        self.define(given as u64, at)?;
        let scope = self.here();
        let (shape, cost) = match &instance {
            ComponentInstance::Instantiate {
                component_index, ..
            } => {
                let component = at_index(&scope.components, *component_index);
                let component = component.cloned().unwrap_or_default();
                (component.instance(), component.size)
            }
            ComponentInstance::FromExports(exports) => {
                let mut inner = Scope::default();
                for export in exports {
                    let shape = scope.exported(export);
                    inner.export(export.name.name, export.kind, shape);
                }
                let shape = inner.into_shape();
                let cost = shape.size;
                (shape, cost)
            }
        };
        scope.instances.push(shape);
        self.repeat(cost, at)
    }

    pub(super) fn canonical(&mut self, function: CanonicalFunction, at: usize) -> Result {
        if let CanonicalFunction::Lift { type_index, .. } = function {
            let scope = self.here();
            let ty = at_index(&scope.types, type_index).cloned();
            scope.push(ComponentExternalKind::Func, ty.unwrap_or_default());
        }
        self.define(1, at)
    }
}
