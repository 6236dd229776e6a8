#![allow(clippy::unwrap_used)]

//! Values pass between guests as wasmtime's own dynamic values do, and what a hostile guest passes
//! is refused.

mod hostile;
mod random;
mod types;

use std::sync::{Arc, Mutex};

use wasmtime::{
    Config, Engine, Store,
    component::{Component, Instance, Linker, Val, types::ComponentItem},
};

use super::{
    define::define,
    values::{Arguments, Content, FLAT_PARAMS, FLAT_RESULTS, Results, Values},
};

fn engine(concurrency: bool) -> Engine {
    let mut config = Config::new();
    config.concurrency_support(concurrency);
    Engine::new(&config).unwrap()
}

/// The arguments of the last call of the host's function `pass`.
#[derive(Debug, PartialEq)]
enum Passed {
    Tape(Vec<u8>),
    Values(Vec<Val>),
}

/// A guest whose import `pass` returns its only parameter.
struct Bench {
    store: Store<()>,
    instance: Instance,
    passed: Arc<Mutex<Option<Passed>>>,
}

impl Bench {
    /// Links `pass` to a host function that gets its argument as a tape or as dynamic values.
    async fn new(engine: &Engine, text: &str, by_tape: bool) -> Self {
        let component = wat::parse_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let component = Component::new(engine, component).unwrap();
        let passed = Arc::new(Mutex::new(None));
        let mut linker = Linker::new(engine);
        let to = Arc::clone(&passed);
        if by_tape {
            let ty = component.component_type();
            let import = ty.get_import(engine, "pass");
            let Some(ComponentItem::ComponentFunc(signature)) = import.map(|item| item.ty) else {
                panic!("the guest does not import `pass`");
            };
            let answer = move |(): &(), tape: Vec<u8>| {
                *to.lock().unwrap() = Some(Passed::Tape(tape.clone()));
                std::future::ready(Ok(Content::Tape(tape)))
            };
            define(&mut linker.root(), "pass", &signature, answer).unwrap();
        } else {
            let mut root = linker.root();
            let defined = root.func_new_async("pass", move |_, _, params, results| {
                *to.lock().unwrap() = Some(Passed::Values(params.to_vec()));
                results.clone_from_slice(params);
                Box::new(std::future::ready(Ok(())))
            });
            defined.unwrap();
        }
        let mut store = Store::new(engine, ());
        let instance = linker.instantiate_async(&mut store, &component).await;
        Self {
            store,
            instance: instance.unwrap(),
            passed,
        }
    }

    /// Calls the export `run`, which passes its argument on to `pass`, by a tape.
    async fn run_tape(&mut self, tape: Vec<u8>) -> wasmtime::Result<Vec<u8>> {
        let run = self.instance.get_func(&mut self.store, "run").unwrap();
        let run = run.typed::<Arguments<FLAT_PARAMS>, Results<FLAT_RESULTS>>(&self.store)?;
        let arguments = Values(Content::Tape(tape));
        let results = run.call_async(&mut self.store, arguments).await?;
        Ok(results.into_tape())
    }

    /// Calls the export `run`, which passes its argument on to `pass`, by dynamic values.
    async fn run_values(&mut self, value: &Val) -> wasmtime::Result<Val> {
        let run = self.instance.get_func(&mut self.store, "run").unwrap();
        let mut results = [Val::Bool(false)];
        let value = std::slice::from_ref(value);
        run.call_async(&mut self.store, value, &mut results).await?;
        let [result] = results;
        Ok(result)
    }

    fn passed(&self) -> Option<Passed> {
        self.passed.lock().unwrap().take()
    }
}
