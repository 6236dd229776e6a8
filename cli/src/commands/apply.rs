//! `warren apply`: creates or updates workloads from manifests.
//!
//! All problems that can be found beforehand are reported before the first workload is applied.

use std::{fmt, path::PathBuf};

use tokio_util::sync::CancellationToken;
use warren_proto::v1;

use super::{Wait, connect};
use crate::{
    args::global::Global,
    client::Server,
    deploy::{self, Applied, Pushed},
    error::{self, Interrupted},
    output,
    output::Format,
    process,
    source::{self, Checker, Document, Given, Problem},
    wait::{self, Limit, Patience},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifest, directory with a `warren.yaml`, or `-` for stdin; components given by path are
    /// pushed
    #[arg(short, long = "file", value_name = "FILE", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    wait: Wait,
    /// Print the workloads as stored by the server
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// The server refused one of several workloads after it had applied those before it.
#[derive(Debug)]
struct Partly {
    error: anyhow::Error,
    applied: Vec<String>,
    left: Vec<String>,
}

/// Some of several workloads are invalid. The message says that none was applied.
#[derive(Debug)]
struct Unapplied(anyhow::Error);

/// Some of the applied workloads did not become ready.
#[derive(Debug)]
struct NotReady(Vec<String>);

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let given = source::read_all(&args.files, global)?;
    // From here on, a signal is answered with what has been done. While stdin was read, it simply
    // ended the process.
    let stop = process::on_signals(|| (), process::exit_now)?;
    let (server, documents) = tokio::select! {
        checked = check(given, args.files.len(), global) => checked?,
        () = stop.cancelled() => return Err(nothing_applied()),
    };
    let workloads = tokio::select! {
        pushed = push(&server, &documents) => pushed?,
        () = stop.cancelled() => return Err(nothing_applied()),
    };
    // A signal does not interrupt the applies midway: every answer is awaited, for a bounded time.
    let mut applied = apply(&server, &documents, workloads, args.output.is_none()).await?;
    if args.wait.wait {
        tokio::select! {
            ready = ready(&server, &mut applied, &args) => ready?,
            () = stop.cancelled() => {}
        }
    }
    interrupted(&stop, &documents)?;
    match (args.output, applied.as_slice()) {
        (None, _) => Ok(()),
        (Some(format), [one]) => output::value(&output::to_value(one)?, format),
        (Some(format), many) => output::value(&output::to_array(many)?, format),
    }
}

/// Returns all problems of all documents: of their text, of their files, and those that only the
/// server can find.
async fn check(
    given: Given,
    files: usize,
    global: &Global,
) -> anyhow::Result<(Server, Vec<Document>)> {
    let Given {
        documents,
        mut problems,
    } = given;
    let several = files > 1 || documents.len() > 1;
    if documents.is_empty() {
        return Err(refuse(problems, several));
    }
    let mut checker = Checker::for_server();
    problems.extend(checker.files(&documents));
    problems.extend(source::contested(&documents));
    let asked = ask(&documents, &mut checker, &mut problems, global).await;
    problems.extend(checker.links(&documents));
    match asked {
        Ok(server) if problems.is_empty() => Ok((server, documents)),
        Err(error) if problems.is_empty() => Err(error),
        // The problems of the manifest do not depend on the failure of the server.
        _ => Err(refuse(problems, several)),
    }
}

async fn ask(
    documents: &[Document],
    checker: &mut Checker,
    problems: &mut Vec<Problem>,
    global: &Global,
) -> anyhow::Result<Server> {
    let server = connect(global).await?;
    deploy::ask(&server, documents, checker, problems).await?;
    Ok(server)
}

fn refuse(problems: Vec<Problem>, several: bool) -> anyhow::Error {
    let refused = source::refused(problems);
    if several {
        Unapplied(refused).into()
    } else {
        refused
    }
}

/// Pushes the files of every document before any is applied.
async fn push(server: &Server, documents: &[Document]) -> anyhow::Result<Vec<v1::Workload>> {
    let mut pushed = Pushed::new();
    let mut workloads = Vec::with_capacity(documents.len());
    for document in documents {
        workloads.push(deploy::push_files(server, document, &mut pushed).await?);
    }
    Ok(workloads)
}

async fn apply(
    server: &Server,
    documents: &[Document],
    workloads: Vec<v1::Workload>,
    print: bool,
) -> anyhow::Result<Vec<v1::Workload>> {
    let mut applied: Vec<Applied> = Vec::with_capacity(documents.len());
    for (document, workload) in documents.iter().zip(workloads) {
        match deploy::apply(server, workload).await {
            Ok(done) => {
                if print {
                    output::line(format_args!("{} {}", document.title(), done.verb()))?;
                }
                applied.push(done);
            }
            Err(status) => {
                let error = deploy::refused(document, status);
                if documents.len() == 1 {
                    return Err(error);
                }
                let (before, left) = documents.split_at(applied.len());
                let before = before.iter().zip(&applied);
                return Err(Partly {
                    error,
                    applied: before
                        .map(|(document, done)| format!("{} {}", document.title(), done.verb()))
                        .collect(),
                    left: left.iter().map(Document::title).collect(),
                }
                .into());
            }
        }
    }
    Ok(applied.into_iter().map(|done| done.workload).collect())
}

/// Waits for all of them within the one timeout, and reports those that did not become ready.
async fn ready(server: &Server, applied: &mut [v1::Workload], args: &Args) -> anyhow::Result<()> {
    let limit = Limit::from(args.wait.timeout);
    let mut not_ready = Vec::new();
    for workload in applied {
        match wait::ready(server, workload, limit, Patience::UntilFailed).await? {
            Ok(_) if args.output.is_none() => {
                output::line(format_args!("{} ready", source::title(workload)))?;
            }
            Ok(_) => {
                *workload = server
                    .get_workload(&workload.namespace, &workload.name)
                    .await?;
            }
            Err(why) => not_ready.push(why.to_string()),
        }
    }
    if not_ready.is_empty() {
        Ok(())
    } else {
        Err(NotReady(not_ready).into())
    }
}

fn nothing_applied() -> anyhow::Error {
    Interrupted("nothing was applied".to_owned()).into()
}

fn interrupted(stop: &CancellationToken, documents: &[Document]) -> Result<(), Interrupted> {
    if !stop.is_cancelled() {
        return Ok(());
    }
    let titles: Vec<String> = documents.iter().map(Document::title).collect();
    Err(Interrupted(format!(
        "{} applied; the rollout continues (`warren describe` shows its progress)",
        match titles.as_slice() {
            [one] => format!("{one} was"),
            many => format!("all of {} were", many.join(", ")),
        }
    )))
}

// === impl Partly ===

impl fmt::Display for Partly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&error::render(&self.error))?;
        if !self.applied.is_empty() {
            write!(f, "\nalready applied: {}", self.applied.join(", "))?;
        }
        write!(f, "\nnot applied: {}", self.left.join(", "))
    }
}

impl std::error::Error for Partly {}

// === impl Unapplied ===

impl fmt::Display for Unapplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nnothing was applied", error::render(&self.0))
    }
}

impl std::error::Error for Unapplied {}

// === impl NotReady ===

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for NotReady {}
