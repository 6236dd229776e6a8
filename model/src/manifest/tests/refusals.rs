//! What is refused, where, and in which words.

use super::*;

#[test]
fn unknown_fields_name_the_nearest_known_one() {
    refused(
        "nmae: x\nname: a\nservice:\n  component: a.wasm\n  stopgrace: 1s\n  colour: red\n\
         components:\n  - name: c\n    component: c.wasm\n    route: []\n    limits: { memroy: 1MiB }\n",
        &[
            "1:1: unknown field `nmae` in a workload: did you mean `name`?",
            "5:3: unknown field `stopgrace` in the service: did you mean `stopGrace`?",
            "6:3: unknown field `colour` in the service: its fields are component, args, env, config, restart, readiness, liveness, publish, routes, egress, limits, reserve, volumes, stopGrace, exclusive",
            "10:5: unknown field `route` in a component: did you mean `routes`?",
            "11:15: unknown field `memroy` in the component's limits: did you mean `memory`?",
        ],
    );
}

#[test]
fn a_field_one_level_too_high_is_told_where_it_belongs() {
    refused(
        "name: a\npublish: []\nservice: { component: a.wasm, memory: 1GiB }\n",
        &[
            "2:1: unknown field `publish` in a workload: did you mean `service.publish`?",
            "3:31: unknown field `memory` in the service: did you mean `limits.memory`?",
        ],
    );
}

#[test]
fn defaults_that_are_written_out_are_honoured_by_every_version() {
    let text = "name: a\nplacement: {}\nupdate: { maxSurge: 1, rollbackOnFailure: true }\nvolumes: []\nservice:\n  \
        component: a.wasm\n  exclusive: false\n  volumes: []\n  limits: { memory: 64MiB, cpuWeight: 100 }\n";
    one(text);
}

#[test]
fn what_excludes_each_other_is_given_once() {
    let text = service(
        "  readiness: { http: { port: 1 }, tcp: { port: 2 }, grpc: }\nvolumes:\n  - name: v\n    host: data\n    emptyDir: {}",
    );
    refused(
        &text,
        &[
            "4:35: `tcp` and `http` exclude each other: keep one of them",
            "8:5: `emptyDir` and `host` exclude each other: keep one of them",
        ],
    );
}

#[test]
fn booleans_and_groups_say_how_to_write_them() {
    refused(
        &service(
            "  exclusive: yes\nvolumes: [ { name: v, emptyDir: true }, { name: w, emptyDir: { sizelimit: 1GiB } } ]\n\
             update: { rollbackOnFailure: \"true\" }",
        ),
        &[
            "4:14: expected true or false, found `yes`",
            "5:33: expected the fields of an empty directory, found `true`",
            "5:64: unknown field `sizelimit` in an empty directory: did you mean `sizeLimit`?",
            "6:30: expected true or false, found the text \"true\"",
        ],
    );
}

#[test]
fn wrong_types_say_what_was_expected() {
    refused(
        &service(
            "  args: x\n  env: [A]\n  egress: { a: b }\n  publish: [ 80 ]\n  restart: always\n  limits: 64MiB",
        ),
        &[
            "4:9: expected a list, found `x`",
            "5:3: expected names with values, found a list",
            "6:3: expected a list, found a mapping",
            "7:14: expected the fields of a published port, found `80`",
            "8:12: expected the fields of the restart policy, found `always`",
            "9:11: expected the fields of the service's limits, found `64MiB`",
        ],
    );
    refused(
        &service(
            "  env: { A: , B: [], C: {} }\n  args: [ [] , ~ ]\n  restart: { maxRestarts: \"3\" }\nreplicas: three",
        ),
        &[
            "4:10: expected text, found nothing (write \"\" for empty text)",
            "4:15: expected text, found a list",
            "4:22: expected text, found a mapping",
            "5:11: expected text, found a list",
            "5:16: expected text, found nothing (write \"\" for empty text)",
            "6:27: expected a whole number, found the text \"3\"",
            "7:11: expected a whole number, found `three`",
        ],
    );
    refused(
        "- name: a\n",
        &["1:1: a manifest is a mapping with `name` and `service` or `components`"],
    );
    refused(
        "just text\n",
        &["1:1: a manifest is a mapping with `name` and `service` or `components`"],
    );
    refused(
        "name: a\nreplicas: -1\nservice: []\ncomponents: {}\n",
        &[
            "2:11: expected a whole number, found `-1`",
            "3:1: expected the fields of the service, found a list",
            "4:1: expected a list, found a mapping",
        ],
    );
}

#[test]
fn wrong_values_say_how_to_write_them() {
    let found = problems(&service(
        "  restart: { policy: sometimes, initialBackoff: 1.5s, maxRestarts: 99999999999 }\n  stopGrace: 10\n  \
         limits: { memory: 64Mi }\n  publish: [ { port: 80, listen: \":80\", protocol: sctp } ]\n\
         apiVersion: apps/v1\nkind: Deployment",
    ));
    let starts = [
        "4:22: `sometimes` is not possible: write `always` or `on-failure` or `never`",
        "4:49: `1.5s` is not a duration",
        "4:68: 99999999999 is too large",
        "5:14: `10` has no unit: write 10s or 10ms",
        "6:21: `64Mi` is not a size",
        "7:34: `:80` is not an address to listen on: write IP:PORT, such as 127.0.0.1:80",
        "7:51: `sctp` is not possible: write `tcp` or `udp`",
        "8:13: `apps/v1` is not known: write `warren/v1`",
        "9:7: `Deployment` is not known: write `Workload`",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
}

#[test]
fn what_the_server_would_refuse_is_found_offline() {
    refused(
        "namespace: Shop\nservice:\n  args: []\n  egress: [ localhost:80 ]\n  publish: [ { listen: 127.0.0.1:1 } ]\n\
         components:\n  - component: sha256:12\n    name: api\n    limits: { timeout: 2h }\n  - name: api\n    component: b.wasm\n",
        &[
            "1:1: name: it is required: give the workload a name",
            "1:12: `Shop` is not a valid name: use 1 to 63 of a-z, 0-9 and '-', with a letter or digit first and last",
            "2:1: component: it is required: name the component to run",
            "4:13: `localhost:80` is the workload itself, which its guests always reach: leave it out. The machine's own loopback is host.warren.internal:PORT",
            "5:14: port: it is required: use 1 to 65535",
            "7:16: `sha256:12` is not a digest: it should be \"sha256:\" and 64 lower-case hexadecimal digits",
            "9:24: 2h is out of bounds: use 1ms to 1h",
            "10:11: `api` is the name of components[0] already",
        ],
    );
}

#[test]
fn what_could_not_be_read_is_not_called_missing() {
    refused(
        "name: [a]\nservice:\n  component: {}\n",
        &[
            "1:1: expected text, found a list",
            "3:3: expected text, found a mapping",
        ],
    );
    refused(
        "name: a\nservices:\n  component: a.wasm\n",
        &["2:1: unknown field `services` in a workload: did you mean `service`?"],
    );
}

#[test]
fn other_schemes_wait_for_another_version() {
    let found = problems("name: a\nservice: { component: \"oci://registry/cache:1\" }\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("2:23: `oci://` is not supported by this version"),
        "{}",
        found[0]
    );
}

#[test]
fn duplicates_are_refused_with_all_else() {
    refused(
        "name: a\nservice: { component: a.wasm }\nname: b\nreplica: 1\n",
        &[
            "3:1: `name` is given twice: it stands at line 1 already",
            "4:1: unknown field `replica` in a workload: did you mean `replicas`?",
        ],
    );
    refused(
        "name: a\nservice: { component: a.wasm }\n---\nnamespace: default\nname: a\nservice: { component: a.wasm }\n",
        &["5:7: `default/a` is the workload at line 1 already"],
    );
}

#[test]
fn what_warren_does_not_read_of_yaml_is_named() {
    for (text, message) in [
        (
            "name: &a x\n",
            "1:10: anchors and aliases are not supported: write the value out",
        ),
        (
            "name: !!str x\n",
            "1:13: tags are not supported: leave it out",
        ),
        ("? [a]\n: b\n", "1:3: a field's name must be plain text"),
        (
            "",
            "1:1: it holds no workload: give one a `name` and a `service` or `components`",
        ),
        (
            "# nothing\n---\n",
            "1:1: it holds no workload: give one a `name` and a `service` or `components`",
        ),
    ] {
        refused(text, &[message]);
    }
    assert!(problems("name: \"a\n")[0].contains("not valid YAML"));
}

#[test]
fn errors_are_shown_one_a_line() {
    let errors = parse("dir/a.yaml", "nam: a\nservice: { component: a.wasm }\n").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "dir/a.yaml:1:1: name: it is required: give the workload a name\n\
         dir/a.yaml:1:1: unknown field `nam` in a workload: did you mean `name`?"
    );
}

#[test]
fn all_that_no_manifest_may_hold_is_found_at_once() {
    refused(
        "name: a\nname: b\nservice: &s { component: a.wasm, component: b.wasm }\nother: *s\nlabels: { <<: { a: b } }\n? [x]\n: y\nz: !t 1\n",
        &[
            "2:1: `name` is given twice: it stands at line 1 already",
            "3:13: anchors and aliases are not supported: write the value out",
            "3:34: `component` is given twice: it stands at line 3 already",
            "4:8: anchors and aliases are not supported: write the value out",
            "5:11: merge keys are not supported: write the fields out",
            "6:3: a field's name must be plain text",
            "8:7: tags are not supported: leave it out",
        ],
    );
    // Keys of one mapping are no duplicates of another's, nor are values.
    one("name: a\nservice: { component: a.wasm, env: { name: x, a: name, b: name, \"<<\": y } }\n");
    refused(
        &format!("name: a\nx: {}\n", "[".repeat(40)),
        &["2:35: more than 32 mappings and lists in each other: no manifest needs so many"],
    );
    let endless = problems(&format!("name: a\nx:\n{}\n", "- ".repeat(100_000)));
    assert_eq!(endless.len(), 1);
    assert!(
        endless[0].starts_with("3:63: more than 32"),
        "{}",
        endless[0]
    );
}

#[test]
fn tabs_are_told_apart_from_other_mistakes() {
    for (text, at) in [
        ("name: a\nservice:\n\tcomponent: a.wasm\n", "3:1"),
        (
            "name: a\nservice:\n  component: a.wasm\n\tstopGrace: 1s\n",
            "4:1",
        ),
        (
            "name: a\nservice:\n  component: a.wasm\n \tstopGrace: 1s\n",
            "4:2",
        ),
        ("name: a\ncomponents:\n-\tname: c\n\tcomponent: x\n", "4:1"),
        ("---\n# nothing\n---\nlabels: |\n\tx\n", "5:1"),
    ] {
        refused(
            text,
            &[&format!(
                "{at}: not valid YAML: a tab cannot indent a line: use spaces"
            )],
        );
    }
}
