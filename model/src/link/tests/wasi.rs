//! Interfaces of WASI, which workers provide.

use super::*;

#[test]
fn wasi_is_linked_where_workers_provide_it() {
    for (import, provided) in [
        ("wasi:io/streams@0.2.0", true),
        ("wasi:http/types@0.2.12", true),
        ("wasi:http/types@0.2.99", true),
        ("wasi:sockets/types@0.3.0", true),
        ("wasi:http/client@0.3.0", true),
        ("wasi:clocks/types@0.3.1", true),
        ("wasi:config/store@0.2.0-rc.1", true),
        ("wasi:config/store@0.2.0-draft-2024-09-27", true),
        ("wasi:config/store@0.2.0-rc.2", false),
        ("wasi:config/store@0.2.0", false),
        ("wasi:logging/logging@0.1.0-draft", true),
        ("wasi:logging/logging@0.1.0", false),
        ("wasi:logging/logging@0.1.0-draft2", false),
        ("wasi:http/handler@0.3.0", false),
        ("wasi:http/incoming-handler@0.2.0", false),
        ("wasi:cli/run@0.3.2", false),
        ("wasi:clocks/timezone@0.2.0", false),
        ("wasi:sockets/types@0.2.0", false),
        ("wasi:io/poll@0.3.0", false),
        ("wasi:keyvalue/store@0.2.0", false),
        ("wasi:http/types@0.3.0-rc-2025-09-16", false),
        ("wasi:http/types@1.0.0", false),
        ("wasi:http/types", false),
    ] {
        let service = service(&[import]);
        let result = planned(Some(&service), &[("all", &info(&[], &[import]))]);
        assert_eq!(result.is_ok(), provided, "{import}: {result:?}");
        if let Err(errors) = result {
            let [error] = errors.as_slice() else {
                panic!("{errors:?}");
            };
            assert!(error.message.contains(import), "{error}");
            assert!(
                error.message.contains("which workers do not provide"),
                "{error}"
            );
        }
    }
    for (import, hint) in [
        (
            "wasi:http/handler@0.3.0",
            "of wasi:http@0.3 they provide client, types",
        ),
        (
            "wasi:io/poll@0.3.0",
            "wasi:{cli, clocks, filesystem, http, random, sockets}@0.3",
        ),
        ("wasi:http/types@0.3.0-rc-1", "a pre-release"),
        ("wasi:keyvalue/store@0.2.0", "wasi:logging@0.1.0-draft"),
        ("wasi:config/store@0.2.0", "wasi:config@0.2.0-rc.1"),
    ] {
        refused(Some(&service(&[import])), &[], SERVICE, &[hint]);
    }
}

#[test]
fn functions_of_wasi_that_workers_lack_are_refused_once_for_each_interface() {
    let lacking = |functions: &[&str]| ComponentInfo {
        imports: vec![item(
            "wasi:cli/exit@0.2.0",
            &functions
                .iter()
                .map(|name| function(name, "func()"))
                .collect::<Vec<_>>(),
        )],
        ..Default::default()
    };
    let names = ["abort", "quit", "leave", "vanish", "stop"];
    refused(
        None,
        &[("it", &lacking(&names))],
        FIRST,
        &[
            "imports `wasi:cli/exit@0.2.0` with `abort`, `quit`, `leave` and 2 more, which workers do not provide",
        ],
    );
    // Inspected by a version that provided less.
    assert!(planned(None, &[("it", &lacking(&["exit-with-code"]))]).is_ok());
}
