use std::{fs, path::Path};

use anyhow::bail;

use super::{text::MANIFEST, *};

fn global(namespace: Option<&str>) -> Global {
    Global {
        server: Vec::new(),
        namespace: namespace.map(str::to_owned),
    }
}

const COUNTER: &str = "\
name: counter
namespace: shop
service:
  component: ./cache.wasm
components:
  - name: api
    component: ../api.wasm
";

#[test]
fn paths_are_relative_to_the_manifest() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join(MANIFEST);
    fs::write(&file, COUNTER)?;

    // The file, and the directory that holds it.
    for path in [file.as_path(), dir.path()] {
        let documents = read(path, &global(None))?;
        let [document] = documents.as_slice() else {
            bail!("one document, not {}", documents.len());
        };
        assert_eq!(
            document.files,
            [
                Attachment {
                    field: SERVICE_COMPONENT.into(),
                    path: dir.path().join("./cache.wasm"),
                },
                Attachment {
                    field: component_field(0),
                    path: dir.path().join("../api.wasm"),
                },
            ]
        );
        let workload = document.with_digests(&["sha256:a".into(), "sha256:b".into()]);
        let spec = workload.spec.unwrap_or_default();
        assert_eq!(spec.service.unwrap_or_default().component, "sha256:a");
        assert_eq!(spec.components[0].component, "sha256:b");
    }
    Ok(())
}

#[test]
fn problems_have_places() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("counter.yaml");
    fs::write(&file, COUNTER)?;
    let documents = read(&file, &global(None))?;
    assert_eq!(
        documents[0]
            .problem("spec.components[0].component", "no")
            .to_string(),
        format!("{}:7:16: no", file.display())
    );

    fs::write(&file, "name: A\nservise: {}\n")?;
    let error = read(&file, &global(None)).expect_err("two mistakes");
    let text = crate::error::render(&error);
    assert!(
        text.contains(&format!("{}:1:7: ", file.display())),
        "{text}"
    );
    assert!(
        text.contains(&format!("{}:2:1: ", file.display())),
        "{text}"
    );
    Ok(())
}

#[test]
fn namespaces_agree_or_are_refused() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("counter.yaml");
    fs::write(&file, COUNTER)?;
    assert_eq!(
        read(&file, &global(Some("shop")))?[0].workload.namespace,
        "shop"
    );
    let error = read(&file, &global(Some("other"))).expect_err("they differ");
    assert!(crate::error::render(&error).contains(":2:"), "{error:?}");

    fs::write(&file, COUNTER.replace("namespace: shop\n", ""))?;
    assert_eq!(
        read(&file, &global(Some("other")))?[0].workload.namespace,
        "other"
    );
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = read(Path::new("nowhere/counter.yaml"), &global(None)).expect_err("no file");
    let text = crate::error::render(&error);
    assert!(
        text.starts_with("cannot read nowhere/counter.yaml: No such file"),
        "{text}"
    );
}

#[test]
fn every_file_reports_its_problems() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let write = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
        let file = dir.path().join(name);
        fs::write(&file, text)?;
        Ok(file)
    };
    let good = write("good.yaml", COUNTER)?;
    let files = [
        good.clone(),
        write("bad.yaml", "name: A\n")?,
        dir.path().join("missing.yaml"),
        write("same.yaml", COUNTER)?,
        good,
    ];
    let given = read_all(&files, &global(None))?;
    assert_eq!(given.documents.len(), 2);
    let text: Vec<String> = given.problems.iter().map(Problem::to_string).collect();
    let text = text.join("\n");
    for part in [
        "bad.yaml:1:7: ",
        "missing.yaml: No such file",
        "good.yaml: it is given twice",
        "same.yaml:1:7: `shop/counter` is already in ",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    Ok(())
}

#[test]
fn a_route_that_two_documents_claim_is_reported_at_the_second() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("both.yaml");
    let one = |name: &str| {
        format!(
            "name: {name}\ncomponents:\n- name: web\n  component: web.wasm\n  routes: [ {{ host: a.localhost }} ]\n"
        )
    };
    fs::write(&file, format!("{}---\n{}", one("first"), one("second")))?;
    let documents = read(&file, &global(None))?;
    let problems = contested(&documents);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let text = problems[0].to_string();
    let start = format!("{}:11:", file.display());
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains("claimed by workload/first"), "{text}");

    let stored = |name: &str| {
        let mut workload = documents[0].workload.clone();
        name.clone_into(&mut workload.name);
        let digest = Digest::of(b"").to_string();
        for one in workload
            .spec
            .iter_mut()
            .flat_map(|spec| &mut spec.components)
        {
            one.component.clone_from(&digest);
        }
        workload
    };
    assert_eq!(held_elsewhere(&documents, &[stored("first")]), []);
    let held = held_elsewhere(&documents, &[stored("third")]);
    assert_eq!(held.len(), 2, "{held:?}");
    assert!(
        held[0]
            .to_string()
            .contains("belongs to workload `default/third`"),
        "{held:?}"
    );
    Ok(())
}
