//! `warren inspect`: what a component is.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use warren_model::{component, digest::Digest};
use warren_proto::v1;

use crate::{output, output::Format};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The component's file
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// Print as data: the artifact that the server would make of it
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let name = args.file.display();
    let bytes = fs::read(&args.file).with_context(|| format!("cannot read {name}"))?;
    let info = component::inspect(&bytes).with_context(|| format!("{name} cannot be used"))?;
    let (imports, exports, uses) = info.to_proto_parts();
    let artifact = v1::Artifact {
        digest: Digest::of(&bytes).to_string(),
        size_bytes: bytes.len() as u64,
        create_time: None,
        imports,
        exports,
        uses,
    };
    match args.output {
        Some(format) => output::value(&output::to_value(&artifact)?, format),
        None => output::write(&text(&name.to_string(), &artifact)),
    }
}

fn text(name: &str, artifact: &v1::Artifact) -> String {
    let mut lines = vec![
        format!("{name}: {}", output::bytes(artifact.size_bytes)),
        format!("  {}", artifact.digest),
        "May be used as".to_owned(),
    ];
    if artifact.uses.is_empty() {
        lines.push("  nothing: it exports no interface that a workload knows".to_owned());
    }
    lines.extend(artifact.uses().map(|one| format!("  {}", meaning(one))));
    for (title, items) in [
        ("Imports", &artifact.imports),
        ("Exports", &artifact.exports),
    ] {
        if !items.is_empty() {
            lines.push(title.to_owned());
        }
        for item in items {
            lines.push(format!("  {}", item.name));
            for function in &item.functions {
                lines.push(format!("    {}: {}", function.name, function.signature));
                if !function.unlinkable.is_empty() {
                    lines.push(format!("      cannot be linked: {}", function.unlinkable));
                }
            }
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn meaning(one: v1::artifact::Use) -> &'static str {
    match one {
        v1::artifact::Use::Service => "the service: it exports `wasi:cli/run`",
        v1::artifact::Use::Http => "a component with routes: it exports an HTTP handler",
        v1::artifact::Use::Library => "a component that others call: it exports its own interface",
        v1::artifact::Use::Unspecified => "something that this program does not know",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_uses_and_functions() {
        let artifact = v1::Artifact {
            digest: "sha256:aa".into(),
            size_bytes: 2048,
            uses: vec![v1::artifact::Use::Library.into()],
            exports: vec![v1::ExternItem {
                name: "shop:cart/store@1.0.0".into(),
                functions: vec![v1::Function {
                    name: "open".into(),
                    signature: "func() -> own<cart>".into(),
                    unlinkable: "it returns a resource".into(),
                }],
            }],
            ..Default::default()
        };
        assert_eq!(
            text("cart.wasm", &artifact),
            "cart.wasm: 2KiB\n  \
               sha256:aa\n\
             May be used as\n  \
               a component that others call: it exports its own interface\n\
             Exports\n  \
               shop:cart/store@1.0.0\n    \
                 open: func() -> own<cart>\n      \
                   cannot be linked: it returns a resource\n"
        );
    }
}
