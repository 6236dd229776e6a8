//! Describes the imports, exports and uses of a component.

use warren_model::{
    component::{ComponentInfo, Function, Use, WasiGeneration},
    link::{Answer, Explanation, Export, Import, Wanted},
};

/// Lines below a heading, each with its depth.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    pub title: &'static str,
    pub lines: Vec<(usize, String)>,
}

/// Describes how the component may be used and why not otherwise, its imports and what satisfies
/// them, and its exports and what uses them. `beside` says whether there were other components to
/// link with.
pub fn sections(info: &ComponentInfo, explanation: &Explanation, beside: bool) -> Vec<Section> {
    let imports = explanation.imports.iter();
    let imports = imports.flat_map(|one| import(one, beside)).collect();
    let exports = explanation.exports.iter().flat_map(export).collect();
    let sections = [
        ("May be used as", uses(info, explanation)),
        ("Imports", imports),
        ("Exports", exports),
    ];
    let sections = sections.map(|(title, lines)| Section { title, lines });
    sections
        .into_iter()
        .filter(|section| !section.lines.is_empty())
        .collect()
}

/// Returns each use, or the reason against it.
fn uses(info: &ComponentInfo, explanation: &Explanation) -> Vec<(usize, String)> {
    let by = |wanted: Use| {
        let exports = explanation.exports.iter();
        let exports: Vec<_> = exports.filter(|one| one.makes == Some(wanted)).collect();
        let names: Vec<String> = exports
            .iter()
            .map(|one| format!("`{}`", one.name))
            .collect();
        let used = match wanted {
            Use::Service => info.run_by(),
            Use::Http => info.answers_by(),
            Use::Library => None,
        };
        let is_older = |name: &str| name.contains("@0.2.");
        let choice = match used {
            Some(WasiGeneration::P3) if exports.iter().any(|one| is_older(&one.name)) => {
                ", of which the 0.3 version is used"
            }
            _ => "",
        };
        format!("{}{choice}", names.join(", "))
    };
    let service = match info.uses.contains(&Use::Service) {
        true => format!("the service: it exports {}", by(Use::Service)),
        false => "not the service: it does not export `wasi:cli/run`".to_owned(),
    };
    let http = match (info.uses.contains(&Use::Http), info.answers_http()) {
        (true, true) => format!("a component with routes: it exports {}", by(Use::Http)),
        (true, false) => format!(
            "not a component with routes yet: workers do not serve {}",
            by(Use::Http)
        ),
        (false, _) => "not a component with routes: it does not export \
                       `wasi:http/incoming-handler` or `wasi:http/handler`"
            .to_owned(),
    };
    let library = match info.uses.contains(&Use::Library) {
        true => format!(
            "a component that others call: it exports {}",
            by(Use::Library)
        ),
        false => "not a component that others call: it exports no interface of its own".to_owned(),
    };
    [service, http, library].map(|line| (1, line)).to_vec()
}

fn import(import: &Import, beside: bool) -> Vec<(usize, String)> {
    let mut lines = vec![(1, import.name.clone())];
    lines.extend(functions(&import.functions));
    match (&import.answer, &import.wanted) {
        // Most imports are of WASI: a line for each would hide the others.
        (Ok(Answer::Worker(_) | Answer::NotNeeded), _) => {}
        (Ok(Answer::Linked(link)), _) => {
            let (export, exporter) = (&link.export, &link.exporter);
            lines.push((2, format!("links to `{export}` of {exporter}")));
        }
        // Without other components nothing can satisfy the import; it is more useful to say what
        // would.
        (Err(_), Some(wanted)) if !beside => {
            lines.push((2, format!("needs {}", exporter(wanted))));
        }
        (Err(why), _) => lines.push((2, format!("does not link: it {why}"))),
    }
    lines
}

fn exporter(wanted: &Wanted) -> String {
    let version = match &wanted.track {
        Some(track) => format!(" of a version {track}.x"),
        None => " without a version".to_owned(),
    };
    format!("a component that exports `{}`{version}", wanted.interface)
}

fn export(export: &Export) -> Vec<(usize, String)> {
    let mut lines = vec![(1, export.name.clone())];
    lines.extend(functions(&export.functions));
    for importer in &export.importers {
        let (name, import) = (&importer.component, &importer.import);
        lines.push(match &importer.obstacle {
            None => (2, format!("{name} links to it with its import `{import}`")),
            Some(why) => (2, format!("{name} does not link to it: it {why}")),
        });
    }
    lines
}

/// Lists functions. A function that cannot be linked says why.
fn functions(functions: &[Function]) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    for function in functions {
        lines.push((2, format!("{}: {}", function.name, function.signature)));
        if let Some(why) = &function.unlinkable {
            lines.push((3, format!("cannot be linked: {why}")));
        }
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use warren_model::{link, name::Name};
    use warren_proto::v1;

    use super::*;

    fn item(name: &str, signature: &str, unlinkable: &str) -> v1::ExternItem {
        v1::ExternItem {
            name: name.into(),
            functions: vec![v1::Function {
                name: "open".into(),
                signature: signature.into(),
                unlinkable: unlinkable.into(),
            }],
        }
    }

    fn info(
        imports: Vec<v1::ExternItem>,
        exports: Vec<v1::ExternItem>,
        uses: &[v1::artifact::Use],
    ) -> ComponentInfo {
        ComponentInfo::from_proto(&v1::Artifact {
            imports,
            exports,
            uses: uses.iter().map(|one| (*one).into()).collect(),
            ..Default::default()
        })
    }

    fn described(info: &ComponentInfo, others: &[(&str, &ComponentInfo)]) -> String {
        let name = |text| Name::parse(text).unwrap();
        let others: Vec<_> = others
            .iter()
            .map(|(other, info)| (name(other), *info))
            .collect();
        let explanation = link::explain(&name("this"), info, &others);
        let mut text = String::new();
        for section in sections(info, &explanation, !others.is_empty()) {
            text.push_str(&format!("{}\n", section.title));
            for (depth, line) in section.lines {
                text.push_str(&format!("{}{line}\n", "  ".repeat(depth)));
            }
        }
        text
    }

    fn cart() -> ComponentInfo {
        info(
            vec![],
            vec![item("shop:cart/store@1.0.1", "func() -> u32", "")],
            &[v1::artifact::Use::Library],
        )
    }

    fn caller() -> ComponentInfo {
        info(
            vec![item("shop:cart/store@1.0.0", "func() -> u32", "")],
            vec![v1::ExternItem {
                name: "wasi:cli/run@0.2.6".into(),
                functions: vec![],
            }],
            &[v1::artifact::Use::Service],
        )
    }

    #[test]
    fn alone_it_lists_what_it_needs() {
        assert_eq!(
            described(&caller(), &[]),
            "\
May be used as
  the service: it exports `wasi:cli/run@0.2.6`
  not a component with routes: it does not export `wasi:http/incoming-handler` or `wasi:http/handler`
  not a component that others call: it exports no interface of its own
Imports
  shop:cart/store@1.0.0
    open: func() -> u32
    needs a component that exports `shop:cart/store` of a version 1.x
Exports
  wasi:cli/run@0.2.6
"
        );
    }

    #[test]
    fn of_two_wasi_versions_it_names_the_one_that_is_used() {
        let bare = |name: &str| v1::ExternItem {
            name: name.into(),
            functions: vec![],
        };
        let uses = [v1::artifact::Use::Service, v1::artifact::Use::Http];
        let of = |exports: &[&str]| {
            let exports = exports.iter().map(|name| bare(name)).collect();
            described(&info(vec![], exports, &uses), &[])
        };
        let text = of(&[
            "wasi:cli/run@0.2.6",
            "wasi:http/handler@0.3.0",
            "wasi:cli/run@0.3.0",
        ]);
        let service = "the service: it exports `wasi:cli/run@0.2.6`, `wasi:cli/run@0.3.0`, of which the 0.3 version is used\n";
        assert!(text.contains(service), "{text}");
        assert!(
            text.contains("routes: it exports `wasi:http/handler@0.3.0`\n"),
            "{text}"
        );
    }

    #[test]
    fn a_host_interface_is_not_expected_of_a_component() {
        let it = info(
            vec![item("wasmcloud:messaging/consumer@0.2.0", "func()", "")],
            vec![],
            &[],
        );
        let text = described(&it, &[]);
        assert!(
            text.contains("does not link: it imports") && text.contains("wasmCloud"),
            "{text}"
        );
        assert!(!text.contains("needs a component"), "{text}");
    }

    #[test]
    fn with_others_it_lists_what_links_to_what() {
        let text = described(&caller(), &[("cart", &cart())]);
        assert!(
            text.contains("    links to `shop:cart/store@1.0.1` of cart\n"),
            "{text}"
        );
        let text = described(&cart(), &[("service", &caller())]);
        let line = "    service links to it with its import `shop:cart/store@1.0.0`\n";
        assert!(text.contains(line), "{text}");
        let other = info(
            vec![],
            vec![item("a:b/c", "func()", "")],
            &[v1::artifact::Use::Library],
        );
        let text = described(&caller(), &[("other", &other)]);
        assert!(
            text.contains("does not link: it imports `shop:cart/store@1.0.0`"),
            "{text}"
        );
    }

    #[test]
    fn a_function_that_cannot_be_linked_says_why() {
        let store = info(
            vec![],
            vec![item(
                "shop:cart/store@1.0.0",
                "func() -> own<cart>",
                "it returns a resource",
            )],
            &[v1::artifact::Use::Library],
        );
        let text = described(&store, &[]);
        let lines =
            "    open: func() -> own<cart>\n      cannot be linked: it returns a resource\n";
        assert!(text.contains(lines), "{text}");
    }
}
