//! The smallest components that a control plane can tell apart. They never run: only their borders count here.

use warren_model::digest::Digest;

/// A component's bytes.
#[derive(Clone)]
pub struct Built {
    pub bytes: Vec<u8>,
    pub digest: Digest,
}

/// Exports `wasi:cli/run`. Different tags make different artifacts.
pub fn service(tag: &str) -> Built {
    build(tag, "", "wasi:cli/run@0.2.0", "run")
}

/// Exports `wasi:http/incoming-handler`.
pub fn http(tag: &str) -> Built {
    build(tag, "", "wasi:http/incoming-handler@0.2.0", "handle")
}

/// Imports `import` and exports `wasi:cli/run`.
pub fn service_importing(import: &str) -> Built {
    let import =
        format!(r#"(import "{import}" (instance (export "get" (func (result (result))))))"#);
    build("importing", &import, "wasi:cli/run@0.2.0", "run")
}

fn build(tag: &str, imports: &str, export: &str, function: &str) -> Built {
    let text = format!(
        r#"(component
            {imports}
            (core module $m (func (export "f") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $f (result (result)) (canon lift (core func $i "f")))
            (instance $e (export "{function}" (func $f)))
            (export "{export}" (instance $e))
            (@custom "tag" "{tag}")
        )"#
    );
    let bytes = wat::parse_str(text).expect("the component is well-formed");
    Built {
        digest: Digest::of(&bytes),
        bytes,
    }
}
