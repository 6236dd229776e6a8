//! `warren history`: lists the revisions of a workload and their changes.

mod changes;

use std::time::SystemTime;

use anyhow::bail;
use warren_model::manifest;
use warren_proto::v1::{self, revision::Cause};

use super::connect;
use crate::{
    args::{global::Global, value},
    output::{self, Format, Table, age_at},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the workload
    #[arg(value_parser = value::name)]
    name: String,
    /// Print this revision as a manifest for `warren apply`
    #[arg(long, value_name = "REVISION", value_parser = value::number(1..=u32::MAX), allow_negative_numbers = true)]
    revision: Option<u32>,
    /// Print as data: an array, newest first, or with --revision one object
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let namespace = global.namespace()?;
    let server = connect(global).await?;
    let revisions = server.list_revisions(&namespace, &args.name).await?;
    if let Some(number) = args.revision {
        let revision = find(&revisions, number, &args.name)?;
        if let Some(format) = args.output {
            return output::value(&output::to_value(revision)?, format);
        }
        let now = server.get_workload(&namespace, &args.name).await?;
        return output::write(manifest::to_yaml(&as_of(&now, revision)));
    }
    match args.output {
        Some(format) => output::value(&output::to_array(&revisions)?, format),
        None => output::table(&table(&revisions, SystemTime::now())),
    }
}

fn find<'a>(
    revisions: &'a [v1::Revision],
    number: u32,
    name: &str,
) -> anyhow::Result<&'a v1::Revision> {
    if let Some(found) = revisions.iter().find(|one| one.revision == number) {
        return Ok(found);
    }
    let kept = revisions.iter().map(|one| one.revision.to_string());
    let kept: Vec<String> = kept.collect();
    bail!(
        "revision {number} of workload `{name}` is not kept: choose from {}",
        kept.join(", ")
    );
}

/// Returns the workload as it was at a revision. Its name and labels are not part of revisions.
fn as_of(workload: &v1::Workload, revision: &v1::Revision) -> v1::Workload {
    v1::Workload {
        namespace: workload.namespace.clone(),
        name: workload.name.clone(),
        labels: workload.labels.clone(),
        spec: revision.spec.clone(),
        ..Default::default()
    }
}

/// Lists the revisions, newest first, each with its changes from the previous one.
fn table(revisions: &[v1::Revision], now: SystemTime) -> Table {
    let header = ["REVISION", "AGE", "CAUSE", "BY", "CHANGES"];
    let mut table = Table::new(header).giving_way(&["BY", "AGE"]).flowing();
    for (i, revision) in revisions.iter().enumerate() {
        let changes = match revisions.get(i + 1) {
            Some(before) => changes::between(before, revision),
            None if revision.revision == 1 => vec!["first".to_owned()],
            None => vec!["the previous one is not kept".to_owned()],
        };
        table.row([
            revision.revision.to_string(),
            age_at(now, revision.create_time.as_ref()),
            cause(revision),
            revision.caller.clone(),
            changes.join(", "),
        ]);
    }
    table
}

fn cause(revision: &v1::Revision) -> String {
    match revision.cause() {
        Cause::Unspecified => String::new(),
        Cause::Applied => "applied".to_owned(),
        Cause::Restarted => "restarted".to_owned(),
        Cause::RolledBack => format!("rolled back to {}", revision.source_revision),
        Cause::RolledBackOnFailure => format!(
            "rolled back to {}: {} stalled",
            revision.source_revision,
            revision.revision.saturating_sub(1)
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn revision(number: u32, cause: Cause, log: &str) -> v1::Revision {
        let env = v1::EnvVar {
            name: "LOG".into(),
            source: Some(v1::env_var::Source::Value(log.into())),
        };
        v1::Revision {
            revision: number,
            cause: cause.into(),
            caller: "local".into(),
            source_revision: if cause == Cause::RolledBack { 2 } else { 0 },
            create_time: Some(prost_types::Timestamp::default()),
            spec: Some(v1::WorkloadSpec {
                service: Some(v1::Service {
                    component: "sha256:aa".into(),
                    env: vec![env],
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn each_revision_lists_its_changes() {
        let revisions = [
            revision(4, Cause::RolledBack, "info"),
            revision(3, Cause::Applied, "debug"),
            revision(2, Cause::Restarted, "info"),
            revision(1, Cause::Applied, "info"),
        ];
        assert_eq!(
            table(&revisions, SystemTime::UNIX_EPOCH).to_string(),
            "\
REVISION   AGE   CAUSE              BY      CHANGES
4          0s    rolled back to 2   local   service.env.LOG debug -> info
3          0s    applied            local   service.env.LOG info -> debug
2          0s    restarted          local   nothing
1          0s    applied            local   first
"
        );
        let kept = table(&revisions[..2], SystemTime::UNIX_EPOCH).to_string();
        assert!(kept.contains("the previous one is not kept"), "{kept}");
        let missing = find(&revisions, 9, "counter").unwrap_err().to_string();
        assert_eq!(
            missing,
            "revision 9 of workload `counter` is not kept: choose from 4, 3, 2, 1"
        );
    }

    #[test]
    fn a_revision_is_a_manifest() {
        let workload = v1::Workload {
            name: "counter".into(),
            namespace: "shop".into(),
            labels: [("tier".to_owned(), "back".to_owned())].into(),
            revision: 4,
            ..Default::default()
        };
        let mut old = revision(2, Cause::Applied, "info");
        let service = old.spec.as_mut().unwrap().service.as_mut().unwrap();
        service.component = format!("sha256:{}", "ab".repeat(32));
        let text = manifest::to_yaml(&as_of(&workload, &old));
        let read = manifest::parse("history", &text)
            .unwrap()
            .remove(0)
            .workload;
        assert_eq!(
            (read.name, read.namespace, read.labels),
            (workload.name, workload.namespace, workload.labels)
        );
        let env = &read.spec.unwrap().service.unwrap().env;
        assert_eq!(env, &old.spec.unwrap().service.unwrap().env);
    }
}
