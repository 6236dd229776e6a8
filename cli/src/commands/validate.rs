//! `warren validate`: what the server would say, without one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use warren_model::{
    component::{self, ComponentInfo},
    digest::Digest,
    link,
    spec::WorkloadSpec,
};

use crate::{
    args::Global,
    error::Refused,
    output,
    source::{self, Document},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifest, directory with a `warren.yaml`, or `-` for stdin
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

pub fn run(args: &Args, global: &Global) -> anyhow::Result<()> {
    let documents = source::read_all(&args.files, global)?;
    let problems: Vec<String> = documents.iter().flat_map(check).collect();
    if !problems.is_empty() {
        return Err(Refused::manifest(problems).into());
    }
    for document in &documents {
        output::line(format_args!("{} is valid", document.title()))?;
    }
    Ok(())
}

/// What is wrong with the files of a document and with how they fit together.
pub fn check(document: &Document) -> Vec<String> {
    let mut problems = Vec::new();
    let mut parts = Vec::new();
    for file in &document.files {
        match inspect(&file.path) {
            Ok(part) => parts.push(part),
            Err(why) => {
                let problem = format!("{}: {why}", file.path.display());
                problems.push(document.problem(&file.field, &problem));
            }
        }
    }
    if problems.is_empty() {
        problems = check_links(document, &parts);
    }
    problems
}

/// Links can be told only when every part is at hand: one that is named by its digest is the server's.
fn check_links(document: &Document, parts: &[(Digest, ComponentInfo)]) -> Vec<String> {
    let digests: Vec<String> = parts.iter().map(|(digest, _)| digest.to_string()).collect();
    let workload = document.with_digests(&digests);
    let spec = match WorkloadSpec::from_proto(&workload.spec.unwrap_or_default()) {
        Ok(spec) => spec,
        Err(violations) => {
            let each = violations.0.iter();
            return each
                .map(|one| document.problem(&one.field, &one.message))
                .collect();
        }
    };
    let of = |wanted: Digest| {
        parts
            .iter()
            .find(|(its, _)| *its == wanted)
            .map(|(_, info)| info)
    };
    let service = spec.service.as_ref().map(|service| of(service.component));
    let components: Option<Vec<_>> = spec
        .components
        .iter()
        .map(|component| Some((component.name.clone(), of(component.component)?)))
        .collect();
    let (None | Some(Some(_)), Some(components)) = (service, components) else {
        return Vec::new();
    };
    match link::check(&spec, service.flatten(), &components) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|error| document.problem(&error.field(), &error.message))
            .collect(),
    }
}

fn inspect(path: &Path) -> Result<(Digest, ComponentInfo), String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let info = component::inspect(&bytes).map_err(|error| error.to_string())?;
    Ok((Digest::of(&bytes), info))
}
