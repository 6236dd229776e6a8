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
