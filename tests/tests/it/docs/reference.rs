//! Pages that are made from the code. `UPDATE_DOCS=1` writes them anew, otherwise a difference is
//! an error.

use std::{env, fmt::Write as _, fs};

use warren_model::manifest::{self, Entry};

use super::{pages::CLI_EXAMPLES, root};

/// The generated part of a page stands between these lines; what is outside is written by hand.
const BEGIN: &str =
    "<!-- made from the code by UPDATE_DOCS=1 cargo test -p warren-tests docs -->\n";
const END: &str = "<!-- end -->\n";

/// Holds a page against what it should be.
fn is_up_to_date(page: &str, expected: &str) {
    let file = root().join(page);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(file, expected).unwrap();
        return;
    }
    let found = fs::read_to_string(file).unwrap_or_default();
    let differs = found
        .lines()
        .zip(expected.lines())
        .position(|(is, should)| is != should);
    let at = differs.unwrap_or(found.lines().count().min(expected.lines().count()));
    assert!(
        found == expected,
        "{page}:{}: not what the code says; UPDATE_DOCS=1 cargo test -p warren-tests docs writes it anew\n\
         is:        {}\nshould be: {}",
        at + 1,
        found.lines().nth(at).unwrap_or("(nothing)"),
        expected.lines().nth(at).unwrap_or("(nothing)"),
    );
}

#[test]
fn the_cli_reference_matches_the_definitions() {
    is_up_to_date("docs/cli.md", &warren::reference());
}

/// A page that no reader sees does what each example needs, and then the example.
#[test]
fn every_example_of_the_command_line_is_run() {
    let script = fs::read_to_string(root().join(CLI_EXAMPLES)).unwrap();
    let mut count = 0;
    let mut after_comment = false;
    for line in warren::reference().lines() {
        if after_comment && line.starts_with("warren ") {
            count += 1;
            let is_run = |one: &str| {
                one.strip_prefix(line)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            };
            assert!(
                script.lines().any(is_run),
                "{CLI_EXAMPLES} does not run `{line}`"
            );
        }
        after_comment = line.starts_with("# ");
    }
    assert!(count > 20, "{count} examples");
}

#[test]
fn the_manifest_reference_matches_the_schema() {
    let page = fs::read_to_string(root().join("docs/manifest.md")).unwrap();
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has a generated part");
    let (_, after) = rest.split_once(END).expect("the generated part ends");
    let fields = fields(&manifest::reference());
    is_up_to_date(
        "docs/manifest.md",
        &format!("{before}{BEGIN}\n{fields}{END}{after}"),
    );
}

/// The example that the page begins with uses every field that is honoured.
#[test]
fn the_example_of_the_manifest_is_complete() {
    let page = fs::read_to_string(root().join("docs/manifest.md")).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    manifest::parse("docs/manifest.md", example).unwrap();
    for Entry { path, .. } in manifest::reference().iter().filter(|entry| entry.supported) {
        let name = path.rsplit(['.', ']']).next().unwrap();
        assert!(
            example.contains(&format!("{name}:")),
            "{path} is not in the example"
        );
    }
}

/// One table for each mapping.
fn fields(entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut mappings: Vec<&str> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.supported) {
        let mapping = parent(&entry.path);
        if !mappings.contains(&mapping) {
            mappings.push(mapping);
        }
    }
    for mapping in mappings {
        let title = match mapping {
            "" => "A workload".to_owned(),
            mapping => format!("`{mapping}`"),
        };
        let _ = write!(
            text,
            "### {title}\n\n| field | value | default | meaning |\n|---|---|---|---|\n"
        );
        let own = |entry: &&Entry| entry.supported && parent(&entry.path) == mapping;
        for entry in entries.iter().filter(own) {
            text.push_str(&row(entry));
        }
        text.push('\n');
    }
    let later = entries.iter().filter(|entry| !entry.supported);
    let later: Vec<&str> = later.map(|entry| entry.path.as_str()).collect();
    let whole = |path: &&&str| !later.contains(&parent(path).trim_end_matches("[]"));
    let later: Vec<String> = later
        .iter()
        .filter(whole)
        .map(|path| format!("`{path}`"))
        .collect();
    if !later.is_empty() {
        let _ = write!(
            text,
            "Known, and refused by this version, which would not honour them: {}.\n\n",
            later.join(", ")
        );
    }
    text
}

/// `service.publish[]` of `service.publish[].port`.
fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn row(entry: &Entry) -> String {
    let name = entry.path.rsplit('.').next().unwrap_or_default();
    let default = match (entry.required, entry.default) {
        (true, _) => "required".to_owned(),
        (false, Some(default)) => format!("`{default}`"),
        (false, None) => String::new(),
    };
    let bounds = match (entry.bounds, &entry.most) {
        (Some((least, greatest)), _) => format!(", {least} to {greatest}"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    };
    let (value, meaning) = (&entry.value, entry.meaning);
    format!("| `{name}` | {value}{bounds} | {default} | {meaning} |\n")
}
