//! Prints what breaks the rules of the house; with `--write`, records the findings of today.

#![allow(clippy::print_stdout)]

use std::{env, fs, io, process::ExitCode};

use warren_tidy::{Tree, findings, ratchet};

const USAGE: &str = "usage: warren-tidy [--all | --write | --write-more]

Checks the repository, and fails on findings that tests/tidy/allowed.txt does not allow.
  --all         print every finding, allowed or not
  --write       write tests/tidy/allowed.txt; fails if there are more findings of some rule
  --write-more  the same, with more findings too: for a new rule";

fn main() -> io::Result<ExitCode> {
    let mode = env::args().nth(1).unwrap_or_default();
    if !matches!(mode.as_str(), "" | "--all" | "--write" | "--write-more") {
        println!("{USAGE}");
        return Ok(ExitCode::from(2));
    }
    let tree = Tree::read()?;
    let found = findings(&tree);
    let allowed = ratchet::read(tree.text(ratchet::ALLOWED).unwrap_or_default());
    let problems = match mode.as_str() {
        "--all" => found.iter().map(ToString::to_string).collect(),
        "" => ratchet::compare(&found, &allowed),
        mode => {
            let counts = ratchet::count(&found);
            let risen = ratchet::risen(&counts, &allowed);
            if risen.is_empty() || mode == "--write-more" {
                fs::write(Tree::root().join(ratchet::ALLOWED), ratchet::write(&counts))?;
                return Ok(ExitCode::SUCCESS);
            }
            [risen, ratchet::compare(&found, &allowed)].concat()
        }
    };
    for problem in &problems {
        println!("{problem}");
    }
    Ok(match problems.is_empty() || mode == "--all" {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
