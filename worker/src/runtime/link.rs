//! Links the imports of one guest to exports of its workload's components. Each call gets a fresh
//! instance.

mod typed;

use std::{collections::HashMap, sync::Arc};

use warren_model::{link::Link, name::Name};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Linker, Lower, Val,
    types::{ComponentFunc, ComponentItem, Type},
};

use super::{
    ComponentRuntime, Guest,
    component::{Caller, Invocation},
    failure::Failure,
};

/// The reason why an import cannot be linked as planned.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("nothing exports `{0}`, which it imports")]
    Missing(String),
    #[error("`{0}` cannot be linked: {1:#}")]
    Wasmtime(String, wasmtime::Error),
}

/// A function of a component, as other components of its workload call it.
pub(super) struct Callee {
    component: Arc<ComponentRuntime>,
    /// The name for messages, in the form "interface#function".
    function: String,
    export: ComponentExportIndex,
    failures: Failures,
}

/// The way in which a function reports that the call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failures {
    /// Its result is a `result` whose error is a string.
    Text,
    /// Its result is a `result` whose error has no payload.
    Empty,
    /// Its signature has no way to report it, so the caller traps.
    Trap,
}

/// Defines the imports of `importer` that `links` name. `exporters` must already be prepared.
/// Imports that no link names are provided by the host, and `linker` already has them, or consist
/// of types alone, which need no definition.
pub(super) fn link(
    linker: &mut Linker<Guest>,
    importer: &Component,
    links: &[Link],
    exporters: &HashMap<Name, Arc<ComponentRuntime>>,
) -> Result<(), LinkError> {
    let engine = importer.engine();
    let ty = importer.component_type();
    for Link {
        import,
        exporter,
        export,
    } in links
    {
        let interface = ty.get_import(engine, import).map(|item| item.ty);
        let Some(ComponentItem::ComponentInstance(interface)) = interface else {
            continue;
        };
        let failed = |e| LinkError::Wasmtime(import.clone(), e);
        let missing = |what: &str| LinkError::Missing(what.to_owned());
        let exporter = exporters.get(exporter).ok_or_else(|| missing(import))?;
        let exported = exporter.component().get_export(None, export);
        let (_, export) = exported.ok_or_else(|| missing(import))?;
        let mut instance = linker.instance(import).map_err(failed)?;
        for (function, item) in interface.exports(engine) {
            let ComponentItem::ComponentFunc(signature) = item.ty else {
                continue;
            };
            let name = format!("{import}#{function}");
            let (_, index) = exporter
                .component()
                .get_export(Some(&export), function)
                .ok_or_else(|| missing(&name))?;
            let callee = Arc::new(Callee {
                component: Arc::clone(exporter),
                function: name,
                export: index,
                failures: Failures::of(&signature),
            });
            if !typed::define(&mut instance, function, &signature, &callee).map_err(failed)? {
                callee.define(&mut instance, function).map_err(failed)?;
            }
        }
    }
    Ok(())
}

impl Callee {
    /// Defines a function of any signature. Values pass as [`Val`], which costs an allocation for
    /// each compound value and 40 bytes for each element of a list.
    fn define(
        self: Arc<Self>,
        instance: &mut wasmtime::component::LinkerInstance<'_, Guest>,
        name: &str,
    ) -> wasmtime::Result<()> {
        instance.func_new_async(name, move |store, _, params, results| {
            let callee = Arc::clone(&self);
            let caller = Caller::of(store.data());
            Box::new(async move {
                let called = match caller.hold(params.iter().map(value_bytes).sum()) {
                    Ok(_held) => callee.call_dynamic(caller, params, results).await,
                    Err(failure) => Err(failure),
                };
                let Err(failure) = called else {
                    return Ok(());
                };
                let value = match callee.failures {
                    Failures::Text => Some(Box::new(Val::String(callee.say(&failure)))),
                    Failures::Empty => None,
                    Failures::Trap => return Err(callee.trap(failure)),
                };
                results[0] = Val::Result(Err(value));
                Ok(())
            })
        })
    }

    async fn call_dynamic(
        &self,
        caller: Caller,
        params: &[Val],
        results: &mut [Val],
    ) -> Result<(), Failure> {
        let deadline = self.component.deadline();
        let memory = self.component.instance_memory();
        self.component
            .until(deadline, &memory, async {
                let mut callee = self.component.begin(caller, deadline, &memory).await?;
                let result = async {
                    let function = callee.function(&self.export)?;
                    function
                        .call_async(&mut callee.guest.store, params, results)
                        .await
                }
                .await;
                self.end(callee, result)
            })
            .await
            .map_err(|failure| self.log(failure))
    }

    /// Calls with types that are known at compile time, without an intermediate representation.
    async fn call_typed<P, R>(&self, caller: Caller, params: P) -> Result<R, Failure>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let deadline = self.component.deadline();
        let memory = self.component.instance_memory();
        self.component
            .until(deadline, &memory, async {
                let mut callee = self.component.begin(caller, deadline, &memory).await?;
                let result = async {
                    let function = callee.function(&self.export)?;
                    let typed = function.typed::<P, R>(&callee.guest.store)?;
                    typed.call_async(&mut callee.guest.store, params).await
                }
                .await;
                self.end(callee, result)
            })
            .await
            .map_err(|failure| self.log(failure))
    }

    fn end<R>(&self, callee: Invocation, result: wasmtime::Result<R>) -> Result<R, Failure> {
        match result {
            Ok(value) => {
                callee.guest.finish();
                Ok(value)
            }
            Err(error) => Err(self.component.failure(&error, &callee.guest)),
        }
    }

    /// Logs the whole failure for the workload's owner. The caller only gets its cause.
    fn log(&self, failure: Failure) -> Failure {
        self.component.log_failure(&failure);
        failure
    }

    fn say(&self, failure: &Failure) -> String {
        format!(
            "component `{}`, function `{}`: {}",
            self.component.name(),
            self.function,
            failure.headline()
        )
    }

    fn trap(&self, failure: Failure) -> wasmtime::Error {
        match failure {
            // The caller exceeded its own budget and ends for that reason.
            Failure::CallTooLarge(exceeded) => exceeded.into(),
            failure => wasmtime::format_err!("{}", self.say(&failure)),
        }
    }
}

impl Invocation {
    fn function(
        &mut self,
        export: &ComponentExportIndex,
    ) -> wasmtime::Result<wasmtime::component::Func> {
        let instance: Instance = self.instance;
        instance
            .get_func(&mut self.guest.store, export)
            .ok_or_else(|| wasmtime::format_err!("the function is not exported"))
    }
}

/// Returns the bytes that a value takes.
fn value_bytes(value: &Val) -> usize {
    let inner = match value {
        Val::String(text) => text.len(),
        Val::List(values) | Val::Tuple(values) => values.iter().map(value_bytes).sum(),
        Val::Record(fields) => fields
            .iter()
            .map(|(name, value)| size_of::<String>() + name.len() + value_bytes(value))
            .sum(),
        Val::Variant(name, value) => name.len() + value.as_deref().map_or(0, value_bytes),
        Val::Option(value) | Val::Result(Ok(value) | Err(value)) => {
            value.as_deref().map_or(0, value_bytes)
        }
        Val::Enum(name) => name.len(),
        Val::Flags(names) => names
            .iter()
            .map(|name| size_of::<String>() + name.len())
            .sum(),
        // Only numbers and handles are left; other types are never linked.
        _ => 0,
    };
    size_of::<Val>() + inner
}

impl Failures {
    fn of(signature: &ComponentFunc) -> Self {
        match signature.results().next() {
            Some(Type::Result(result)) => match result.err() {
                None => Self::Empty,
                Some(Type::String) => Self::Text,
                Some(_) => Self::Trap,
            },
            _ => Self::Trap,
        }
    }
}
