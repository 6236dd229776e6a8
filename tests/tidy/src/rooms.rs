//! The order of the rooms: which module of a crate may import which.
//!
//! `tests/tidy/rooms.txt` is the table. An import is any path from `crate::` or `super::` that
//! leaves its own room, in code that is compiled into the product.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Finding, Tree, rust::Source};

const TABLE: &str = "tests/tidy/rooms.txt";

/// The rooms of one crate.
#[derive(Debug, Default)]
struct House {
    /// The floor of each room; an import goes from a higher number to a lower one.
    floors: BTreeMap<String, usize>,
    /// The line of the table that names the room, and whether the room need not exist.
    named: BTreeMap<String, (usize, bool)>,
    /// Imports that are excused, with the line of the table.
    exceptions: BTreeMap<(String, String), usize>,
}

/// Returns imports against the order, rooms that the table lacks, and lines of it that are stale.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(table) = tree.text(TABLE) else {
        return Vec::new();
    };
    let (houses, mut findings) = read(table);
    for (name, house) in &houses {
        findings.extend(house.check(name, tree));
    }
    findings
}

fn read(table: &str) -> (BTreeMap<String, House>, Vec<Finding>) {
    let mut houses = BTreeMap::<String, House>::new();
    let mut findings = Vec::new();
    let mut house = None;
    for (number, line) in table.lines().enumerate() {
        let (number, words) = (number + 1, line.split_whitespace().collect::<Vec<_>>());
        match (words.as_slice(), &mut house) {
            ([], _) => {}
            ([first, ..], _) if first.starts_with('#') => {}
            ([name], _) if name.ends_with(':') => {
                house = Some(houses.entry(name.replace(':', "")).or_default());
            }
            (["except", from, "->", to], Some(house)) => {
                let edge = ((*from).to_owned(), (*to).to_owned());
                house.exceptions.insert(edge, number);
            }
            (rooms, Some(house)) if !rooms.contains(&"except") => {
                for room in rooms {
                    let name = room.trim_end_matches('?').to_owned();
                    // Floors count down, as the table does.
                    house.floors.insert(name.clone(), table.len() - number);
                    house.named.insert(name, (number, room.ends_with('?')));
                }
            }
            _ => findings.push(Finding::new(
                TABLE,
                number,
                "rooms",
                "is not a line of the table",
            )),
        }
    }
    (houses, findings)
}

impl House {
    /// Returns the room that a module or a path is in.
    fn room(&self, path: &[String]) -> Option<String> {
        let [first, rest @ ..] = path else {
            return None;
        };
        let inner = rest.first().map(|second| format!("{first}::{second}"));
        let inner = inner.filter(|inner| self.floors.contains_key(inner));
        Some(inner.unwrap_or_else(|| first.clone()))
    }

    fn check(&self, name: &str, tree: &Tree) -> Vec<Finding> {
        let mut findings = Vec::new();
        let source = format!("{name}/src");
        let files: Vec<_> = tree
            .under(&source)
            .filter_map(|(path, text)| Some((path, module(path, &source)?, text)))
            .collect();
        let exist: BTreeSet<_> = files.iter().filter_map(|(_, m, _)| self.room(m)).collect();
        for (room, (line, may_lack)) in &self.named {
            if !may_lack && !exist.contains(room) {
                let message = format!("`{name}` has no room `{room}`; remove it");
                findings.push(Finding::new(TABLE, *line, "rooms", message));
            }
        }
        let root = tree.text(&format!("{source}/lib.rs")).unwrap_or_default();
        let reexports = reexports(root, &exist);
        let mut used = BTreeSet::new();
        let mut unknown = BTreeSet::new();
        for (path, module, text) in &files {
            let Some(room) = self.room(module) else {
                continue;
            };
            let Some(floor) = self.floors.get(&room) else {
                if unknown.insert(room.clone()) {
                    let message = format!("the room `{room}` is not in {TABLE}");
                    findings.push(Finding::new(path, 1, "rooms", message));
                }
                continue;
            };
            if is_test(path) {
                continue;
            }
            for (line, import) in imports(&Source::parse(text).product_code(), module) {
                let Some(first) = self.room(&import) else {
                    continue;
                };
                let to = reexports.get(&first).unwrap_or(&first);
                let Some(floor_of_other) = self.floors.get(to).filter(|_| *to != room) else {
                    continue;
                };
                let edge = (room.clone(), to.clone());
                if floor_of_other < floor {
                    continue;
                }
                if self.exceptions.contains_key(&edge) {
                    used.insert(edge);
                    continue;
                }
                let message = format!(
                    "`{room}` imports `{}`, against the order of {TABLE}",
                    import.join("::")
                );
                findings.push(Finding::new(path, line, "rooms", message));
            }
        }
        for ((from, to), line) in &self.exceptions {
            if !used.contains(&(from.clone(), to.clone())) {
                let message =
                    format!("nothing in `{name}` imports {from} -> {to}; remove the line");
                findings.push(Finding::new(TABLE, *line, "rooms", message));
            }
        }
        findings
    }
}

/// Returns whether only tests compile the file.
pub fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests") || path.ends_with("/tests.rs") || {
        let name = path.rsplit('/').next().unwrap_or(path);
        name == "testing.rs"
    }
}

/// Returns the path of a file's module from the crate's root, which itself has none.
fn module(path: &str, source: &str) -> Option<Vec<String>> {
    let inside = path.strip_prefix(source)?.strip_prefix('/')?;
    let inside = inside.strip_suffix(".rs")?;
    let mut parts: Vec<_> = inside.split('/').map(str::to_owned).collect();
    if matches!(
        parts.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        parts.pop();
    }
    Some(parts)
}

/// Returns which room the names that the crate's root exports come from.
fn reexports(root: &str, rooms: &BTreeSet<String>) -> BTreeMap<String, String> {
    let code = Source::parse(root)
        .product_code()
        .replace("use ", "use self::");
    let mut names = BTreeMap::new();
    for (_, path) in imports(&code, &[]) {
        if let (Some(first), Some(last)) = (path.first(), path.last())
            && path.len() > 1
            && rooms.contains(first)
        {
            names.insert(last.clone(), first.clone());
        }
    }
    names
}

/// Returns the paths that begin with `crate`, `super` or `self`, from the root, with their lines.
fn imports(code: &str, module: &[String]) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (line, token) = tokens[at];
        let starts = matches!(token, "crate" | "super" | "self");
        let follows = tokens.get(at + 1).is_some_and(|(_, token)| *token == "::");
        if starts && follows {
            let mut paths = Vec::new();
            at = path(&tokens, at, module.to_vec(), &mut paths);
            found.extend(paths.into_iter().map(|path| (line, path)));
        }
        at += 1;
    }
    found
}

/// Reads a path, or a tree of paths in braces, and returns the place after it.
fn path(
    tokens: &[(usize, &str)],
    mut at: usize,
    mut prefix: Vec<String>,
    paths: &mut Vec<Vec<String>>,
) -> usize {
    while let Some((_, token)) = tokens.get(at) {
        match *token {
            "crate" => prefix.clear(),
            "super" => drop(prefix.pop()),
            "self" => {}
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|(_, token)| *token != "}") {
                    at = path(tokens, at, prefix.clone(), paths);
                    // Skips another name after `as`, up to the comma.
                    while tokens
                        .get(at)
                        .is_some_and(|(_, t)| !matches!(*t, "," | "}"))
                    {
                        at += 1;
                    }
                    if tokens.get(at).is_some_and(|(_, token)| *token == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            name => prefix.push(name.to_owned()),
        }
        if tokens.get(at + 1).is_none_or(|(_, token)| *token != "::") {
            paths.push(prefix);
            return at + 1;
        }
        at += 2;
    }
    paths.push(prefix);
    at
}

/// Splits code into names, `::` and single characters, with their lines.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                c if c.is_alphanumeric() || c == '_' => rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                c => c.len_utf8(),
            };
            let (token, after) = rest.split_at(length);
            if !first.is_whitespace() {
                tokens.push((number + 1, token));
            }
            rest = after;
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = "control:\n    top\n    middle\n    low\n";

    fn found(table: &str, files: &[(&str, &str)]) -> Vec<String> {
        let rooms = [
            (TABLE, table),
            (
                "control/src/lib.rs",
                "pub use top::{Tip, inner::Deep as D};",
            ),
            (
                "control/src/top/mod.rs",
                "use crate::middle::a; use super::low::b;",
            ),
            (
                "control/src/middle.rs",
                "use crate::{low::{b, c}, middle::d};",
            ),
            ("control/src/low/mod.rs", "use std::fmt;"),
        ];
        let tree = Tree::of(&[&rooms, files].concat());
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn imports_downwards_are_allowed() {
        assert_eq!(found(ORDER, &[]), [""; 0]);
    }

    #[test]
    fn an_import_upwards_is_found_however_it_is_written() {
        for code in [
            "use crate::top::a;",
            "use crate::{low::x, top};",
            "use crate::{\n    low::{x, y},\n    middle::{self as m},\n};",
            "fn f() { super::super::middle::g(); }",
            "use super::super::{low::x, middle::y};",
            "type T = crate::top::T<u8>;",
            "use crate::Tip;",
        ] {
            let found = found(ORDER, &[("control/src/low/part.rs", code)]);
            assert_eq!(found.len(), 1, "{code}: {found:?}");
            assert!(found[0].contains("`low` imports"), "{found:?}");
        }
    }

    #[test]
    fn a_module_may_be_a_room_of_its_own() {
        let table = format!("{ORDER}    top::base\n");
        let base = ("control/src/top/base.rs", "");
        let fine = ("control/src/low/a.rs", "use crate::top::base::b;");
        assert_eq!(found(&table, &[base, fine]), [""; 0]);
        let upwards = ("control/src/low/a.rs", "use crate::top::b;");
        assert_eq!(found(&table, &[base, upwards]).len(), 1);
        let base = ("control/src/top/base.rs", "use crate::low::b;");
        assert_eq!(found(&table, &[base]).len(), 1);
    }

    #[test]
    fn tests_comments_and_strings_import_as_they_like() {
        for (path, code) in [
            (
                "control/src/low/a.rs",
                "// crate::top::a\nconst A: &str = \"crate::top\";",
            ),
            (
                "control/src/low/b.rs",
                "#[cfg(test)]\nmod tests { use crate::top::a; }",
            ),
            ("control/src/low/tests.rs", "use crate::top::a;"),
        ] {
            assert_eq!(found(ORDER, &[(path, code)]), [""; 0], "{path}");
        }
    }

    #[test]
    fn an_exception_excuses_its_import_and_fails_once_it_is_not_needed() {
        let table = format!("{ORDER}    except low -> top\n");
        let upwards = ("control/src/low/a.rs", "use crate::top::a;");
        assert_eq!(found(&table, &[upwards]), [""; 0]);
        let found = found(&table, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("remove the line"), "{found:?}");
    }

    #[test]
    fn the_table_names_every_room_and_no_other() {
        let unknown = found(ORDER, &[("control/src/attic.rs", "")]);
        assert!(unknown[0].contains("`attic` is not in"), "{unknown:?}");
        let gone = found(&format!("{ORDER}    cellar\n"), &[]);
        assert!(gone[0].contains("no room `cellar`"), "{gone:?}");
        assert_eq!(found(&format!("{ORDER}    cellar?\n"), &[]), [""; 0]);
        assert!(found(&format!("{ORDER}    except low\n"), &[])[0].contains("not a line"));
    }
}
