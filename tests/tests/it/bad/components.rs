//! Components for what no guest of this repository is: made from WIT, with functions that trap.

use warren_tests::Lab;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// What makes a component a service, and what makes it answer HTTP, as far as linking looks.
pub const WASI: &str = "
package wasi:cli@0.2.6 { interface run { run: func() -> result; } }
package wasi:http@0.2.6 { interface incoming-handler { handle: func(); } }
";

/// A service that runs nothing.
pub const SERVICE: &str = "export wasi:cli/run@0.2.6;";

/// Writes a component with the imports and exports of `world` into the lab.
pub fn component(lab: &Lab, name: &str, packages: &str, world: &str) -> String {
    let mut resolve = Resolve::default();
    let wit = format!("package root:test;\nworld test {{\n{world}\n}}\n{WASI}{packages}");
    let package = resolve.push_str("test.wit", &wit).unwrap();
    let world = resolve.select_world(&[package], Some("test")).unwrap();
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = dummy_module(&resolve, world, abi);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().module(&module).unwrap();
    let bytes = encoder.validate(true).encode().unwrap();
    lab.write(&format!("{name}.wasm"), bytes)
}
