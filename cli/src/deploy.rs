//! From a document to an applied workload: its files are pushed, and what the server refuses gets its place back.

use tonic::{Code, Status};
use warren_proto::v1;

use crate::{
    client::{Server, incomplete},
    error::{self, Refused},
    push,
    source::{Attachment, Document},
};

/// What Apply did.
#[derive(Debug)]
pub struct Applied {
    pub workload: v1::Workload,
    pub outcome: v1::apply_response::Outcome,
}

/// Pushes the files of a document and applies it.
pub async fn deploy(server: &Server, document: &Document) -> anyhow::Result<Applied> {
    let mut digests = Vec::with_capacity(document.files.len());
    for file in &document.files {
        let pushed = push::push(server, &file.path)
            .await
            .map_err(|error| misplaced(document, file, error))?;
        digests.push(pushed.artifact.digest);
    }
    apply(server, document.with_digests(&digests))
        .await
        .map_err(|status| refused(document, status))
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

/// A file that cannot be read or stored, with the place that names it.
fn misplaced(document: &Document, file: &Attachment, error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Status>() {
        Some(status) if status.code() != Code::InvalidArgument => {
            error.context(format!("cannot push {}", file.path.display()))
        }
        Some(status) => {
            let message = error::render_status(status);
            let problem = format!("{}: {message}", file.path.display());
            Refused::workload(document, vec![document.problem(&file.field, &problem)]).into()
        }
        None => {
            let problem = document.problem(&file.field, &error::render(&error));
            Refused::workload(document, vec![problem]).into()
        }
    }
}

fn refused(document: &Document, status: Status) -> anyhow::Error {
    let violations = error::field_violations(&status);
    if violations.is_empty() {
        return anyhow::Error::new(status).context(format!("cannot apply {}", document.title()));
    }
    let problems = violations
        .iter()
        .map(|(field, message)| document.problem(field, message))
        .collect();
    Refused::workload(document, problems).into()
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
