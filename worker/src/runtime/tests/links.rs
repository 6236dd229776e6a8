//! Calls reach the export that the model's plan names, wherever it stands in a binary.

use warren_model::{
    link::{self, HostInterfaces, Link, LinkPlan},
    name::Name,
};

use super::{super::ServiceEnd, Bench};
use crate::runtime::PrepareError;

/// A component that exports `a:b/c` in several versions, in this order; their functions return
/// these numbers.
fn exporter(versions: &[(&str, &[(&str, u32)])]) -> Vec<u8> {
    let mut text = "(component ".to_owned();
    for (i, (version, functions)) in versions.iter().enumerate() {
        let mut exports = String::new();
        for (name, number) in *functions {
            text += &format!(
                r#"
                (core module $m{i}{name} (func (export "f") (result i32) i32.const {number}))
                (core instance $i{i}{name} (instantiate $m{i}{name}))
                (func $f{i}{name} (result u32) (canon lift (core func $i{i}{name} "f")))"#
            );
            exports += &format!(r#"(export "{name}" (func $f{i}{name}))"#);
        }
        text +=
            &format!(r#"(instance $c{i} {exports}) (export "a:b/c{version}" (instance $c{i}))"#);
    }
    wat::parse_str(text + ")").unwrap()
}

/// A service that calls an imported function, and traps unless it gets this number.
pub(super) fn caller(import: &str, function: &str, expected: u32) -> Vec<u8> {
    calling(
        import,
        function,
        expected,
        "(result)",
        ("wasi:cli/run@0.2.0", "run"),
        0,
    )
}

/// A component that passes on what an imported function returns, unless it is another number.
fn passing(import: &str, function: &str, number: u32, export: (&str, &str)) -> Vec<u8> {
    calling(import, function, number, "u32", export, number)
}

fn calling(
    import: &str,
    function: &str,
    expected: u32,
    result: &str,
    (interface, export): (&str, &str),
    returned: u32,
) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "{import}" (instance $c (export "{function}" (func (result u32)))))
            (core func $f (canon lower (func $c "{function}")))
            (core module $m
                (import "" "f" (func $f (result i32)))
                (func (export "h") (result i32)
                    (if (i32.ne (call $f) (i32.const {expected})) (then unreachable))
                    i32.const {returned}))
            (core instance $i (instantiate $m (with "" (instance (export "f" (func $f))))))
            (func $h (result {result}) (canon lift (core func $i "h")))
            (instance $e (export "{export}" (func $h)))
            (export "{interface}" (instance $e)))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn the_highest_version_that_fits_is_called_in_whatever_order() {
    let bench = Bench::new();
    let versions: [(&str, &[(&str, u32)]); 4] = [
        ("@1.0.0", &[("f", 10), ("g", 11)]),
        ("@1.1.0", &[("f", 20), ("g", 21)]),
        ("@1.2.0", &[("f", 30)]),
        ("@2.0.0", &[("f", 40), ("g", 41)]),
    ];
    for rotation in 0..versions.len() {
        for is_reversed in [false, true] {
            let mut order = versions;
            order.rotate_left(rotation);
            if is_reversed {
                order.reverse();
            }
            let library = exporter(&order);
            for (import, function, expected) in [
                ("a:b/c@1.0.0", "f", 30),
                ("a:b/c@1.1.0", "g", 21),
                ("a:b/c@1.2.0", "g", 21),
                ("a:b/c@2.0.0", "g", 41),
            ] {
                let service = caller(import, function, expected);
                let end = bench.run(&service, &[("lib", &library)]).await;
                assert_eq!(end, ServiceEnd::Exited(0), "{import}#{function}: {order:?}");
                // A component is linked as the service is.
                let through = passing(import, function, expected, ("x:y/z", "h"));
                let service = caller("x:y/z", "h", expected);
                for components in [
                    [("lib", &*library), ("through", &*through)],
                    [("through", &*through), ("lib", &*library)],
                ] {
                    let end = bench.run(&service, &components).await;
                    assert_eq!(end, ServiceEnd::Exited(0), "{import}#{function}: {order:?}");
                }
            }
        }
    }
}

/// A plan by which a service imports `a:b/c@1.0.0` from this export of `lib`.
fn plan(export: &str) -> LinkPlan {
    let lib = Name::parse("lib").unwrap();
    LinkPlan {
        service: vec![Link {
            import: "a:b/c@1.0.0".to_owned(),
            exporter: lib.clone(),
            export: export.to_owned(),
        }],
        components: vec![(lib, vec![])],
        interfaces: HostInterfaces::default(),
    }
}

#[tokio::test]
async fn a_plan_is_followed_and_not_decided_again() {
    let bench = Bench::new();
    let library = exporter(&[("@1.0.0", &[("f", 10)]), ("@1.1.0", &[("f", 20)])]);
    let components = [("lib", &*library)];
    for (export, expected) in [("a:b/c@1.0.0", 10), ("a:b/c@1.1.0", 20)] {
        let service = caller("a:b/c@1.0.0", "f", expected);
        let plan = plan(export);
        let prepared = bench.prepare_linked(Some(&service), &components, Some(&plan));
        let prepared = prepared.await.unwrap();
        let end = prepared.service.unwrap().run(None, || {}).await;
        assert_eq!(end, ServiceEnd::Exited(0), "{export}");
    }
    let service = caller("a:b/c@1.0.0", "f", 10);
    for plan in [
        plan("a:b/c@2.0.0"),
        LinkPlan {
            service: vec![],
            ..plan("a:b/c@1.0.0")
        },
    ] {
        let prepared = bench.prepare_linked(Some(&service), &components, Some(&plan));
        let refused = prepared.await.err().expect("it is not linked");
        assert_eq!(refused.reason(), "LinkFailed");
        let message = refused.to_string();
        assert!(message.contains("a:b/c@1.0.0"), "{message}");
    }
}

#[tokio::test]
async fn a_plan_does_not_link_functions_of_different_types() {
    let library = wat::parse_str(
        r#"(component
            (core module $m (func (export "f") (result i32) i32.const 7))
            (core instance $i (instantiate $m))
            (func $f (result s32) (canon lift (core func $i "f")))
            (instance $e (export "f" (func $f)))
            (export "a:b/c@1.0.0" (instance $e)))"#,
    );
    let bench = Bench::new();
    let service = caller("a:b/c@1.0.0", "f", 7);
    let (library, plan) = (library.unwrap(), plan("a:b/c@1.0.0"));
    let components = [("lib", &*library)];
    let prepared = bench.prepare_linked(Some(&service), &components, Some(&plan));
    let refused = prepared.await.err().expect("it is not linked");
    assert_eq!(refused.reason(), "LinkFailed");
    let message = refused.to_string();
    let words = "`a:b/c@1.0.0#f` has another type in component `lib`";
    assert!(message.contains(words), "{message}");
}

#[tokio::test]
async fn a_component_without_the_function_is_not_a_candidate() {
    let bench = Bench::new();
    let old = exporter(&[("@1.0.0", &[("f", 1)])]);
    let new = exporter(&[("@1.1.0", &[("g", 3)]), ("@1.0.0", &[("f", 2)])]);
    let service = caller("a:b/c@1.0.0", "g", 3);
    for components in [
        [("old", &*old), ("new", &*new)],
        [("new", &*new), ("old", &*old)],
    ] {
        assert_eq!(
            bench.run(&service, &components).await,
            ServiceEnd::Exited(0)
        );
    }
}

#[tokio::test]
async fn what_apply_refuses_is_refused_in_the_same_words() {
    let bench = Bench::new();
    let library = exporter(&[("@1.0.0", &[("f", 1)])]);
    let service = caller("a:b/c@1.1.0", "g", 1);
    let ambiguous = caller("a:b/c@1.0.0", "f", 1);
    let there = passing("a:b/c@1.0.0", "f", 1, ("x:y/z", "h"));
    let back = passing("x:y/z", "h", 1, ("a:b/c@1.0.0", "f"));
    type Case<'a> = (Option<&'a [u8]>, &'a [(&'a str, &'a [u8])], &'a str);
    let cases: [Case<'_>; 5] = [
        (
            Some(&service),
            &[("lib", &library)],
            "service: imports `a:b/c@1.1.0`, and `lib` exports it as `a:b/c@1.0.0` without the function `g`",
        ),
        (
            Some(&service),
            &[],
            "which no other component of the workload exports",
        ),
        (
            Some(&ambiguous),
            &[("one", &library), ("two", &library)],
            "more than one component exports: `one`, `two`",
        ),
        (
            None,
            &[("one", &back), ("two", &there)],
            "in a circle: one -> two -> one",
        ),
        (Some(&library), &[], "it cannot be the service"),
    ];
    for (service, components, words) in cases {
        let Err(PrepareError::Unlinked(errors)) = bench.prepare(service, components).await else {
            panic!("{words}: it was linked");
        };
        let inspect = |bytes| warren_model::component::inspect(bytes).unwrap();
        let infos: Vec<_> = components.iter().map(|(_, bytes)| inspect(bytes)).collect();
        let names = components
            .iter()
            .map(|(name, _)| Name::parse(name).unwrap());
        let named: Vec<_> = names.zip(&infos).collect();
        let service = service.map(inspect);
        assert_eq!(
            link::plan(service.as_ref(), &named, HostInterfaces::of_this_version()),
            Err(errors.clone()),
            "{words}"
        );
        let text = PrepareError::Unlinked(errors).to_string();
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test]
async fn an_interface_of_no_package_is_neither_linked_nor_in_the_way() {
    let bench = Bench::new();
    let python = wat::parse_str(
        r#"(component
            (import "exports" (instance (type $t u32) (export "t" (type (eq $t)))))
            (core module $m (func (export "f") (result i32) i32.const 7))
            (core instance $i (instantiate $m))
            (func $f (result u32) (canon lift (core func $i "f")))
            (instance $e (export "f" (func $f)))
            (export "exports" (instance $e))
            (export "a:b/c" (instance $e)))"#,
    );
    let service = caller("a:b/c", "f", 7);
    let end = bench.run(&service, &[("py", &python.unwrap())]).await;
    assert_eq!(end, ServiceEnd::Exited(0));
}
