//! The repository keeps to its own rules.

#![allow(clippy::unwrap_used)]

use warren_tidy::{Tree, findings, ratchet};

#[test]
fn the_house_is_tidy() {
    let tree = Tree::read().unwrap();
    assert!(tree.texts().count() > 500, "the repository is read");
    let allowed = ratchet::read(tree.text(ratchet::ALLOWED).unwrap());
    let problems = ratchet::compare(&findings(&tree), &allowed);
    assert!(
        problems.is_empty(),
        "{} findings (docs/writing.md and CONTRIBUTING.md explain the rules):\n{}",
        problems.len(),
        problems.join("\n")
    );
}

/// The Dockerfile builds the workspace, which cargo loads only as a whole.
#[test]
fn an_image_is_built_from_every_member_of_the_workspace() {
    let tree = Tree::read().unwrap();
    let manifest = tree.text("Cargo.toml").unwrap();
    let members = manifest
        .lines()
        .find_map(|line| line.strip_prefix("members = ["))
        .unwrap();
    let kept: Vec<_> = tree
        .text(".dockerignore")
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let members: Vec<_> = members
        .trim_end_matches(']')
        .split(", ")
        .map(|member| member.trim_matches('"'))
        .collect();
    assert!(members.contains(&"cli"), "{members:?}");
    for member in members {
        let room = member.split('/').next().unwrap();
        assert!(kept.contains(&room), "`.dockerignore` leaves out `{room}`");
    }
}
