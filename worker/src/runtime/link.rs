//! Links the imports of one guest to exports of its workload's components. Each call gets a fresh
//! instance.

mod define;
mod flat;
mod layout;
mod lift;
mod lower;
#[cfg(test)]
mod tests;
mod values;

use std::{collections::HashMap, sync::Arc};

use warren_model::{link::Link, name::Name};
use wasmtime::component::{
    Component, ComponentExportIndex, Instance, Linker,
    types::{ComponentFunc, ComponentItem, Type},
};

use super::{
    ComponentRuntime, Guest,
    component::{Caller, Invocation},
    failure::Failure,
};
use values::{Arguments, Content, FLAT_PARAMS, FLAT_RESULTS, Results, Values};

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
            let exported = exporter.component().get_export(Some(&export), function);
            let Some((ComponentItem::ComponentFunc(exported), index)) = exported else {
                return Err(missing(&name));
            };
            if !same(&signature, &exported) {
                return Err(failed(wasmtime::format_err!(
                    "`{name}` has another type in component `{}`",
                    exporter.name()
                )));
            }
            let callee = Arc::new(Callee {
                component: Arc::clone(exporter),
                function: name,
                export: index,
                failures: Failures::of(&signature),
            });
            let answer = move |guest: &Guest, arguments| {
                let (callee, caller) = (Arc::clone(&callee), Caller::of(guest));
                async move { callee.answer(caller, arguments).await }
            };
            define::define(&mut instance, function, &signature, answer).map_err(failed)?;
        }
    }
    Ok(())
}

/// Returns whether values of one function's types can be passed as the other's.
fn same(one: &ComponentFunc, other: &ComponentFunc) -> bool {
    let params = one.params().map(|(_, ty)| ty);
    params.eq(other.params().map(|(_, ty)| ty)) && one.results().eq(other.results())
}

impl Callee {
    /// Calls the function, and returns its results or, if it can express one, the result that
    /// reports why the call failed.
    async fn answer(&self, caller: Caller, arguments: Vec<u8>) -> wasmtime::Result<Content> {
        let called = match caller.hold(arguments.capacity()) {
            Ok(_held) => self.call(caller, arguments).await,
            Err(failure) => Err(failure),
        };
        let failure = match called {
            Ok(results) => return Ok(Content::Tape(results)),
            Err(failure) => failure,
        };
        match self.failures {
            Failures::Text => Ok(Content::Failed(Some(self.say(&failure)))),
            Failures::Empty => Ok(Content::Failed(None)),
            Failures::Trap => Err(self.trap(failure)),
        }
    }

    async fn call(&self, caller: Caller, arguments: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let deadline = self.component.deadline();
        let memory = self.component.instance_memory();
        self.component
            .until(deadline, &memory, async {
                let mut callee = self.component.begin(caller, deadline, &memory).await?;
                let result = async {
                    let function = callee.function(&self.export)?;
                    let store = &mut callee.guest.store;
                    // These have room for the core values of any function.
                    let function =
                        function.typed::<Arguments<FLAT_PARAMS>, Results<FLAT_RESULTS>>(&*store)?;
                    let arguments = Values(Content::Tape(arguments));
                    let results = function.call_async(store, arguments).await?;
                    Ok(results.into_tape())
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
