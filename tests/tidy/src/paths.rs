//! References of pages: links to files and headings, and paths in the text.

use std::sync::LazyLock;

use regex::Regex;

use crate::{Finding, Tree};

#[expect(clippy::unwrap_used, reason = "a constant, which the tests compile")]
static LINK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\]\(([^)\s]+)\)").unwrap());
#[expect(clippy::unwrap_used, reason = "a constant, which the tests compile")]
static PATH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"`([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+)/?(?::\d+)?`").unwrap());

/// Returns links and paths of Markdown pages whose target does not exist.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (page, text) in tree.ending(".md") {
        let directory = page.rsplit_once('/').map_or("", |(directory, _)| directory);
        for (number, line) in prose(text) {
            let mut report = |message: String| {
                findings.push(Finding::new(page, number, "paths", message));
            };
            for link in LINK.captures_iter(line) {
                let (target, heading) = link[1].split_once('#').unwrap_or((&link[1], ""));
                if link[1].contains("://") || link[1].starts_with("mailto:") {
                    continue;
                }
                let target = match target {
                    "" => page.to_owned(),
                    target => join(directory, target),
                };
                if !target.is_empty() && !tree.contains(&target) {
                    report(format!("the link's target `{target}` does not exist"));
                } else if !heading.is_empty()
                    && let Some(text) = tree.text(&target)
                    && target.ends_with(".md")
                    && !headings(text).any(|known| known == heading)
                {
                    report(format!("`{target}` has no heading `#{heading}`"));
                }
            }
            for path in PATH.captures_iter(line) {
                let named = &path[1];
                let top = named.split('/').next().unwrap_or_default();
                // Only what begins as a path of this repository does is one.
                let of_tree = tree.contains(top) && tree.text(top).is_none();
                if of_tree && !tree.contains(named) && !tree.contains(&join(directory, named)) {
                    report(format!("the path `{named}` does not exist"));
                }
            }
        }
    }
    findings
}

/// Returns the lines of a page that are not in a block of code, with their numbers.
pub fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        (!fence && !in_code).then_some((number + 1, line))
    })
}

/// Returns a path from the root, given the directory of the page that names it.
fn join(directory: &str, target: &str) -> String {
    let mut parts: Vec<_> = directory
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Returns the anchors of a page's headings.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter_map(|(_, line)| {
        let title = line.strip_prefix('#')?.trim_start_matches('#').trim();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(page: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[
            (page, text),
            ("docs/concepts.md", "# Concepts\n## A replica's `life`\n"),
            ("control/src/server.rs", ""),
        ]);
        check(&tree).iter().map(|f| f.message.clone()).collect()
    }

    #[test]
    fn what_exists_is_accepted() {
        let text = "[a](docs/concepts.md#a-replicas-life) [b](#top) `control/src/server.rs`\n\
                    # Top\n[c](https://x.y/z) `control/src/` `text/plain` `a/b` `control/src/server.rs:3`\n\
                    ```\n[d](gone.md)\n```\n";
        assert_eq!(found("README.md", text), [""; 0]);
        let below = "[a](../docs/concepts.md) [b](concepts.md) [c](../control)";
        assert_eq!(found("docs/a.md", below), [""; 0]);
    }

    #[test]
    fn a_path_or_link_to_nothing_is_found() {
        for (text, expected) in [
            ("[a](docs/gone.md)", "`docs/gone.md` does not exist"),
            ("[a](docs/concepts.md#gone)", "no heading `#gone`"),
            ("[a](#gone)", "no heading `#gone`"),
            (
                "see `control/src/gone.rs`",
                "`control/src/gone.rs` does not exist",
            ),
            ("see `control/gone/`", "`control/gone` does not exist"),
        ] {
            let found = found("README.md", text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains(expected), "{text}: {found:?}");
        }
    }
}
