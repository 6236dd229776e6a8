//! The smallest components that a control plane can tell apart. They never run: only their borders
//! count here.

use warren_model::digest::Digest;

/// A component's bytes.
#[derive(Clone)]
pub struct Built {
    pub bytes: Vec<u8>,
    pub digest: Digest,
}

const RUN: (&str, &str) = ("wasi:cli/run@0.2.0", "run");

/// Exports `wasi:cli/run`. Different tags make different artifacts.
pub fn service(tag: &str) -> Built {
    build(tag, "", &[RUN])
}

/// Exports `wasi:http/incoming-handler`.
pub fn http(tag: &str) -> Built {
    build(tag, "", &[("wasi:http/incoming-handler@0.2.0", "handle")])
}

/// Imports `import` and exports `wasi:cli/run`.
pub fn service_importing(import: &str) -> Built {
    build("importing", &interface(import), &[RUN])
}

/// Exports `wasi:cli/run` and imports an interface with a resource.
pub fn service_importing_resource(import: &str) -> Built {
    let import = format!(
        r#"(import "{import}" (instance
            (export "bucket" (type $b (sub resource)))
            (export "get" (func (param "from" (borrow $b)) (result (result))))
        ))"#
    );
    build("importing", &import, &[RUN])
}

/// Exports one interface and imports others.
pub fn library(tag: &str, export: &str, imports: &[&str]) -> Built {
    let imports: String = imports.iter().map(|import| interface(import)).collect();
    build(tag, &imports, &[(export, "get")])
}

/// Exports one interface in several versions, in this order.
pub fn library_of_versions(exports: &[&str]) -> Built {
    let exports: Vec<_> = exports.iter().map(|export| (*export, "get")).collect();
    build("versions", "", &exports)
}

/// No component.
pub fn core_module() -> Vec<u8> {
    wat::parse_str("(module)").expect("the module is well-formed")
}

fn interface(name: &str) -> String {
    format!(r#"(import "{name}" (instance (export "get" (func (result (result))))))"#)
}

fn build(tag: &str, imports: &str, exports: &[(&str, &str)]) -> Built {
    let exports: String = exports
        .iter()
        .enumerate()
        .map(|(i, (export, function))| {
            format!(
                r#"(instance $e{i} (export "{function}" (func $f)))
                (export "{export}" (instance $e{i}))"#
            )
        })
        .collect();
    let text = format!(
        r#"(component
            {imports}
            (core module $m (func (export "f") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $f (result (result)) (canon lift (core func $i "f")))
            {exports}
            (@custom "tag" "{tag}")
        )"#
    );
    let bytes = wat::parse_str(text).expect("the component is well-formed");
    Built {
        digest: Digest::of(&bytes),
        bytes,
    }
}
