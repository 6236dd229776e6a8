//! Core modules, their types and their instances.

use wasmparser::{
    CompositeInnerType, CoreType, FunctionBody, Instance, ModuleTypeDeclaration, RecGroup, TypeRef,
};

use super::{Outline, Result, at_index};
use crate::component::{InspectError, Limit};

impl<'a> Outline<'a, '_> {
    pub(super) fn body(&mut self, body: &FunctionBody<'_>) -> Result {
        let range = body.range();
        let index = self.module.as_mut().map_or(0, |module| {
            module.functions += 1;
            module.functions - 1
        });
        let refuse = |limit: Limit, is: String| InspectError::Function {
            function: index,
            module: self.modules.saturating_sub(1),
            offset: range.start,
            is,
            limit,
            most: self.limits.get(limit),
        };
        let size = range.len() as u64;
        if size > self.limits.get(Limit::FunctionSize) {
            return Err(refuse(Limit::FunctionSize, format!("has {size} bytes")));
        }
        let mut locals = 0_u64;
        for group in body.get_locals_reader()? {
            locals += u64::from(group?.0);
        }
        if locals > self.limits.get(Limit::Locals) {
            return Err(refuse(
                Limit::Locals,
                format!("has {locals} local variables"),
            ));
        }
        Ok(())
    }

    /// Imported memories and tables are counted where they are made.
    pub(super) fn core_import(&mut self, ty: TypeRef) {
        if let Some(module) = &mut self.module {
            module.border += 1;
            if matches!(ty, TypeRef::Func(_) | TypeRef::FuncExact(_)) {
                module.functions += 1;
            }
        }
    }

    pub(super) fn core_type(&mut self, ty: CoreType<'a>, at: usize) -> Result {
        let border = match &ty {
            CoreType::Rec(group) => {
                self.core_group(group, at)?;
                0
            }
            CoreType::Module(declarations) => {
                for declaration in declarations {
                    match declaration {
                        ModuleTypeDeclaration::Type(group) => self.core_group(group, at)?,
                        _ => self.define(1, at)?,
                    }
                }
                declarations.len() as u64
            }
        };
        self.here().core_types.push(1 + border);
        Ok(())
    }

    /// Types of core modules, with their parameters, results and fields.
    pub(super) fn core_group(&mut self, group: &RecGroup, at: usize) -> Result {
        for ty in group.types() {
            let parts = match &ty.composite_type.inner {
                CompositeInnerType::Func(ty) => {
                    let parts = ty.params().len() + ty.results().len();
                    if parts as u64 > self.limits.get(Limit::Signature) {
                        return Err(self.exceeded(Limit::Signature, at));
                    }
                    parts
                }
                CompositeInnerType::Struct(ty) => ty.fields.len(),
                CompositeInnerType::Array(_) | CompositeInnerType::Cont(_) => 0,
            };
            self.define(1 + parts as u64, at)?;
        }
        Ok(())
    }

    pub(super) fn core_instance(&mut self, instance: Instance<'a>, at: usize) -> Result {
        self.add(Limit::Instances, 1, at)?;
        let given = match &instance {
            Instance::Instantiate { args, .. } => args.len(),
            Instance::FromExports(exports) => exports.len(),
        };
        self.define(given as u64, at)?;
        let scope = self.here();
        let (size, cost) = match &instance {
            Instance::Instantiate { module_index, args } => {
                let module = at_index(&scope.modules, *module_index)
                    .copied()
                    .unwrap_or(1);
                let given = args.iter().map(|arg| {
                    let instance = at_index(&scope.core_instances, arg.index);
                    instance.copied().unwrap_or(1)
                });
                let cost = given.fold(module, u64::saturating_add);
                (module, cost)
            }
            Instance::FromExports(exports) => (exports.len() as u64, exports.len() as u64),
        };
        scope.core_instances.push(size);
        self.repeat(cost, at)
    }
}
