//! What is told of one component and those beside it.

use super::*;

fn explained(info: &ComponentInfo, others: &[(&str, &ComponentInfo)]) -> Explanation {
    let others: Vec<_> = others.iter().map(|(n, info)| (name(n), *info)).collect();
    explain(&name("it"), info, &others)
}

#[test]
fn each_import_has_an_answer() {
    let mut it = info(
        &[
            "wasi:cli/environment@0.2.3",
            "wasi:keyvalue/store@0.2.0",
            "a:b/c@1.1.0",
            "x:y/z",
            "plain",
        ],
        &[],
    );
    it.imports.push(item("a:b/types@1.1.0", &[]));
    let library = info(&[], &["a:b/c@1.4.2"]);
    let found = explained(&it, &[("library", &library)]).imports;
    let answers: Vec<_> = found.iter().map(|import| &import.answer).collect();
    let needed = "wasi:cli/environment@0.2.3".parse().unwrap();
    assert_eq!(answers[0], &Ok(Answer::Worker(needed)));
    let unlinked = |answer: &Result<Answer, String>, part: &str| match answer {
        Err(why) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?}"),
    };
    unlinked(answers[1], "which workers do not provide");
    assert_eq!(
        answers[2],
        &Ok(Answer::Linked(Link {
            import: "a:b/c@1.1.0".into(),
            exporter: name("library"),
            export: "a:b/c@1.4.2".into(),
        }))
    );
    unlinked(answers[3], "add a component that exports it");
    unlinked(answers[4], "not an interface of a package");
    assert_eq!(answers[5], &Ok(Answer::NotNeeded));

    let wanted: Vec<_> = found.into_iter().map(|import| import.wanted).collect();
    let track = |interface: &str, track: Option<&str>| {
        Some(Wanted {
            interface: interface.to_owned(),
            track: track.map(str::to_owned),
        })
    };
    let expected = [
        None,
        None,
        track("a:b/c", Some("1")),
        track("x:y/z", None),
        None,
        None,
    ];
    assert_eq!(wanted, expected);
}

#[test]
fn functions_that_cannot_be_linked_say_why() {
    let resource = Function {
        unlinkable: Some("it passes a resource".into()),
        ..function("open", "func() -> own<file>")
    };
    let it = ComponentInfo {
        imports: vec![item("a:b/c", &[function("f", "func()"), resource])],
        ..Default::default()
    };
    let [import] = &explained(&it, &[]).imports[..] else {
        panic!("one import");
    };
    assert_eq!(import.functions, it.imports[0].functions);
    let Err(why) = &import.answer else {
        panic!("{:?}", import.answer);
    };
    assert!(
        why.contains("whose `open` cannot be linked: it passes a resource"),
        "{why}"
    );
}

#[test]
fn what_only_hosts_provide_is_not_wanted_of_a_component() {
    let it = info(
        &[
            "wasmcloud:messaging/consumer@0.2.0",
            "wasi:http/handler@0.3.0",
        ],
        &[],
    );
    for import in explained(&it, &[]).imports {
        assert_eq!(import.wanted, None, "{import:?}");
        assert!(import.answer.is_err(), "{import:?}");
    }
}

#[test]
fn each_export_has_its_importers() {
    let it = info(&[], &["wasi:cli/run@0.2.0", "a:b/c@1.0.0", "a:b/c@1.3.0"]);
    let fits = info(&["a:b/c@1.2.0"], &[]);
    let other_track = info(&["a:b/c@2.0.0"], &[]);
    let other_type = ComponentInfo {
        imports: vec![item("a:b/c@1.0.0", &[function("f", "func(x: u32)")])],
        ..Default::default()
    };
    let found = explained(
        &it,
        &[
            ("fits", &fits),
            ("late", &other_track),
            ("typed", &other_type),
        ],
    );
    let makes: Vec<_> = found.exports.iter().map(|export| export.makes).collect();
    assert_eq!(
        makes,
        [Some(Use::Service), Some(Use::Library), Some(Use::Library)]
    );
    assert_eq!(found.exports[0].importers, []);
    let [fits, typed] = &found.exports[2].importers[..] else {
        panic!("{:?}", found.exports[2]);
    };
    assert_eq!(
        (fits.component.as_str(), fits.import.as_str()),
        ("fits", "a:b/c@1.2.0")
    );
    assert_eq!(fits.obstacle, None);
    assert_eq!(typed.component.as_str(), "typed");
    assert!(
        typed
            .obstacle
            .as_ref()
            .unwrap()
            .contains("build both from the same WIT")
    );
    // The other version on that track is not the one that is taken.
    let older = found.exports[1].importers.iter();
    assert!(
        older
            .clone()
            .all(|importer| importer.component.as_str() != "fits")
    );
}
