//! How pages are read: tables of what counts as what.

use warren_tests::docs::{Document, Kind, Marker, Role, Server, matches, steps};

#[test]
fn blocks_belong_to_the_session_before_them() {
    let page = "# Title\n\
        <!-- test: run -->\n\
        ```sh\n\
        warren get workloads\n\
        ```\n\
        - a list\n\n  \
          <!-- test: exit 2; run; needs nc psql -->\n\n  \
          ```console\n  \
          $ warren get\n    \
            indented\n  \
          ```\n\
        <!-- test: session second -->\n\
        Some words.\n\
        <!-- test: run; dev examples/counter -->\n\
        ````sh\n\
        true\n\
        ```\n\
        ````\n";
    let document = Document::parse("page.md", page).unwrap();
    let names: Vec<&str> = document
        .sessions
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["", "second"]);
    let first = &document.sessions[0].blocks;
    assert_eq!(first[0].text, "warren get workloads\n");
    assert_eq!(first[1].text, "$ warren get\n  indented\n");
    assert_eq!(first[1].line, 10);
    assert_eq!((first[1].marker.exit, first[1].marker.needs.len()), (2, 2));
    let second = &document.sessions[1].blocks[0];
    assert_eq!(second.text, "true\n```\n");
    let dev = Server::Dev("examples/counter".to_owned());
    assert_eq!(second.marker.server, Some(dev));
}

#[test]
fn no_block_is_skipped_silently() {
    for (page, problem) in [
        ("```sh\ntrue\n```\n", "page.md:1: commands without a marker"),
        ("```\ntrue\n```\n", "page.md:1: a block without a language"),
        (
            "text\n\n    cargo run --release -- dev\n",
            "page.md:3: put `cargo run",
        ),
        (
            "<!-- test: run -->\nText.\n```text\n```\n",
            "page.md:1: a marker with no block",
        ),
        ("<!-- test: run -->\n", "page.md:1: a marker with no block"),
        (
            "<!-- test: run -->\n```yaml\n```\n",
            "page.md:2: `run` is for `sh`",
        ),
        (
            "<!-- test: manifest -->\n```sh\n```\n",
            "page.md:2: this role is not for `sh`",
        ),
        (
            "<!-- test: needs nc -->\n```sh\n```\n",
            "page.md:1: it says nothing of what",
        ),
        (
            "<!-- test: skip -->\n```sh\n```\n",
            "page.md:1: `skip` wants words",
        ),
        (
            "<!-- test: skip me -->\n```sh\n```\n",
            "page.md:1: `skip me` means nothing",
        ),
        (
            "<!-- test: run now -->\n```sh\n```\n",
            "page.md:1: `run` takes no words",
        ),
        (
            "<!-- test: run; output -->\n```sh\n```\n",
            "page.md:1: `output`: one block has one",
        ),
        (
            "<!-- test: session a -->\n<!-- test: session a -->\n",
            "page.md:2: a second session",
        ),
    ] {
        let problems = Document::parse("page.md", page).unwrap_err();
        let found = problems.iter().any(|one| one.starts_with(problem));
        assert!(found, "`{problem}` is missing in {problems:?}");
    }
    let quiet = "```yaml\nname: a\n```\nText\n\n    text in a block\n";
    assert!(
        Document::parse("page.md", quiet)
            .unwrap()
            .sessions
            .is_empty()
    );
}

#[test]
fn markers_decide_how_a_block_is_run() {
    let marker = |words| Marker::parse(words).unwrap();
    assert_eq!(
        marker("elsewhere .ci/run").role,
        Role::Elsewhere(".ci/run".to_owned())
    );
    assert_eq!(
        marker("file a/b.yaml").role,
        Role::File("a/b.yaml".to_owned())
    );
    assert_eq!(marker("run; cluster").server, Some(Server::Cluster));
    assert_eq!(marker("run; within 5m").limit.as_secs(), 300);
    assert_eq!(marker("run; within 90s").limit.as_secs(), 90);
    assert!(marker("outside; run").outside);
    for wrong in ["run; within 5", "run; exit soon", ""] {
        Marker::parse(wrong).unwrap_err();
    }
}

#[test]
fn long_running_commands_are_recognized() {
    let server = |ready: usize| Kind::Server(vec![("control plane at ", 1), (" is ready", ready)]);
    let listening = Kind::Server(vec![("listening on ", 1)]);
    for (command, kind) in [
        ("warren dev", server(0)),
        (
            "cargo run --release -- dev examples/counter   # a comment",
            server(1),
        ),
        ("warren dev a b --data d --allow-host-loopback", server(2)),
        ("warren dev a.wasm b.wasm c", server(2)),
        ("warren control --data d", listening.clone()),
        (
            "warren worker --name a \\\n  --http 127.0.0.1:8001",
            listening,
        ),
        ("warren worker --help", Kind::Commands),
        ("warren dev a > log &", Kind::Commands),
        ("warren get workloads", Kind::Commands),
        ("warren get workloads -w", Kind::Follow),
        ("warren logs counter -f | head -n 1", Kind::Commands),
        ("warren logs counter -f", Kind::Follow),
        ("warren events --watch", Kind::Follow),
        (
            "grpcurl -plaintext :7700 warren.v1.WorkloadService/Watch",
            Kind::Follow,
        ),
        (
            "grpcurl -max-time 2 :7700 warren.v1.WorkloadService/Watch",
            Kind::Commands,
        ),
        (
            "grpcurl :7700 describe warren.v1.WatchRequest",
            Kind::Commands,
        ),
        ("cargo test --workspace", Kind::Commands),
    ] {
        let steps = steps("sh", command);
        assert_eq!(steps.len(), 1, "{command}");
        assert_eq!(steps[0].kind, kind, "{command}");
    }
}

#[test]
fn commands_between_servers_stay_together() {
    let block = "# first\nwarren control\nfor i in 1 2; do\n  curl x\ndone\ncat <<END > f\nwarren dev\nEND\n\
        warren logs a -f\n";
    let steps = steps("sh", block);
    let texts: Vec<&str> = steps.iter().map(|step| step.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "warren control\n",
            "for i in 1 2; do\n  curl x\ndone\ncat <<END > f\nwarren dev\nEND\n",
            "warren logs a -f\n",
        ]
    );
    assert!(steps.iter().all(|step| step.expected.is_none()));
}

#[test]
fn a_console_shows_what_each_command_prints() {
    let steps = steps(
        "console",
        "$ curl \\\n  a\n1\n2\n$ true\n$ warren logs a -f\nx\n",
    );
    let shown: Vec<_> = steps
        .iter()
        .map(|step| (step.text.as_str(), step.expected.as_deref()))
        .collect();
    assert_eq!(
        shown,
        [
            ("curl \\\n  a\n", Some("1\n2\n")),
            ("true\n", Some("")),
            ("warren logs a -f\n", Some("x\n")),
        ]
    );
    assert_eq!(steps[2].kind, Kind::Follow);
}

#[test]
fn output_is_as_shown() {
    for (shown, output) in [
        ("", ""),
        ("a  b\n", "\na      b  \n"),
        ("a\n...\nd\n", "a\nb\nc\nd\n"),
        ("...\nd\n", "d\n"),
        ("a ... d", "a b c d"),
        ("x=... y", "x=1 y"),
        ("counter-ef4vcao6db is ready", "counter-abcdefghij is ready"),
        ("sha256:568b3220", "sha256:1b253899"),
        (
            "3 (component instance 4f1c2a9e, service",
            "3 (component instance 00c2a9e1, service",
        ),
        (
            "\"2026-11-23T01:43:33.116921829Z\",",
            "\"2027-01-01T00:00:00Z\",",
        ),
        ("up 3s", "up 1m40s"),
    ] {
        assert!(matches(shown, output, false), "`{shown}` is `{output}`");
    }
    for (shown, output) in [
        ("", "a"),
        ("a", ""),
        ("a\nb", "a"),
        ("a", "a\nb"),
        ("a\n...\nd\n", "a\nb\n"),
        ("a ... d", "a b c"),
        ("x=...y", "x=1"),
        ("counter-ef4vcao6db", "cache-ef4vcao6db"),
        ("3s", "3"),
        ("1", "2"),
    ] {
        assert!(
            !matches(shown, output, false),
            "`{shown}` is not `{output}`"
        );
    }
    assert!(matches("a\nb", "a\nb\nc", true));
    assert!(!matches("a\nb", "a", true));
}
