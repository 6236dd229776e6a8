//! Turns documents into applied workloads: checks what only the server knows, pushes the files,
//! then applies the workloads. An error of the server is reported at the place in the document that
//! caused it.

use std::{collections::BTreeMap, path::PathBuf};

use tonic::{Code, Status};
use warren_model::feature::{self, By, Offer};
use warren_proto::v1;

use crate::{
    client::{Server, incomplete},
    error::{self, Refused},
    push,
    source::{self, Attachment, Checker, Document, Problem},
};

/// The result of Apply.
#[derive(Debug)]
pub struct Applied {
    pub workload: v1::Workload,
    pub outcome: v1::apply_response::Outcome,
}

/// The digests of the files that have been pushed.
pub type Pushed = BTreeMap<PathBuf, String>;

/// Pushes the files of a document and applies it.
pub async fn deploy(server: &Server, document: &Document) -> anyhow::Result<Applied> {
    let workload = push_files(server, document, &mut Pushed::new()).await?;
    apply(server, workload)
        .await
        .map_err(|status| refused(document, status))
}

/// Checks documents against the server before anything is sent to it: fields that it would drop,
/// artifacts that it does not have, and routes that other workloads hold. `checker` learns about
/// the artifacts that exist. If the server fails midway, `problems` contains those found so far.
pub async fn ask(
    server: &Server,
    documents: &[Document],
    checker: &mut Checker,
    problems: &mut Vec<Problem>,
) -> Result<(), Status> {
    problems.extend(unknown_fields(server.info(), documents));
    for (digest, named) in checker.unknown(documents) {
        match server.stat_artifact(&digest.to_string()).await {
            Ok(artifact) => checker.learn(digest, &artifact),
            Err(status) if status.code() == Code::NotFound => {
                let message = format!(
                    "artifact {digest} is not stored: push it with `warren push FILE`, or name the file"
                );
                let named = named.iter();
                problems.extend(named.map(|(document, field)| document.problem(field, &message)));
            }
            Err(status) => return Err(status),
        }
    }
    // A single document is checked as a whole by Apply. Of several, the first must not be applied
    // when a later one cannot be.
    if documents.len() > 1 && documents.iter().any(Document::has_routes) {
        let stored = server.list_workloads("*").await?;
        problems.extend(source::held_elsewhere(documents, &stored));
    }
    Ok(())
}

/// Pushes the files of a document that have not been pushed yet, and replaces their paths by
/// digests.
pub async fn push_files(
    server: &Server,
    document: &Document,
    pushed: &mut Pushed,
) -> anyhow::Result<v1::Workload> {
    let mut digests = Vec::with_capacity(document.files.len());
    for file in &document.files {
        let digest = match pushed.get(&file.path) {
            Some(digest) => digest.clone(),
            None => {
                let stored = push::push(server, &file.path)
                    .await
                    .map_err(|error| misplaced(document, file, error))?;
                pushed.insert(file.path.clone(), stored.artifact.digest.clone());
                stored.artifact.digest
            }
        };
        digests.push(digest);
    }
    Ok(document.with_digests(&digests))
}

/// Applies a workload whose components are digests.
pub async fn apply(server: &Server, workload: v1::Workload) -> Result<Applied, Status> {
    let request = v1::ApplyRequest {
        workload: Some(workload),
        expected_revision: None,
    };
    let response = server.workloads().apply(request).await?.into_inner();
    let outcome = response.outcome();
    Ok(Applied {
        workload: response.workload.ok_or_else(|| incomplete("workload"))?,
        outcome,
    })
}

/// Turns the server's error about a document into problems with the places of its fields.
pub fn refused(document: &Document, status: Status) -> anyhow::Error {
    let violations = error::field_violations(&status);
    if violations.is_empty() {
        return anyhow::Error::new(status).context(format!("cannot apply {}", document.title()));
    }
    let problems = violations
        .iter()
        .map(|(field, message)| document.problem(field, message));
    Refused::workload(&document.title(), problems).into()
}

/// Finds the fields that the server would silently drop because its version does not have them.
fn unknown_fields(info: &v1::GetInfoResponse, documents: &[Document]) -> Vec<Problem> {
    let offer = Offer::of_server(&info.features);
    let version = match info.version.as_str() {
        "" => "unknown",
        version => version,
    };
    let by = By::Server { version };
    let mut problems = Vec::new();
    for document in documents {
        let unknown = feature::check(&document.workload, |field| offer.has(field), by);
        let each = unknown.0.iter();
        problems.extend(each.map(|one| document.problem(&one.field, &one.message)));
    }
    problems
}

/// Reports a file that cannot be read or stored, at the place that names it.
fn misplaced(document: &Document, file: &Attachment, error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Status>() {
        Some(status) if status.code() != Code::InvalidArgument => {
            error.context(format!("cannot push {}", file.path.display()))
        }
        Some(status) => {
            let message = error::render_status(status);
            let problem = format!("{}: {message}", file.path.display());
            Refused::workload(&document.title(), [document.problem(&file.field, &problem)]).into()
        }
        None => {
            let problem = document.problem(&file.field, &error::render(&error));
            Refused::workload(&document.title(), [problem]).into()
        }
    }
}

// === impl Applied ===

impl Applied {
    /// `created`, `updated`, `unchanged`.
    pub fn verb(&self) -> &'static str {
        match self.outcome {
            v1::apply_response::Outcome::Created => "created",
            v1::apply_response::Outcome::Updated => "updated",
            v1::apply_response::Outcome::Unchanged => "unchanged",
            v1::apply_response::Outcome::Unspecified => "applied",
        }
    }
}
