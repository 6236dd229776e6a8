//! Functions whose signatures must agree, and those that cannot be linked.

use super::*;

#[test]
fn functions_must_agree() {
    let service = service(&["a:b/c@1.0.0"]);
    let exporter = |functions: &[Function]| ComponentInfo {
        exports: vec![item("a:b/c@1.1.0", functions)],
        ..Default::default()
    };
    refused(
        Some(&service),
        &[("a", &exporter(&[function("g", "func()")]))],
        SERVICE,
        &["`a` exports it as `a:b/c@1.1.0` without the function `f`"],
    );
    refused(
        Some(&service),
        &[("a", &exporter(&[function("f", "func() -> u8")]))],
        SERVICE,
        &["`f: func()`", "`f: func() -> u8`", "same WIT"],
    );
    let more = [function("g", "func()"), function("f", "func()")];
    assert!(planned(Some(&service), &[("a", &exporter(&more))]).is_ok());
}

#[test]
fn unlinkable_functions_are_named_once_with_the_reason() {
    let unlinkable = |name: &str| Function {
        unlinkable: Some("it passes a resource".into()),
        ..function(name, "func() -> file")
    };
    let with = |names: &[&str]| {
        let functions = names.iter().map(|name| unlinkable(name));
        let functions: Vec<_> = functions.chain([function("fine", "func()")]).collect();
        [item("a:b/files@1.0.0", &functions)]
    };
    for (names, more) in [
        (&["open"][..], ""),
        (
            &["open", "b", "c", "d", "e"],
            "; nor can `b`, `c`, `d`, `e`",
        ),
        (
            &["open", "b", "c", "d", "e", "f"],
            "; nor can `b`, `c`, `d` and 2 more",
        ),
    ] {
        let files = with(names);
        let api = ComponentInfo {
            imports: files.to_vec(),
            ..Default::default()
        };
        let library = ComponentInfo {
            exports: files.to_vec(),
            ..Default::default()
        };
        let message = format!(
            "imports `a:b/files@1.0.0`, whose `open` cannot be linked: it passes a resource{more}"
        );
        // No component could answer, so none is asked for.
        for components in [
            &[("api", &api), ("library", &library)][..],
            &[("api", &api)],
        ] {
            let errors = planned(None, components).unwrap_err();
            let messages: Vec<_> = errors.iter().map(|e| e.message.as_str()).collect();
            assert_eq!(messages, [message.as_str()]);
        }
    }
}

#[test]
fn what_differs_is_listed_briefly() {
    let named = |names: &str| {
        let functions = names.split(' ').map(|name| function(name, "func()"));
        functions.collect::<Vec<_>>()
    };
    let importer = |functions: &[Function]| ComponentInfo {
        imports: vec![item("a:b/c", functions)],
        ..Default::default()
    };
    let exporter = |functions: &[Function]| ComponentInfo {
        exports: vec![item("a:b/c", functions)],
        ..Default::default()
    };
    let typed: Vec<_> = named("a b c")
        .into_iter()
        .map(|f| function(&f.name, "func() -> u8"))
        .collect();
    for (exported, part) in [
        (named("z"), "without the functions `a`, `b`, `c`"),
        (named("a b"), "without the function `c`"),
        (
            typed,
            "with `a: func() -> u8`; `b`, `c` differ likewise: build both",
        ),
    ] {
        refused(
            None,
            &[
                ("it", &importer(&named("a b c"))),
                ("other", &exporter(&exported)),
            ],
            FIRST,
            &[part],
        );
    }
}
