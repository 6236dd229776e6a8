//! The allocations that one instance of a component requires from the engine, as far as the engine
//! itself does not report them.
//!
//! Components nest, and each may be instantiated many times: the sum follows the instantiations,
//! not the bytes. Where it cannot be known, because a component is an argument or comes from
//! another instance, the sum is not known.

use wasmparser::{
    AbstractHeapType, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, CompositeInnerType, HeapType, Instance, Parser,
    Payload, RefType, TypeRef, ValType,
};

use super::InspectError;

/// The parts of one instance of a component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Instances of core modules. `None`: not known.
    pub core_instances: Option<u32>,
    /// Instances of components, itself among them, that have code of their own: each may have a
    /// task that blocks while those of others run. `None`: not known.
    pub running: Option<u32>,
    /// Whether a module uses garbage-collected references, so that the instance may need a heap for
    /// them.
    pub gc: bool,
}

/// The instantiations of one component, summed over all that it instantiates in turn.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    /// `None`: it instantiates a component that is not known.
    total: Option<Counts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    core_instances: u32,
    running: u32,
}

/// A component whose sections are being read.
#[derive(Default)]
struct Scope {
    own_core_instances: u32,
    inner: Counts,
    unknown: bool,
    /// The index space of components.
    components: Vec<Sum>,
}

// === impl Scope ===

impl Scope {
    fn sum(&self) -> Sum {
        let running = u32::from(self.own_core_instances > 0).saturating_add(self.inner.running);
        let core_instances = self
            .own_core_instances
            .saturating_add(self.inner.core_instances);
        Sum {
            total: (!self.unknown).then_some(Counts {
                core_instances,
                running,
            }),
        }
    }

    fn component(&self, index: u32) -> Sum {
        let known = self.components.get(index as usize);
        known.copied().unwrap_or_default()
    }

    fn instantiate(&mut self, component: u32) {
        match self.component(component).total {
            Some(counts) => {
                let inner = &mut self.inner;
                inner.core_instances = inner.core_instances.saturating_add(counts.core_instances);
                inner.running = inner.running.saturating_add(counts.running);
            }
            None => self.unknown = true,
        }
    }
}

/// Reads what an instance of a valid component needs. Takes time in proportion to the bytes.
pub fn needs(bytes: &[u8]) -> Result<Needs, InspectError> {
    let mut gc = false;
    let mut scopes: Vec<Scope> = Vec::new();
    // For each module or component that is being read: whether it is a component.
    let mut open: Vec<bool> = Vec::new();
    let mut outermost = Sum::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        match &payload {
            Payload::Version { encoding, .. } => {
                let is_component = *encoding == wasmparser::Encoding::Component;
                open.push(is_component);
                if is_component {
                    scopes.push(Scope::default());
                }
            }
            Payload::End(_) => {
                let was_component = open.pop() == Some(true);
                if was_component {
                    let sum = scopes.pop().unwrap_or_default().sum();
                    match scopes.last_mut() {
                        Some(outer) => outer.components.push(sum),
                        None => outermost = sum,
                    }
                }
            }
            _ if open.last() == Some(&true) => read_component(&payload, &mut scopes)?,
            _ if !gc => gc = uses_gc(&payload)?,
            _ => {}
        }
    }
    Ok(Needs {
        core_instances: outermost.total.map(|counts| counts.core_instances),
        running: outermost.total.map(|counts| counts.running),
        gc,
    })
}

/// One section of the innermost component.
fn read_component(payload: &Payload<'_>, scopes: &mut [Scope]) -> Result<(), InspectError> {
    let depth = scopes.len();
    let Some((scope, outer)) = scopes.split_last_mut() else {
        return Ok(());
    };
    match payload {
        Payload::InstanceSection(instances) => {
            for instance in instances.clone() {
                if let Instance::Instantiate { .. } = instance? {
                    scope.own_core_instances = scope.own_core_instances.saturating_add(1);
                }
            }
        }
        Payload::ComponentInstanceSection(instances) => {
            for instance in instances.clone() {
                if let ComponentInstance::Instantiate {
                    component_index, ..
                } = instance?
                {
                    scope.instantiate(component_index);
                }
            }
        }
        Payload::ComponentImportSection(imports) => {
            for import in imports.clone() {
                if let ComponentTypeRef::Component(_) = import?.ty {
                    scope.components.push(Sum::default());
                }
            }
        }
        Payload::ComponentExportSection(exports) => {
            for export in exports.clone() {
                let export = export?;
                if export.kind == ComponentExternalKind::Component {
                    scope.components.push(scope.component(export.index));
                }
            }
        }
        Payload::ComponentAliasSection(aliases) => {
            for alias in aliases.clone() {
                match alias? {
                    ComponentAlias::InstanceExport {
                        kind: ComponentExternalKind::Component,
                        ..
                    } => scope.components.push(Sum::default()),
                    ComponentAlias::Outer {
                        kind: ComponentOuterAliasKind::Component,
                        count,
                        index,
                    } => {
                        let aliased = match count {
                            0 => scope.component(index),
                            _ => (depth - 1)
                                .checked_sub(count as usize)
                                .and_then(|at| outer.get(at))
                                .map_or_else(Sum::default, |of| of.component(index)),
                        };
                        scope.components.push(aliased);
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Returns whether a section of a core module has garbage-collected references, or exceptions,
/// which are garbage-collected too.
fn uses_gc(payload: &Payload<'_>) -> Result<bool, InspectError> {
    match payload {
        Payload::TypeSection(groups) => {
            for group in groups.clone() {
                for ty in group?.types() {
                    match &ty.composite_type.inner {
                        CompositeInnerType::Func(ty) => {
                            if ty.params().iter().chain(ty.results()).any(is_collected) {
                                return Ok(true);
                            }
                        }
                        _ => return Ok(true),
                    }
                }
            }
        }
        Payload::ImportSection(imports) => {
            for import in imports.clone().into_imports() {
                let found = match import?.ty {
                    TypeRef::Table(table) => is_collected_ref(table.element_type),
                    TypeRef::Global(global) => is_collected(&global.content_type),
                    TypeRef::Tag(_) => true,
                    _ => false,
                };
                if found {
                    return Ok(true);
                }
            }
        }
        Payload::TableSection(tables) => {
            for table in tables.clone() {
                if is_collected_ref(table?.ty.element_type) {
                    return Ok(true);
                }
            }
        }
        Payload::GlobalSection(globals) => {
            for global in globals.clone() {
                if is_collected(&global?.ty.content_type) {
                    return Ok(true);
                }
            }
        }
        Payload::TagSection(tags) => return Ok(tags.count() > 0),
        Payload::CodeSectionEntry(body) => {
            for local in body.get_locals_reader()? {
                if is_collected(&local?.1) {
                    return Ok(true);
                }
            }
        }
        _ => {}
    }
    Ok(false)
}

fn is_collected(ty: &ValType) -> bool {
    matches!(ty, ValType::Ref(ty) if is_collected_ref(*ty))
}

/// A concrete type that is not a function was already found at its definition.
fn is_collected_ref(ty: RefType) -> bool {
    match ty.heap_type() {
        HeapType::Abstract { ty, .. } => {
            !matches!(ty, AbstractHeapType::Func | AbstractHeapType::NoFunc)
        }
        HeapType::Concrete(_) | HeapType::Exact(_) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(text: &str) -> Needs {
        needs(&wat::parse_str(text).unwrap()).unwrap()
    }

    fn counts(text: &str) -> (Option<u32>, Option<u32>) {
        let needs = of(text);
        (needs.core_instances, needs.running)
    }

    #[test]
    fn each_instantiation_counts_wherever_it_nests() {
        let one = "(component (core module $m) (core instance (instantiate $m)))";
        assert_eq!(counts(one), (Some(1), Some(1)));
        assert_eq!(counts("(component (core module $m))"), (Some(0), Some(0)));
        let nested = "(component
            (component $c (core module $m)
                (core instance (instantiate $m)) (core instance (instantiate $m)))
            (component $b (alias outer 1 $c (component $d))
                (instance (instantiate $d)) (instance (instantiate $d)) (instance (instantiate $d)))
            (instance (instantiate $b)) (instance (instantiate $b)))";
        assert_eq!(counts(nested), (Some(12), Some(6)));
    }

    #[test]
    fn what_doubles_with_each_level_does_not_overflow() {
        let mut text =
            "(component (component $c0 (core module $m) (core instance (instantiate $m)))"
                .to_owned();
        for level in 1..40 {
            let inner = level - 1;
            text += &format!(
                "(component $c{level} (alias outer 1 $c{inner} (component $d))
                    (instance (instantiate $d)) (instance (instantiate $d)))"
            );
        }
        text += "(instance (instantiate $c39)))";
        assert_eq!(counts(&text), (Some(u32::MAX), Some(u32::MAX)));
    }

    #[test]
    fn a_component_that_is_an_argument_is_not_known() {
        let text = "(component
            (component $a (import \"c\" (component $c)) (instance (instantiate $c)))
            (component $b (core module $m) (core instance (instantiate $m)))
            (instance (instantiate $a (with \"c\" (component $b)))))";
        assert_eq!(counts(text), (None, None));
    }

    #[test]
    fn garbage_collected_references_are_found() {
        for (module, expected) in [
            ("", false),
            (
                "(table 1 funcref) (global (ref null func) (ref.null func))",
                false,
            ),
            ("(type $f (func)) (table 1 (ref null $f))", false),
            ("(type (struct (field i32)))", true),
            ("(type (array i8))", true),
            ("(table 1 externref)", true),
            ("(global (mut externref) (ref.null extern))", true),
            ("(func (param anyref))", true),
            ("(func (local eqref))", true),
            ("(import \"a\" \"b\" (global externref))", true),
            ("(tag (param i32))", true),
        ] {
            let found = of(&format!("(component (core module {module}))")).gc;
            assert_eq!(found, expected, "{module}");
        }
    }
}
