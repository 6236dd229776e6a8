//! Lists the revisions that a workload can go back to.

use tonic::Status;
use warren_proto::v1;

use crate::{
    grpc::{
        page::{self, Listing},
        scope,
    },
    suggest::Absent,
    workload::Workloads,
};

pub(super) async fn list(
    workloads: &Workloads,
    request: &v1::ListRevisionsRequest,
) -> Result<v1::ListRevisionsResponse, Status> {
    let id = scope::workload(&request.namespace, &request.name)?;
    let listing = Listing::new("WorkloadService.ListRevisions").about(id.to_string());
    let size = page::size(request.page_size);
    let before = listing.after(&request.page_token, |last| last.parse::<u32>().ok())?;
    let Some(stored) = workloads.state.workload(&id).await? else {
        return Err(Absent::workload(&workloads.index, &id).into());
    };
    let kept = workloads.state.snapshots(&id).await?;
    let mut revisions: Vec<_> = kept
        .into_iter()
        .rev()
        .filter(|held| held.uid == stored.value.uid)
        .filter(|held| before.is_none_or(|before| held.revision < before))
        .take(size + 1)
        .map(|held| shown(held, stored.value.revision))
        .collect();
    let more = page::cut(&mut revisions, size);
    let last = revisions.last().filter(|_| more);
    let next_page_token = last
        .map(|last| listing.token(&last.revision.to_string()))
        .unwrap_or_default();
    Ok(v1::ListRevisionsResponse {
        revisions,
        next_page_token,
    })
}

/// Returns a snapshot as users see it. The first versions of Warren stored neither its time nor its
/// cause; the first revision is as old as its workload.
fn shown(snapshot: v1::Workload, current: u32) -> v1::Revision {
    let first = snapshot.create_time.filter(|_| snapshot.revision == 1);
    v1::Revision {
        revision: snapshot.revision,
        create_time: snapshot.revision_time.or(first),
        cause: snapshot.revision_cause,
        source_revision: snapshot.source_revision,
        current: snapshot.revision == current,
        caller: snapshot.caller,
        spec: snapshot.spec.map(|spec| v1::WorkloadSpec {
            replicas: None,
            ..spec
        }),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn what_an_earlier_version_wrote_has_no_cause_and_mostly_no_time() {
        let made = Some(Timestamp {
            seconds: 7,
            nanos: 0,
        });
        let snapshot = |revision| v1::Workload {
            revision,
            create_time: made,
            caller: "a".to_owned(),
            ..v1::Workload::default()
        };
        let (first, second) = (shown(snapshot(1), 2), shown(snapshot(2), 2));
        assert_eq!((first.create_time, first.current), (made, false));
        assert_eq!((second.create_time, second.current), (None, true));
        assert_eq!(second.cause(), v1::revision::Cause::Unspecified);
        assert_eq!(second.caller, "a");
    }
}
