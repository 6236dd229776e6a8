//! Output on a terminal: text from guests cannot control it, and essential columns are not cut.

use warren_tests::{Dev, eventually, guest};

use crate::lab;

/// Names the window, empties the screen, and writes over the line.
const SEQUENCES: &str = r"\e]0;owned\a\e[2Jgone cr\rforged\x9b2J\u202e";
const SHOWN: &str = r"\u{1b}]0;owned\u{7}\u{1b}[2Jgone cr\rforged\u{9b}2J\u{202e}";

/// The only sequences are those of colours, of the cursor that progress moves, and of none else.
#[track_caller]
fn drives_nothing(text: &str) {
    for (at, _) in text.match_indices(['\x1b', '\u{9b}', '\x07', '\u{202e}']) {
        let sequence = &text[at..];
        let end = sequence.find(|c: char| c.is_ascii_alphabetic());
        let own = sequence.starts_with("\x1b[")
            && end.is_some_and(|end| matches!(&sequence[end..=end], "m" | "K" | "A" | "B" | "G"));
        assert!(own, "{sequence:?} in {text:?}");
    }
    let forged = text.replace("\r\n", "\n").contains("\rforged");
    assert!(!forged, "{text:?}");
}

#[tokio::test]
async fn control_characters_from_a_guest_are_escaped() {
    let lab = lab();
    let guest = guest("std-net");
    let file = lab.write(
        "w.yaml",
        format!(
            "name: w\n\
             service:\n  \
               component: {guest}\n  \
               args: [ exit, \"{SEQUENCES}\" ]\n  \
               env: {{ \"K{SEQUENCES}\": \"{SEQUENCES}\" }}\n  \
               restart: {{ initialBackoff: 1h, maxBackoff: 1h }}\n"
        ),
    );
    let dev = Dev::start(&lab, &[&file]).await;
    eventually("it has ended", async || {
        let replicas = dev.warren(&lab, &["get", "replicas", "-o", "json"]).await;
        let replicas = replicas.json();
        let trapped = replicas[0]["lastExit"]["reason"] == "TRAPPED";
        trapped.then_some(()).ok_or(replicas)
    })
    .await;
    let wait = ["apply", "-f", &file, "--wait", "--timeout", "1s"];
    for (arguments, is_shown) in [
        (&["describe", "workload", "w"][..], true),
        (&["describe", "replica", "w"], true),
        (&wait, true),
        (&["logs", "w"], true),
        (&["get", "workloads", "-o", "wide"], false),
        (&["get", "replicas", "-o", "wide"], false),
        (&["get", "workloads", "-o", "manifest"], false),
        (&["history", "w"], false),
        (&["events"], false),
        (&["get", "replicas", "-o", "json"], false),
        (&["get", "replicas", "-o", "yaml"], false),
        (&["logs", "w", "-o", "json"], false),
        (&["logs", "w", "-o", "yaml"], false),
    ] {
        let answer = dev.on_terminal(&lab, 80, arguments).await;
        drives_nothing(&answer.stdout);
        let wrapped = answer.stdout.replace("\r\n", "");
        assert!(!is_shown || wrapped.contains(SHOWN), "{answer:#?}");
    }

    // Whoever asks for it, or pipes it, gets what was written.
    let written = "\x1b]0;owned\x07\x1b[2Jgone cr\rforged\u{9b}2J\u{202e}";
    let raw = dev.on_terminal(&lab, 80, &["logs", "w", "--raw"]).await;
    assert!(raw.stdout.contains(written), "{raw:#?}");
    let piped = dev.warren(&lab, &["logs", "w"]).await.ok();
    assert!(piped.contains(written), "{piped:?}");
    let described = dev.warren(&lab, &["describe", "workload", "w"]).await.ok();
    drives_nothing(&described);
    let said = dev.process.said_line("gone cr").await;
    drives_nothing(&said);
}

#[tokio::test]
async fn control_characters_in_a_manifest_are_escaped() {
    let lab = lab();
    let file = lab.write(
        "w.yaml",
        format!("name: \"{SEQUENCES}\"\n\"{SEQUENCES}\": 1\nservice: {{ component: a.wasm, stopGrace: \"{SEQUENCES}\" }}\n"),
    );
    let arguments = ["validate", "-f", &file];
    let mut command = lab.on_terminal(80, &arguments);
    let output = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    drives_nothing(&text);
    assert!(text.contains(&format!("unknown field `{SHOWN}`")), "{text}");

    for (arguments, words) in [
        (
            ["scale", "w", "\x1b[2J\rforged"].as_slice(),
            "write a whole number from 0 to 1000",
        ),
        (
            &["describe", "workload", "\x1b[2Jforged"],
            "is not a valid name",
        ),
        (&["get", "\x1b]0;owned\x07forged"], "invalid value"),
    ] {
        let mut command = lab.on_terminal(80, arguments);
        let output = command.output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        drives_nothing(&text);
        assert!(text.contains(words), "{text}");
    }
    let mut command = lab.on_terminal(80, &["get", "workloads"]);
    let output = command.env("WARREN_SERVER", "http://\x1b[2J").output();
    let output = output.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    drives_nothing(&text);
    assert!(text.contains("is not a URL"), "{text}");
}

#[tokio::test]
async fn no_essential_column_is_cut_at_80_columns() {
    let lab = lab();
    let guest = guest("http-echo");
    let name = "a-workload-of-a-long-name-that-takes-most-of-a-line";
    let file = lab.write(
        "w.yaml",
        format!("name: {name}\nreplicas: 1\ncomponents: [ {{ name: web, component: {guest} }} ]\n"),
    );
    let dev = Dev::start(&lab, &[]).await;
    dev.warren(&lab, &["apply", "-f", &file, "--wait"])
        .await
        .ok();
    let ids = dev
        .warren(&lab, &["get", "replicas", "-o", "name"])
        .await
        .ok();
    let id = ids.trim().strip_prefix("replica/").unwrap();
    for (kind, parts) in [
        ("replicas", [id, "RUNNING", "dev"]),
        ("workloads", [name, "Ready", "1/1"]),
    ] {
        let table = dev.on_terminal(&lab, 80, &["get", kind]).await.ok();
        let row = table.lines().nth(1).unwrap_or_default();
        for part in parts {
            assert!(row.contains(part), "{part} is missing in {table}");
        }
    }
    // Later events may come in between.
    let whole = dev.warren(&lab, &["events"]).await.ok();
    let events = dev.on_terminal(&lab, 80, &["events"]).await.ok();
    let words =
        |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let last = words(whole.lines().last().unwrap_or_default());
    let (reason, message) = (&last[2], &last[5..]);
    let shown = words(&events);
    let mut windows = shown.windows(message.len());
    assert!(windows.any(|window| window == message), "{events}\n{whole}");
    assert!(shown.contains(reason), "{events}\n{whole}");
}
