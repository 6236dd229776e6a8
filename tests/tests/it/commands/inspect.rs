//! `warren inspect` on components, and on files that are not components.

use warren_tests::guest;

use crate::lab;

#[tokio::test]
async fn inspect_shows_a_component_and_what_would_link_to_it() {
    let lab = lab();
    let (caller, types) = (guest("types-caller"), guest("types"));
    let alone = lab.warren(&["inspect", &caller]).await.ok();
    for words in [
        "May be used as",
        "the service: it exports `wasi:cli/run",
        "needs a component that exports `",
        "func(",
    ] {
        assert!(alone.contains(words), "`{words}` is missing in\n{alone}");
    }
    let beside = lab.warren(&["inspect", &caller, &types]).await.ok();
    assert!(
        beside.contains(" of types\n") && !beside.contains("needs a component"),
        "{beside}"
    );
    let other_way = lab.warren(&["inspect", &types, &caller]).await.ok();
    assert!(
        other_way.contains("types-caller links to it with its import"),
        "{other_way}"
    );

    // A manifest knows the names, and finds the one that is asked about among its own.
    let manifest = lab.write(
        "warren.yaml",
        format!("name: t\nservice: {{ component: {caller} }}\ncomponents: [ {{ name: lib, component: {types} }} ]\n"),
    );
    let data = lab
        .warren(&["inspect", &caller, "-f", &manifest, "-o", "json"])
        .await
        .json();
    assert!(
        data["digest"].as_str().unwrap().starts_with("sha256:"),
        "{data:#}"
    );
    let links = data["links"]["imports"].as_array().unwrap();
    let linked: Vec<_> = links
        .iter()
        .filter(|one| one["answer"] == "LINKED")
        .collect();
    assert!(
        !linked.is_empty() && linked.iter().all(|one| one["component"] == "lib"),
        "{links:#?}"
    );
    assert!(
        links.iter().all(|one| one["answer"] != "UNLINKED"),
        "{links:#?}"
    );
}

#[tokio::test]
async fn a_file_that_is_not_a_component_is_named_for_what_it_is() {
    let lab = lab();
    let core = lab.write("core.wasm", b"\0asm\x01\0\0\0");
    let text = lab.write("text.wasm", "fn main() {}");
    let empty = lab.write("empty.wasm", "");
    for (file, words) in [
        (
            core.as_str(),
            &[
                "core.wasm",
                "core WebAssembly module",
                "wasm32-wasip2",
                "wasm-tools component new",
            ][..],
        ),
        (&text, &["text.wasm", "not WebAssembly"]),
        (&empty, &["empty.wasm", "not WebAssembly"]),
        ("nowhere.wasm", &["nowhere.wasm", "No such file"]),
    ] {
        lab.warren(&["inspect", file]).await.refused(1, words);
    }
}
