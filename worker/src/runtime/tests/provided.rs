//! The model's table of what workers provide, beside what the linkers of both engines hold.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use warren_model::component::{InterfaceName, Provided, provided, provides};
use wasmtime::component::{Component, Linker};
use wit_parser::{InterfaceId, Resolve, TypeDefKind};

use super::{
    super::{Guest, Half, engine::Generation},
    RUNTIME, trapping,
};

/// Every interface of the WIT that the linkers were generated from, behind all of its feature
/// gates: whatever could be in a linker is here.
struct Universe {
    resolve: Resolve,
    interfaces: BTreeMap<String, InterfaceId>,
}

impl Universe {
    fn read() -> Vec<Self> {
        let Directories { of_wasi, of_http } = directories();
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/wit");
        let own = std::fs::read_dir(own).unwrap();
        let own = own.map(|file| file.unwrap().path());
        let read = of_wasi.into_iter().chain(of_http).chain(own).map(|path| {
            let mut resolve = Resolve {
                all_features: true,
                ..Resolve::default()
            };
            resolve.push_path(path).unwrap();
            let interfaces = resolve.interfaces.iter();
            let named = interfaces.filter_map(|(id, _)| Some((resolve.id_of(id)?, id)));
            let wasi = named.filter(|(name, _)| name.starts_with("wasi:"));
            Self {
                interfaces: wasi.collect(),
                resolve,
            }
        });
        read.collect()
    }

    /// The functions and resources of an interface, named as in a binary.
    fn functions(&self, interface: InterfaceId) -> Vec<String> {
        let held = &self.resolve.interfaces[interface];
        let resources = held
            .types
            .iter()
            .filter(|(_, id)| matches!(self.resolve.types[**id].kind, TypeDefKind::Resource));
        let resources = resources.map(|(name, _)| name.clone());
        held.functions.keys().cloned().chain(resources).collect()
    }

    /// A component that imports of an interface its resources and those of its functions that are
    /// wanted.
    fn importer(&self, name: &str, wanted: impl Fn(&str) -> bool) -> Vec<u8> {
        let mut resolve = self.resolve.clone();
        // What it uses of other interfaces are types.
        for (id, interface) in resolve.interfaces.iter_mut() {
            let is_it = id == self.interfaces[name];
            interface.functions.retain(|name, _| is_it && wanted(name));
        }
        let wit = format!("package root:test; world test {{ import {name}; }}");
        let package = resolve.push_str("test.wit", &wit).unwrap();
        trapping(&resolve, package)
    }
}

/// The folders of WIT in the crates that are linked, for each those of 0.2 and 0.3.
pub(super) struct Directories {
    of_wasi: [PathBuf; 2],
    pub of_http: [PathBuf; 2],
}

pub(super) fn directories() -> Directories {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(rustc.stdout).unwrap();
    let mut lines = version.lines();
    let host = lines.find_map(|line| line.strip_prefix("host: ")).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    // What other machines would need may not be there.
    cargo.args(["metadata", "--format-version=1", "--offline", "--locked"]);
    cargo.args(["--filter-platform", host, "--manifest-path"]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    let output = cargo.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let folder = |name: &str| {
        let mut packages = metadata["packages"].as_array().unwrap().iter();
        let package = packages.find(|package| package["name"] == name).unwrap();
        let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
        manifest.parent().unwrap().to_owned()
    };
    let (wasi, http) = (folder("wasmtime-wasi"), folder("wasmtime-wasi-http"));
    let of_wasi = ["src/p2/wit", "src/p3/wit"].map(|path| wasi.join(path));
    let of_http = ["wit", "src/p3/wit"].map(|path| http.join(path));
    Directories { of_wasi, of_http }
}

fn links(half: &Half, linker: &Linker<Guest>, bytes: &[u8]) -> bool {
    // An engine of WASI 0.2 knows no streams, so it cannot even compile what imports them.
    let component = Component::new(&half.engine, bytes);
    component.is_ok_and(|component| linker.instantiate_pre(&component).is_ok())
}

#[tokio::test]
async fn the_table_is_what_the_linkers_hold() {
    let runtime = &*RUNTIME;
    let mut seen: BTreeMap<(&str, &str), &Provided> = BTreeMap::new();
    let mut wrong = Vec::new();
    for universe in Universe::read() {
        for (name, interface) in &universe.interfaces {
            let parsed: InterfaceName = name.parse().unwrap();
            let table = provides(&parsed);
            let version = parsed.version.as_ref().map(ToString::to_string);
            if table.is_some_and(|one| Some(one.version) != version.as_deref()) {
                wrong.push(format!("{name} is listed in another version"));
            }
            seen.extend(table.map(|one| ((one.interface, one.track), one)));
            let listed =
                |function: &str| table.is_some_and(|one| one.functions.contains(&function));
            let real = universe.functions(*interface);
            for function in table.iter().flat_map(|one| one.functions) {
                if !real.iter().any(|real| real == function) {
                    wrong.push(format!("{name} has no {function}"));
                }
            }
            for generation in [Generation::P2, Generation::P3] {
                let half = runtime.start(generation).await.unwrap();
                let wasi = half.wasi().unwrap();
                // Guests of both generations get everything but WASI 0.3, which those of 0.2 do
                // not get.
                let holds = generation == Generation::P3 || parsed.track().unwrap() != "0.3";
                // All that is listed, at once. What is types alone needs no definition.
                let all = universe.importer(name, listed);
                if table.is_some() && !real.is_empty() && links(half, wasi, &all) != holds {
                    wrong.push(format!("{generation:?}: {name} is not as listed"));
                }
                // What is not, one by one.
                for function in real.iter().filter(|function| !listed(function)) {
                    let one = universe.importer(name, |name| name == function);
                    if links(half, wasi, &one) {
                        wrong.push(format!(
                            "{generation:?} provides {name}#{function}, unlisted"
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Nothing is listed that no WIT has.
    assert_eq!(seen.len(), provided().len());
}
