//! `warren inspect`: shows what a component is, and what it would link to.

mod words;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::{Value, json};
use warren_model::{
    component::{self, ComponentInfo, Interrupt, Limits},
    digest::Digest,
    link::{self, Answer, Explanation},
    name::Name,
};
use warren_proto::v1;

use words::{Section, sections};

use crate::{
    args::{global::Global, limits::ArtifactLimits},
    output::{self, Format, harmless},
    source::{self, Document},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// File of the component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// Files of other components in the same workload, to show what would link to what
    #[arg(value_name = "OTHER.wasm")]
    others: Vec<PathBuf>,
    /// Manifests with other components of the same workload
    #[arg(short = 'f', long = "file", value_name = "MANIFEST")]
    manifests: Vec<PathBuf>,
    /// Print as data: the artifact that the server would store, and its links
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    artifact_limits: ArtifactLimits,
}

/// The file of one component, inspected.
struct Part {
    name: Name,
    digest: Digest,
    size_bytes: u64,
    info: ComponentInfo,
}

/// The name of a manifest's service here. No component may have it.
const SERVICE: &str = "service";

pub fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let limits = args.artifact_limits.limits();
    let mut this = Part::read(&args.file, &stem(&args.file), &limits)?;
    let mut others = Vec::new();
    for file in &args.others {
        others.push(Part::read(file, &stem(file), &limits)?);
    }
    for manifest in &args.manifests {
        for document in source::read(manifest, global)? {
            others.extend(parts(&document, &limits)?);
        }
    }
    // The inspected component is often part of the manifest itself.
    if let Some(at) = others.iter().position(|other| other.digest == this.digest) {
        this.name = others.remove(at).name;
    }
    let beside: Vec<(Name, &ComponentInfo)> = others
        .iter()
        .map(|other| (other.name.clone(), &other.info))
        .collect();
    let explanation = link::explain(&this.name, &this.info, &beside);
    match args.output {
        Some(format) => {
            let mut value = output::to_value(&this.artifact())?;
            value["links"] = links(&explanation);
            output::value(&value, format)
        }
        None => {
            let sections = sections(&this.info, &explanation, !beside.is_empty());
            output::write(text(&args.file, &this, sections))
        }
    }
}

/// Describes a component without others.
pub fn alone(info: &ComponentInfo) -> Vec<Section> {
    let explanation = Name::parse(SERVICE).map(|name| link::explain(&name, info, &[]));
    explanation.map_or_else(
        |_| Vec::new(),
        |explanation| sections(info, &explanation, false),
    )
}

fn text(file: &Path, part: &Part, sections: Vec<Section>) -> String {
    let (size, digest) = (output::bytes(part.size_bytes), part.digest);
    let mut text = format!("{}\n  {digest}, {size}\n", file.display());
    for section in sections {
        text.push_str(&format!("\n{}\n", section.title));
        for (depth, line) in section.lines {
            let line = harmless::line(&line);
            text.push_str(&format!("{}{line}\n", "  ".repeat(depth)));
        }
    }
    text
}

/// Returns the explanation as data.
fn links(explanation: &Explanation) -> Value {
    let imports = explanation.imports.iter().map(|import| {
        let wanted = import.wanted.as_ref();
        let wanted = wanted.map(|one| json!({ "interface": one.interface, "track": one.track }));
        let mut value = json!({ "import": import.name, "wanted": wanted });
        match &import.answer {
            Ok(Answer::Worker(interface)) => {
                value["answer"] = "WORKER".into();
                value["interface"] = interface.to_string().into();
            }
            Ok(Answer::NotNeeded) => value["answer"] = "NOT_NEEDED".into(),
            Ok(Answer::Linked(link)) => {
                value["answer"] = "LINKED".into();
                value["component"] = link.exporter.as_str().into();
                value["export"] = link.export.as_str().into();
            }
            Err(why) => {
                value["answer"] = "UNLINKED".into();
                value["why"] = json!([why]);
            }
        }
        value
    });
    let exports = explanation.exports.iter().map(|export| {
        let importers = export.importers.iter().map(|one| {
            json!({
                "component": one.component.as_str(),
                "import": one.import,
                "why": one.obstacle.as_slice(),
            })
        });
        json!({ "export": export.name, "importers": importers.collect::<Vec<_>>() })
    });
    json!({ "imports": imports.collect::<Vec<_>>(), "exports": exports.collect::<Vec<_>>() })
}

/// Inspects the components of a manifest that are files. A component that is named by digest is on
/// the server and is ignored.
fn parts(document: &Document, limits: &Limits) -> anyhow::Result<Vec<Part>> {
    let spec = document.workload.spec.clone().unwrap_or_default();
    let mut parts = Vec::new();
    for file in &document.files {
        let component = (0..spec.components.len())
            .find(|i| file.field == format!("spec.components[{i}].component"));
        let name = component.map_or(SERVICE, |i| spec.components[i].name.as_str());
        let mut part = Part::read(&file.path, name, limits)?;
        if component.is_none() {
            // Components cannot call the service, whatever it exports.
            part.info.exports.clear();
        }
        parts.push(part);
    }
    Ok(parts)
}

/// Derives a name from a file: `shop_cart.wasm` becomes `shop-cart`.
fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let label = stem
        .to_lowercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let label: String = label.chars().take(63).collect();
    label.trim_matches('-').to_owned()
}

// === impl Part ===

impl Part {
    /// Inspects a file. If it is not a component, the error says what it is instead, and how to
    /// turn it into a component.
    fn read(file: &Path, name: &str, limits: &Limits) -> anyhow::Result<Self> {
        let shown = file.display();
        let bytes = source::read_component(file, source::MOST_BYTES)
            .map_err(|why| anyhow!("cannot read {shown}: {why}"))?;
        let info = component::inspect_within(&bytes, limits, &Interrupt::never())
            .map_err(|error| anyhow!("{shown} cannot be used: {error}"))?;
        let unnamed = || Name::parse("component");
        Ok(Self {
            name: Name::parse(name).or_else(|_| unnamed())?,
            digest: Digest::of(&bytes),
            size_bytes: bytes.len() as u64,
            info,
        })
    }

    fn artifact(&self) -> v1::Artifact {
        let (imports, exports, uses) = self.info.to_proto_parts();
        v1::Artifact {
            digest: self.digest.to_string(),
            size_bytes: self.size_bytes,
            create_time: None,
            imports,
            exports,
            uses,
            unused_since: None,
            compile_failure: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_names() {
        for (file, name) in [
            ("a/shop_cart.wasm", "shop-cart"),
            ("API.v2.wasm", "api-v2"),
            ("--.wasm", ""),
        ] {
            assert_eq!(stem(Path::new(file)), name);
        }
    }
}
