//! Dependencies and their features: each is used by the code that asks for it.
//!
//! A dependency is used where its name begins a path. What turns a feature on cannot be seen in the
//! code in general, so `tests/tidy/features.txt` says of each feature what uses it.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::{Finding, Tree, rooms::is_test, rust::Source};

const FEATURES: &str = "tests/tidy/features.txt";

/// Dependencies that only generated code names: the package, the dependency.
const GENERATED: [(&str, &str); 2] = [("proto", "prost-types"), ("proto", "tonic-prost")];

/// A dependency as a manifest writes it.
#[derive(Debug)]
struct Dependency {
    /// The header of the table that it is in, such as `dev-dependencies`.
    section: String,
    name: String,
    line: usize,
    features: Vec<String>,
}

/// Returns dependencies and features that nothing uses, and stale lines of the table.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(root) = tree.text("Cargo.toml") else {
        return Vec::new();
    };
    let shared = dependencies(root);
    let mut findings = Vec::new();
    let mut asked = BTreeSet::new();
    let mut features = BTreeMap::new();
    let mut code = String::new();
    for member in members(root) {
        let path = format!("{member}/Cargo.toml");
        let Some(manifest) = tree.text(&path) else {
            continue;
        };
        let crates = Crates::of(tree, &member);
        for dependency in dependencies(manifest) {
            asked.insert(dependency.name.clone());
            if !crates.use_it(&member, &dependency) {
                let Dependency { name, section, .. } = &dependency;
                let message = format!("nothing that [{section}] is for uses `{name}`");
                findings.push(Finding::new(
                    &path,
                    dependency.line,
                    "dependencies",
                    message,
                ));
            }
            let again = shared.iter().find(|other| other.name == dependency.name);
            // Features of this workspace are for its own tests.
            let own = dependency.name.starts_with("warren");
            for feature in dependency.features.iter().filter(|_| !own) {
                if again.is_some_and(|shared| shared.features.contains(feature)) {
                    let name = &dependency.name;
                    let message = format!("the workspace turns `{feature}` of `{name}` on already");
                    findings.push(Finding::new(
                        &path,
                        dependency.line,
                        "dependencies",
                        message,
                    ));
                }
                let key = (dependency.name.clone(), feature.clone());
                features
                    .entry(key)
                    .or_insert((path.clone(), dependency.line));
            }
        }
        code.push_str(&crates.all());
    }
    for dependency in shared {
        if !asked.contains(&dependency.name) {
            let message = format!("no member uses `{}`", dependency.name);
            let line = dependency.line;
            findings.push(Finding::new("Cargo.toml", line, "dependencies", message));
        }
        for feature in dependency.features {
            let key = (dependency.name.clone(), feature);
            features
                .entry(key)
                .or_insert(("Cargo.toml".into(), dependency.line));
        }
    }
    findings.extend(unused_features(tree, &features, &code));
    findings
}

/// Compares the features of the manifests with the table that says what uses them.
fn unused_features(
    tree: &Tree,
    features: &BTreeMap<(String, String), (String, usize)>,
    code: &str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut listed = BTreeSet::new();
    let table = tree.text(FEATURES).unwrap_or_default();
    for (number, line) in table.lines().enumerate() {
        let mut report = |message: String| {
            findings.push(Finding::new(FEATURES, number + 1, "dependencies", message));
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.splitn(3, char::is_whitespace);
        let (Some(name), Some(feature), Some(user)) = (words.next(), words.next(), words.next())
        else {
            report("is not a dependency, a feature and what uses it".into());
            continue;
        };
        let key = (name.to_owned(), feature.to_owned());
        if !features.contains_key(&key) {
            report(format!("no manifest turns `{feature}` of `{name}` on"));
        }
        listed.insert(key);
        // After a dash is a reason for a feature that works without being named.
        if user.trim_start().starts_with('-') {
            continue;
        }
        match Regex::new(user.trim()) {
            Ok(pattern) if pattern.is_match(code) => {}
            Ok(_) => report(format!(
                "no code matches `{}`, so remove `{feature}`",
                user.trim()
            )),
            Err(error) => report(error.to_string()),
        }
    }
    for ((name, feature), (path, line)) in features {
        if !listed.contains(&(name.clone(), feature.clone())) {
            let message = format!("{FEATURES} does not say what uses `{feature}` of `{name}`");
            findings.push(Finding::new(path, *line, "dependencies", message));
        }
    }
    findings
}

/// The code of a package, by who may use it.
struct Crates {
    product: String,
    tests: String,
    build: String,
}

impl Crates {
    fn of(tree: &Tree, member: &str) -> Self {
        let (mut product, mut tests) = (String::new(), String::new());
        for part in ["src", "tests", "benches", "examples"] {
            for (path, text) in tree.under(&format!("{member}/{part}")) {
                // A package may be below another's tests.
                let own = path.trim_start_matches(member);
                let below = own.match_indices("/src/").any(|(at, _)| {
                    at > 0 && tree.contains(&format!("{member}{}/Cargo.toml", &own[..at]))
                });
                if !path.ends_with(".rs") || below {
                    continue;
                }
                let source = Source::parse(text);
                if part == "src" && !is_test(own) {
                    product.push_str(&source.product_code());
                }
                tests.push_str(&source.code);
            }
        }
        let build = tree.text(&format!("{member}/build.rs")).unwrap_or_default();
        let build = Source::parse(build).code;
        Self {
            product,
            tests,
            build,
        }
    }

    fn use_it(&self, member: &str, dependency: &Dependency) -> bool {
        let code = match dependency.section.as_str() {
            "build-dependencies" => &self.build,
            "dev-dependencies" => &self.tests,
            _ => &self.product,
        };
        let generated = GENERATED.contains(&(member, dependency.name.as_str()));
        generated || names(code, &dependency.name)
    }

    fn all(&self) -> String {
        self.tests.clone() + &self.build
    }
}

/// Returns whether a path in the code begins with the name of a dependency.
fn names(code: &str, dependency: &str) -> bool {
    let name = dependency.replace('-', "_");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(&name).any(|(at, _)| {
        let before = code[..at].trim_end_matches("::");
        let rooted = before.len() < at && before.ends_with(|c: char| !is_word(c) && c != '>');
        let after = &code[at + name.len()..];
        let whole = !code[..at].ends_with(|c: char| is_word(c) || c == '.');
        let imported =
            code[..at].trim_end().ends_with("use") && after.trim_start().starts_with(['a', ';']);
        whole && (before.len() == at || rooted) && (after.starts_with("::") || imported)
    })
}

/// Returns the members of the workspace.
fn members(manifest: &str) -> Vec<String> {
    let Some((_, rest)) = manifest.split_once("members = [") else {
        return Vec::new();
    };
    let list = rest.split(']').next().unwrap_or_default();
    let quoted = list.split('"').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// Returns the dependencies of a manifest that writes each in one line, as this workspace's do.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut section = String::new();
    let mut all = Vec::new();
    for (number, line) in manifest.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        if !section.ends_with("dependencies") || line.starts_with('#') {
            continue;
        }
        let features = value.split_once("features = [").map(|(_, rest)| rest);
        let features = features
            .and_then(|rest| rest.split(']').next())
            .unwrap_or_default();
        all.push(Dependency {
            section: section.clone(),
            name: name.trim().trim_end_matches(".workspace").to_owned(),
            line: number + 1,
            features: features
                .split('"')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect(),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[workspace]\nmembers = [\"a\"]\n[workspace.dependencies]\n\
                        one-two = { version = \"1\", features = [\"fast\"] }\nthree = \"3\"\n";
    const MEMBER: &str = "[dependencies]\none-two.workspace = true\n\
                          [dev-dependencies]\nthree.workspace = true\n";
    const TABLE: &str = "one-two fast one_two::fast\n";
    const CODE: &str = "fn f() { one_two::fast() }\n#[cfg(test)]\nmod tests { use three::T; }";

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let usual = [
            ("Cargo.toml", ROOT),
            ("a/Cargo.toml", MEMBER),
            ("a/src/lib.rs", CODE),
            (FEATURES, TABLE),
        ];
        // Of two texts for one path, the tree has the later.
        let tree = Tree::of(&[&usual, files].concat());
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_used_is_accepted() {
        assert_eq!(found(&[]), [""; 0]);
        for code in ["use one_two as x; // one_two::fast", "use ::one_two::fast;"] {
            assert!(names(&Source::parse(code).code, "one-two"), "{code}");
        }
    }

    #[test]
    fn an_unused_dependency_is_found() {
        for code in [
            "#[cfg(test)]\nmod tests { use three::T; use one_two::fast; }",
            "use three::T; // one_two::fast\nconst A: &str = \"one_two::fast\";",
            "use three::T; use a::one_two::fast; fn none_two() { x.one_two() }",
        ] {
            let found = found(&[("a/src/lib.rs", code)]);
            let expected = "a/Cargo.toml:2: dependencies: nothing that [dependencies] is for";
            assert!(
                found.iter().any(|f| f.starts_with(expected)),
                "{code}: {found:?}"
            );
        }
        let manifest = "[dependencies]\none-two.workspace = true\n";
        let unshared = found(&[("a/Cargo.toml", manifest)]);
        assert_eq!(
            unshared,
            ["Cargo.toml:5: dependencies: no member uses `three`"]
        );
    }

    #[test]
    fn an_unused_feature_is_found() {
        let unused = found(&[("a/src/lib.rs", "use one_two::slow; use three::T;")]);
        assert_eq!(unused.len(), 1, "{unused:?}");
        assert!(unused[0].contains("no code matches"), "{unused:?}");
        let unlisted = found(&[(FEATURES, "")]);
        assert!(
            unlisted[0].contains("does not say what uses `fast`"),
            "{unlisted:?}"
        );
        let stale = found(&[(FEATURES, "one-two fast - a reason\none-two slow - none")]);
        assert!(stale[0].contains("no manifest turns `slow`"), "{stale:?}");
        let twice = MEMBER.replace(
            "one-two.workspace = true",
            "one-two = { workspace = true, features = [\"fast\"] }",
        );
        assert!(found(&[("a/Cargo.toml", &twice)])[0].contains("already"));
    }
}
