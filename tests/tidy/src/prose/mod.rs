//! Language: comments, messages, help texts and pages avoid the patterns of [`rules`].
//!
//! `docs/writing.md` has the rules for people. Here are those that a machine can check.

pub mod rules;
mod text;

use crate::{Finding, Tree};
use rules::{Rule, Rules};
use text::Paragraph;

/// The page that quotes what it advises against.
const WRITING: &str = "docs/writing.md";

/// Returns what the rules find in the repository's texts.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let rules = Rules::default();
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        // This crate's own sources are examples of what the rules find.
        if path == WRITING || path.starts_with("tests/tidy/src/prose/") {
            continue;
        }
        for paragraph in text::paragraphs(path, text) {
            findings.extend(in_paragraph(&rules, path, &paragraph));
        }
    }
    findings
}

fn in_paragraph(rules: &Rules, path: &str, paragraph: &Paragraph) -> Vec<Finding> {
    let found = rules.find(paragraph);
    let finding = |(rule, at, words): (&Rule, usize, String)| {
        let line = paragraph.line_of(at);
        let message = format!("\"{words}\": {}", rule.advice);
        Finding::new(path, line, rule.name, message)
    };
    found.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let findings = check(&Tree::of(&[(path, text)]));
        findings.into_iter().map(|f| (f.line, f.rule)).collect()
    }

    #[test]
    fn every_kind_of_text_is_read_and_code_is_not() {
        let here = |line| [(line, "anew".to_owned())];
        for (path, text, line) in [
            ("docs/a.md", "# Title\n\nIt starts\nanew.\n", 4),
            ("a/b.rs", "/// It\n/// starts anew.\nfn anew() {}", 2),
            ("a/b.rs", "fn f() { warn!(\"it starts anew\") }", 1),
            ("proto/a.proto", "message A {\n  // It starts anew.\n}", 2),
            ("a/run.sh", "#!/bin/sh\n# It starts anew.\nanew", 2),
            ("Cargo.toml", "[a]\n# It starts anew.\nanew = 1", 2),
        ] {
            assert_eq!(found(path, text), here(line), "{path}");
        }
        for (path, text) in [
            ("docs/a.md", "```\nanew\n```\n`anew` [x](anew.md)"),
            ("a/b.rs", "fn anew() {} // `anew` is a name"),
            ("a/tests.rs", "fn f() { assert_eq!(x, \"it starts anew\") }"),
            (
                "a/b.rs",
                "#[cfg(test)]\nmod tests { const A: &str = \"starts anew\"; }",
            ),
            ("docs/writing.md", "not anew"),
        ] {
            assert_eq!(found(path, text), [], "{path}");
        }
    }

    #[test]
    fn a_finding_says_where_it_is_and_what_to_write() {
        let findings = check(&Tree::of(&[("a.md", "One.\nTwo, anew.")]));
        assert_eq!(
            findings[0].to_string(),
            "a.md:2: anew: \"anew\": write \"again\""
        );
    }
}
