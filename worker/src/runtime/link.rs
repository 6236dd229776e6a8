//! Imports of one guest, answered by exports of its workload's components: a fresh instance each call.

mod typed;

use std::sync::Arc;

use warren_model::component::InterfaceName;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Linker, Lower, Val,
    types::{ComponentFunc, ComponentItem, Type},
};

use super::{
    ComponentRuntime, Guest,
    component::{Caller, Invocation},
    failure::Failure,
};

/// Why a guest's imports cannot be answered. Apply checks the same, so this tells of a mistake of ours.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("nothing exports `{0}`, which it imports")]
    Missing(String),
    #[error("`{0}` cannot be linked: {1:#}")]
    Wasmtime(String, wasmtime::Error),
}

/// One function of a component, as others of its workload call it.
pub(super) struct Callee {
    component: Arc<ComponentRuntime>,
    /// "interface#function", for messages.
    function: String,
    export: ComponentExportIndex,
    failures: Failures,
}

/// How a function can say that the call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failures {
    /// Its result is a `result` whose error is a string, or has no payload.
    Text,
    Empty,
    /// It has no way: the caller traps.
    Trap,
}

/// Defines every import of `importer` that is not WASI's, from the exports of `components`.
pub(super) fn link(
    linker: &mut Linker<Guest>,
    importer: &Component,
    components: &[Arc<ComponentRuntime>],
) -> Result<(), LinkError> {
    let engine = importer.engine();
    let ty = importer.component_type();
    for (import, item) in ty.imports(engine) {
        let ComponentItem::ComponentInstance(interface) = item.ty else {
            continue;
        };
        let name = match import.parse::<InterfaceName>() {
            Ok(name) if name.namespace == "wasi" => continue,
            Ok(name) => name,
            Err(_) => return Err(LinkError::Missing(import.to_owned())),
        };
        let failed = |e| LinkError::Wasmtime(import.to_owned(), e);
        let types_only = interface
            .exports(engine)
            .all(|(_, item)| !matches!(item.ty, ComponentItem::ComponentFunc(_)));
        if types_only {
            linker.instance(import).map_err(failed)?;
            continue;
        }
        let (exporter, export) =
            exporter(components, &name).ok_or_else(|| LinkError::Missing(import.to_owned()))?;
        let mut instance = linker.instance(import).map_err(failed)?;
        for (function, item) in interface.exports(engine) {
            let ComponentItem::ComponentFunc(signature) = item.ty else {
                continue;
            };
            let (_, index) = exporter
                .component()
                .get_export(Some(&export), function)
                .ok_or_else(|| LinkError::Missing(format!("{import}#{function}")))?;
            let callee = Arc::new(Callee {
                component: Arc::clone(&exporter),
                function: format!("{import}#{function}"),
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

fn exporter(
    components: &[Arc<ComponentRuntime>],
    import: &InterfaceName,
) -> Option<(Arc<ComponentRuntime>, ComponentExportIndex)> {
    components.iter().find_map(|candidate| {
        let component = candidate.component();
        let ty = component.component_type();
        let (export, _) = ty.exports(component.engine()).find(|(name, _)| {
            name.parse::<InterfaceName>()
                .is_ok_and(|name| name.links_with(import))
        })?;
        let (_, index) = component.get_export(None, export)?;
        Some((Arc::clone(candidate), index))
    })
}

impl Callee {
    /// For any signature: values pass as [`Val`], which costs an allocation for each compound one and
    /// 40 bytes for each element of a list.
    fn define(
        self: Arc<Self>,
        instance: &mut wasmtime::component::LinkerInstance<'_, Guest>,
        name: &str,
    ) -> wasmtime::Result<()> {
        instance.func_new_async(name, move |store, _, params, results| {
            let callee = Arc::clone(&self);
            let caller = Caller::of(store.data());
            Box::new(async move {
                match callee.call_dynamic(caller, params, results).await {
                    Ok(()) => Ok(()),
                    Err(failure) => {
                        let value = match callee.failures {
                            Failures::Text => Some(Box::new(Val::String(callee.say(&failure)))),
                            Failures::Empty => None,
                            Failures::Trap => return Err(callee.trap(&failure)),
                        };
                        results[0] = Val::Result(Err(value));
                        Ok(())
                    }
                }
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

    /// With types known here: no intermediate form.
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

    /// The whole failure is for the workload's owner, in the log; the caller hears its cause.
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

    fn trap(&self, failure: &Failure) -> wasmtime::Error {
        wasmtime::format_err!("{}", self.say(failure))
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
