//! What the errors of the other rooms are to a client.

use tonic::Status;

use super::error;
use crate::{
    artifact::{self, ArtifactError, InspectionError, no_artifact},
    fleet::{SessionError, WorkerRefusal},
    listen::ConnectionError,
    store::StoreError,
    suggest::Absent,
    workload,
};

impl From<Absent> for Status {
    fn from(absent: Absent) -> Self {
        error::not_found(&absent)
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Conflict { .. } => {
                error::aborted(format!("{message}; read it again and retry"))
            }
            StoreError::Compacted { .. } => error::out_of_range(message),
            StoreError::Unavailable(_) => error::unavailable("STORE_UNAVAILABLE", message),
            StoreError::Corrupt(_) | StoreError::Damaged(_) => error::data_loss(message),
            StoreError::InUse(_) | StoreError::SchemaTooNew { .. } | StoreError::Invalid(_) => {
                error::internal(message)
            }
        }
    }
}

impl From<workload::Refusal> for Status {
    fn from(refusal: workload::Refusal) -> Self {
        use workload::Refusal;
        let message = refusal.to_string();
        match refusal {
            Refusal::Invalid(violations) => error::invalid(&violations),
            Refusal::Absent(absent) => absent.into(),
            Refusal::Deleting(id) => error::precondition_for_now("WORKLOAD_DELETING", &id, message),
            Refusal::NoEarlierRevision(id) => {
                error::precondition("NO_EARLIER_REVISION", &id, message)
            }
            Refusal::RevisionNotSupported(violations) => {
                error::preconditions("REVISION_NOT_SUPPORTED", &violations)
            }
            Refusal::ArtifactMissing(violations) => {
                error::preconditions("ARTIFACT_MISSING", &violations)
            }
            Refusal::RouteTaken(violations) => error::preconditions("ROUTE_TAKEN", &violations),
            Refusal::Overtaken { .. } | Refusal::Contended(_) => error::aborted(message),
            Refusal::Store(error) => error.into(),
        }
    }
}

impl From<artifact::Refusal> for Status {
    fn from(refusal: artifact::Refusal) -> Self {
        use artifact::Refusal;
        let message = refusal.to_string();
        match refusal {
            Refusal::Absent(absent) => absent.into(),
            Refusal::InUse { digest, .. } => {
                error::precondition("ARTIFACT_IN_USE", &digest.to_string(), message)
            }
            Refusal::Inspection(error) => error.into(),
            Refusal::Files(error) => error.into(),
            Refusal::Store(error) => error.into(),
        }
    }
}

impl From<InspectionError> for Status {
    fn from(error: InspectionError) -> Self {
        let message = error.to_string();
        match error {
            InspectionError::NoTurn(_) | InspectionError::TooSlow(_) => error::late(message),
            InspectionError::NotAComponent(_) => error::invalid_field("chunk", message),
            InspectionError::Ended(_) => error::internal(message),
            InspectionError::Bytes(error) => error.into(),
        }
    }
}

impl From<ArtifactError> for Status {
    fn from(error: ArtifactError) -> Self {
        let message = error.to_string();
        match error {
            ArtifactError::NotFound(digest) => no_artifact(digest).into(),
            ArtifactError::TooLarge { .. } => error::too_large("artifact", message),
            ArtifactError::Busy => error::exhausted("pushes", message),
            ArtifactError::Corrupt(_) => error::data_loss(message),
            ArtifactError::Io(_) => {
                tracing::error!(%error, "artifact files");
                error::unavailable("ARTIFACTS_UNAVAILABLE", message)
            }
        }
    }
}

impl From<WorkerRefusal> for Status {
    fn from(refusal: WorkerRefusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            WorkerRefusal::Absent(absent) => absent.into(),
            WorkerRefusal::Connected(worker) => {
                error::precondition("WORKER_CONNECTED", worker.as_str(), message)
            }
            WorkerRefusal::MayRun { worker, .. } => {
                error::precondition_for_now("WORKER_MAY_RUN", worker.as_str(), message)
            }
            WorkerRefusal::Store(error) => error.into(),
        }
    }
}

impl From<ConnectionError> for Status {
    fn from(error: ConnectionError) -> Self {
        let reason = match error {
            ConnectionError::Closing => "CONNECTION_CLOSING",
            ConnectionError::OnlyWorkers(_) => "TOO_MANY_CONNECTIONS",
        };
        error::unavailable(reason, error.to_string())
    }
}

impl From<SessionError> for Status {
    fn from(error: SessionError) -> Self {
        let message = error.to_string();
        match error {
            SessionError::Invalid(violations) => error::invalid(&violations),
            SessionError::Protocol(_) => {
                error::precondition("PROTOCOL_VERSION", "session", message)
            }
            SessionError::NotAdmitted { worker, .. } => {
                error::precondition("WORKER_IDENTITY", worker.as_str(), message)
            }
            SessionError::NameTaken(worker) => {
                error::already_exists("warren.v1.Worker", worker.as_str(), message)
            }
            SessionError::Newcomers(_) => error::exhausted("workers", message),
            SessionError::Full { what, .. } => error::exhausted(what, message),
            SessionError::GivesWay => error::exhausted("sessions without Hello", message),
            SessionError::NoHello(_) | SessionError::NoHeartbeat(_) | SessionError::NotRead => {
                error::late(message)
            }
            SessionError::Closed => error::gone(message),
            SessionError::TooManyReplicas => error::too_large("replicas", message),
            SessionError::TooBusy => error::unavailable("TOO_BUSY", message),
            SessionError::Replaced => error::replaced(message),
            SessionError::ShuttingDown => error::ending(),
            // What tonic said of the stream goes back as it is.
            SessionError::Receive { source, .. } => match source.downcast::<Self>() {
                Ok(status) => *status,
                Err(other) => error::internal(other.to_string()),
            },
            SessionError::Connection(error) => error.into(),
            SessionError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;
    use warren_model::error::Violations;

    use super::*;
    use crate::{state::keys::parse_id, workload::Retry};

    /// A client that may try again learns after how long; one that must read the workload again, or
    /// cannot succeed, does not.
    #[test]
    fn a_refusal_of_a_change_keeps_its_kind_on_the_wire() {
        use workload::Refusal;
        let mut violations = Violations::default();
        violations.push("spec.service", "m");
        let v = || violations.clone();
        let id = || "default/w".to_owned();
        let absent = Absent {
            kind: "revision",
            name: "default/w@9".to_owned(),
            hint: "none are kept".to_owned(),
        };
        let text = || "t".to_owned();
        let conflict = StoreError::Conflict { key: text() };
        let contended = parse_id("default/w").map(Refusal::Contended);
        #[rustfmt::skip]
        let table = [
            (Refusal::Invalid(v()), Code::InvalidArgument, "INVALID_FIELDS", Retry::Never),
            (absent.into(), Code::NotFound, "NOT_FOUND", Retry::Never),
            (Refusal::Deleting(id()), Code::FailedPrecondition, "WORKLOAD_DELETING", Retry::Later),
            (Refusal::NoEarlierRevision(id()), Code::FailedPrecondition, "NO_EARLIER_REVISION", Retry::Never),
            (Refusal::RevisionNotSupported(v()), Code::FailedPrecondition, "REVISION_NOT_SUPPORTED", Retry::Never),
            (Refusal::ArtifactMissing(v()), Code::FailedPrecondition, "ARTIFACT_MISSING", Retry::Never),
            (Refusal::RouteTaken(v()), Code::FailedPrecondition, "ROUTE_TAKEN", Retry::Never),
            (Refusal::Overtaken { expected: 1, present: 2 }, Code::Aborted, "LOST_UPDATE", Retry::Reread),
            (contended.expect("an id"), Code::Aborted, "LOST_UPDATE", Retry::Reread),
            (conflict.into(), Code::Aborted, "LOST_UPDATE", Retry::Reread),
            (StoreError::Unavailable(text()).into(), Code::Unavailable, "STORE_UNAVAILABLE", Retry::Later),
            (StoreError::Corrupt(text()).into(), Code::DataLoss, "STORED_DATA_DAMAGED", Retry::Never),
        ];
        for (refusal, code, reason, retry) in table {
            assert_eq!(refusal.retry(), retry, "{refusal:?}");
            let status = Status::from(refusal);
            let details = status.get_error_details();
            let told = details.error_info().map(|info| info.reason.as_str());
            assert_eq!((status.code(), told), (code, Some(reason)), "{status}");
            let may_retry = details.retry_info().is_some();
            assert_eq!(may_retry, retry == Retry::Later, "{status}");
        }
    }

    #[test]
    fn what_the_transport_said_goes_back_as_it_is() {
        let said = Status::out_of_range("decoded message length too large");
        let error = SessionError::Receive {
            message: said.message().to_owned(),
            source: Box::new(said),
        };
        assert_eq!(error.to_string(), "decoded message length too large");
        assert_eq!(Status::from(error).code(), Code::OutOfRange);
    }
}
