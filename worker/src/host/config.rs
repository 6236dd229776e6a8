//! `wasi:config`: the values of the `config` field of the guest's spec.
//!
//! They are at hand and do not change while the guest runs, so no call fails.

use std::{collections::BTreeMap, sync::Arc};

use wasmtime::component::{HasSelf, Linker};

use super::{GuestContext, HasHost, HostInterface};

mod bindings {
    wasmtime::component::bindgen!({ path: "wit/config.wit" });
}

use bindings::wasi::{config0_2_0_draft_2024_09_27::store as draft, config0_2_0_rc_1::store as rc};

#[derive(Clone)]
pub struct Config {
    values: Arc<BTreeMap<String, String>>,
}

impl HostInterface for Config {
    const PACKAGE: &'static str = "wasi:config";

    fn add_to_linker<T: HasHost>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        rc::add_to_linker::<T, HasSelf<Self>>(linker, |data| &mut data.host().config)?;
        draft::add_to_linker::<T, HasSelf<Self>>(linker, |data| &mut data.host().config)
    }

    fn bind(guest: &GuestContext<'_>) -> Result<Self, String> {
        Ok(Self {
            values: Arc::new(guest.config.clone()),
        })
    }
}

impl Config {
    fn value(&self, key: &str) -> Option<String> {
        self.values.get(key).cloned()
    }

    fn all(&self) -> Vec<(String, String)> {
        self.values
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }
}

impl rc::Host for Config {
    fn get(&mut self, key: String) -> Result<Option<String>, rc::Error> {
        Ok(self.value(&key))
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, rc::Error> {
        Ok(self.all())
    }
}

impl draft::Host for Config {
    fn get(&mut self, key: String) -> Result<Option<String>, draft::Error> {
        Ok(self.value(&key))
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, draft::Error> {
        Ok(self.all())
    }
}
