//! The requests of `get`, `describe` and the commands about revisions.

use std::{collections::BTreeMap, fmt, str::FromStr};

use tonic::Status;
use warren_model::{error::Violations, label};
use warren_proto::v1;

use super::{Server, incomplete, pages};

/// Labels that must be equal, as `-l` takes them. If it is empty, it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(BTreeMap<String, String>);

/// The objects that a command is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// `*` is every namespace.
    pub namespace: String,
    /// The name of a workload or worker; empty for all of them.
    pub name: String,
    pub labels: Selector,
}

// === impl Scope ===

impl Scope {
    pub fn workload(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: Selector::default(),
        }
    }

    /// `in namespace shop with zone=a`.
    pub fn describe(&self) -> String {
        let place = match self.namespace.as_str() {
            "*" => "in any namespace".to_owned(),
            namespace => format!("in namespace {namespace}"),
        };
        place + &self.labels.describe()
    }
}

// === impl Selector ===

impl Selector {
    /// Returns the labels in the form that requests have.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.0.clone()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Formats ` with zone=a`; empty if everything is selected.
    pub fn describe(&self) -> String {
        if self.is_empty() {
            String::new()
        } else {
            format!(" with {self}")
        }
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut labels = BTreeMap::new();
        for one in text.split(',').map(str::trim) {
            let pair = one.split_once("==").or_else(|| one.split_once('='));
            let Some((key, value)) = pair.filter(|(key, _)| !key.ends_with('!')) else {
                return Err(format!(
                    "`{one}` is not KEY=VALUE: labels are compared for equality, several with commas between"
                ));
            };
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            if let Some(before) = labels.get(&key)
                && *before != value
            {
                return Err(format!("no label is both {key}={before} and {key}={value}"));
            }
            labels.insert(key, value);
        }
        let mut violations = Violations::default();
        label::check("labels", &labels, &mut violations);
        match violations.0.first() {
            Some(violation) => Err(violation.message.clone()),
            None => Ok(Self(labels)),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (key, value)) in self.0.iter().enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

// === impl Server ===

impl Server {
    /// Returns the workloads of a scope, ignoring its `name`.
    pub async fn select_workloads(&self, scope: &Scope) -> Result<Vec<v1::Workload>, Status> {
        pages(|page_token| async {
            let request = v1::ListRequest {
                namespace: scope.namespace.clone(),
                page_token,
                labels: scope.labels.to_map(),
                ..Default::default()
            };
            let page = self.workloads().list(request).await?.into_inner();
            Ok((page.workloads, page.next_page_token))
        })
        .await
    }

    pub async fn select_replicas(&self, scope: &Scope) -> Result<Vec<v1::Replica>, Status> {
        pages(|page_token| async {
            let request = v1::ListReplicasRequest {
                namespace: scope.namespace.clone(),
                workload: scope.name.clone(),
                page_token,
                labels: scope.labels.to_map(),
                ..Default::default()
            };
            let page = self.workloads().list_replicas(request).await?.into_inner();
            Ok((page.replicas, page.next_page_token))
        })
        .await
    }

    pub async fn select_workers(&self, labels: &Selector) -> Result<Vec<v1::Worker>, Status> {
        pages(|page_token| async {
            let request = v1::WorkerServiceListRequest {
                page_token,
                labels: labels.to_map(),
                ..Default::default()
            };
            let page = self.workers().list(request).await?.into_inner();
            Ok((page.workers, page.next_page_token))
        })
        .await
    }

    /// Returns the revisions of a workload that are kept, newest first.
    pub async fn list_revisions(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<v1::Revision>, Status> {
        pages(|page_token| async {
            let request = v1::ListRevisionsRequest {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                page_token,
                ..Default::default()
            };
            let page = self.workloads().list_revisions(request).await?.into_inner();
            Ok((page.revisions, page.next_page_token))
        })
        .await
    }

    pub async fn scale(
        &self,
        namespace: &str,
        name: &str,
        replicas: u32,
    ) -> Result<v1::Workload, Status> {
        let request = v1::ScaleRequest {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            replicas,
            expected_revision: None,
        };
        let response = self.workloads().scale(request).await?.into_inner();
        response.workload.ok_or_else(|| incomplete("workload"))
    }

    pub async fn restart(&self, namespace: &str, name: &str) -> Result<v1::Workload, Status> {
        let request = v1::RestartRequest {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            expected_revision: None,
        };
        let response = self.workloads().restart(request).await?.into_inner();
        response.workload.ok_or_else(|| incomplete("workload"))
    }

    /// Rolls back to a revision; 0 is the newest whose spec differs. Fails with ABORTED if the
    /// workload has a newer revision than `workload`.
    pub async fn rollback(
        &self,
        workload: &v1::Workload,
        revision: u32,
    ) -> Result<v1::Workload, Status> {
        let request = v1::RollbackRequest {
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
            revision,
            expected_revision: Some(workload.revision),
        };
        let response = self.workloads().rollback(request).await?.into_inner();
        response.workload.ok_or_else(|| incomplete("workload"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        for (text, shown) in [
            ("zone=a", "zone=a"),
            ("b=2,a=1", "a=1,b=2"),
            ("app==shop, tier = front", "app=shop,tier=front"),
            ("example.com/zone=", "example.com/zone="),
            ("a=1,a=1", "a=1"),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), shown);
        }
        for (text, part) in [
            ("zone", "`zone` is not KEY=VALUE"),
            ("zone!=a", "equality"),
            ("zone in (a)", "`zone in (a)` is not"),
            ("", "not KEY=VALUE"),
            ("a=1,", "`` is not"),
            ("=a", "label key"),
            ("a=b c", "label value"),
            ("a=1,a=2", "both a=1 and a=2"),
        ] {
            let error = text.parse::<Selector>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
