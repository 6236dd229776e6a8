//! Every session of every page, each a test of its own.

use std::fs;

use warren_tests::docs::{self, Document, Tools};

use super::root;
use crate::lab;

/// One session of a page. Nothing stands between two sessions, so they run side by side.
async fn session(page: &str, name: &str) {
    let root = root();
    let document = Document::read(&root, page).unwrap_or_else(|problems| {
        panic!("{}", problems.join("\n"));
    });
    let mut sessions = document.sessions.iter();
    let session = sessions.find(|session| session.name == name);
    let session = session.unwrap_or_else(|| panic!("{page} has no session `{name}`"));
    let tools = Tools {
        warren: env!("CARGO_BIN_EXE_warren-under-test").into(),
    };
    docs::run(&lab(), &root, page, session, &tools).await;
}

macro_rules! sessions {
    ($($test:ident: $page:literal $name:literal;)*) => {
        /// Every session that has a test.
        const SESSIONS: &[(&str, &str)] = &[$(($page, $name)),*];

        $(
            #[tokio::test]
            async fn $test() {
                session($page, $name).await;
            }
        )*
    };
}

/// Runs the examples of the command line, of which `docs/cli.md` is made.
pub const CLI_EXAMPLES: &str = "tests/tests/it/docs/cli-examples.md";

sessions! {
    cli_control: "tests/tests/it/docs/cli-examples.md" "control";
    cli_maintenance: "tests/tests/it/docs/cli-examples.md" "maintenance";
    cli_backup: "tests/tests/it/docs/cli-examples.md" "backup";
    cli_worker: "tests/tests/it/docs/cli-examples.md" "worker";
    cli_dev: "tests/tests/it/docs/cli-examples.md" "dev";
    cli_dev_bare: "tests/tests/it/docs/cli-examples.md" "dev-bare";
    cli_clients: "tests/tests/it/docs/cli-examples.md" "clients";
    readme: "README.md" "";
    readme_api: "README.md" "api";
    readme_cluster: "README.md" "cluster";
    manifest: "docs/manifest.md" "";
    operations: "docs/operations.md" "";
    operations_placement: "docs/operations.md" "placement";
    troubleshooting: "docs/troubleshooting.md" "";
    troubleshooting_pending: "docs/troubleshooting.md" "pending";
    troubleshooting_failing: "docs/troubleshooting.md" "failing";
    grpc: "docs/grpc.md" "";
    grpc_buf: "docs/grpc.md" "buf";
    guests_rust: "docs/guests.md" "rust";
    guests_c: "docs/guests.md" "c";
    guests_python: "docs/guests.md" "python";
    guests_javascript: "docs/guests.md" "javascript";
    example_bridge: "examples/bridge/README.md" "";
    example_cache: "examples/cache/README.md" "";
    example_counter: "examples/counter/README.md" "";
    example_cron: "examples/cron/README.md" "";
    example_echo: "examples/echo/README.md" "";
    example_kitchen_sink: "examples/kitchen-sink/README.md" "";
    example_pool: "examples/pool/README.md" "";
    example_web: "examples/web/README.md" "";
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let root = root();
    let mut broken = Vec::new();
    for page in docs::documents(&root) {
        let text = fs::read_to_string(root.join(&page)).unwrap();
        let folder = root.join(&page);
        let folder = folder.parent().unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            if path.contains("://") {
                continue;
            }
            let file = if path.is_empty() {
                root.join(&page)
            } else {
                folder.join(path)
            };
            let leads = match (anchor, fs::read_to_string(&file)) {
                ("", _) => file.exists(),
                (anchor, Ok(text)) => text
                    .lines()
                    .any(|line| line.starts_with('#') && self::anchor(line) == anchor),
                (_, Err(_)) => false,
            };
            if !leads {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

/// How a heading is linked to.
fn anchor(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title
        .chars()
        .filter(|one| one.is_alphanumeric() || " -_".contains(*one));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn every_session_of_every_page_has_a_test() {
    let root = root();
    let mut problems = Vec::new();
    let mut found = Vec::new();
    let mut pages = docs::documents(&root);
    pages.push(CLI_EXAMPLES.to_owned());
    for page in pages {
        match Document::read(&root, &page) {
            Ok(document) => {
                let names = document.sessions.into_iter().map(|session| session.name);
                found.extend(names.map(|name| (page.clone(), name)));
            }
            Err(what) => problems.extend(what),
        }
    }
    let tested =
        |session: &(String, String)| SESSIONS.contains(&(session.0.as_str(), session.1.as_str()));
    for (page, name) in found.iter().filter(|session| !tested(session)) {
        problems.push(format!(
            "{page}: nothing runs its session `{name}`: add it to `sessions!`"
        ));
    }
    for (page, name) in SESSIONS {
        if !found
            .iter()
            .any(|session| session.0 == *page && session.1 == *name)
        {
            problems.push(format!("{page}: there is no session `{name}`"));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}
