//! Pages of every list: bounded, stable while others write, and of one list only.

use std::collections::BTreeSet;

use tonic::{Code, Status};
use warren_proto::v1;

use crate::{
    components::{self, Built},
    harness::{Control, service_workload, within, workload_with},
    worker::Machine,
};

/// One page: the names on it, and where the next begins.
type Page = (Vec<String>, String);

/// Every RPC that gives pages.
#[derive(Clone, Copy, Debug, PartialEq)]
enum List {
    Workloads,
    Replicas,
    Revisions,
    Workers,
    Artifacts,
}

const ALL: [List; 5] = [
    List::Workloads,
    List::Replicas,
    List::Revisions,
    List::Workers,
    List::Artifacts,
];

#[tokio::test]
async fn pages_hold_as_many_as_asked_for_and_everything_once() {
    let mut control = Control::start().await;
    let (_workers, _) = populate(&mut control).await;
    for list in ALL {
        let whole = list.page(&mut control, 0, "").await.unwrap();
        assert_eq!(whole.1, "", "{list:?}");
        assert!(whole.0.len() >= 5, "{list:?}: {whole:?}");
        assert_eq!(list.page(&mut control, u32::MAX, "").await.unwrap(), whole);
        for size in [1, 2, 5] {
            let mut seen = Vec::new();
            let mut token = String::new();
            loop {
                let (names, next) = list.page(&mut control, size, &token).await.unwrap();
                assert!(names.len() <= size as usize, "{list:?}: {names:?}");
                seen.extend(names);
                if next.is_empty() {
                    break;
                }
                token = next;
            }
            assert_eq!(seen, whole.0, "{list:?} in pages of {size}");
        }
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_list_alone() {
    let mut control = Control::start().await;
    let (_workers, service) = populate(&mut control).await;
    let mut tokens = Vec::new();
    for list in ALL {
        tokens.push((list, list.page(&mut control, 1, "").await.unwrap().1));
    }
    for (of, token) in &tokens {
        for list in ALL {
            let answer = list.page(&mut control, 1, token).await;
            match answer {
                Ok(_) => assert_eq!(*of, list),
                Err(refused) => {
                    assert_ne!(*of, list, "{refused}");
                    assert_eq!(refused.code(), Code::InvalidArgument, "{list:?}");
                    assert!(refused.message().contains("page_token"), "{refused}");
                }
            }
        }
    }
    // The same RPC about something else is another list.
    let (_, of_default) = List::Workloads.page(&mut control, 1, "").await.unwrap();
    let other = v1::ListRequest {
        namespace: "other".to_owned(),
        page_token: of_default.clone(),
        ..Default::default()
    };
    let labelled = v1::ListRequest {
        labels: [("a".to_owned(), "b".to_owned())].into(),
        page_token: of_default,
        ..Default::default()
    };
    for request in [other, labelled] {
        let refused = control.workloads.list(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let (_, of_w) = List::Revisions.page(&mut control, 1, "").await.unwrap();
    control
        .apply(service_workload("x", None, &service))
        .await
        .unwrap();
    let request = v1::ListRevisionsRequest {
        name: "x".to_owned(),
        page_token: of_w,
        ..Default::default()
    };
    let refused = control.workloads.list_revisions(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}

#[tokio::test]
async fn what_stays_is_listed_once_whatever_is_written_meanwhile() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    for number in 0..20 {
        let workload = service_workload(&format!("w{number:02}"), Some(0), &service);
        control.apply(workload).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    for step in 0.. {
        let (names, next) = List::Workloads.page(&mut control, 3, &token).await.unwrap();
        seen.extend(names.iter().cloned());
        if next.is_empty() {
            break;
        }
        // The last of the page goes, and its place is taken by others before and after it.
        let last = names.last().unwrap();
        let delete = v1::DeleteRequest {
            name: last.clone(),
            ..Default::default()
        };
        control.workloads.delete(delete).await.unwrap();
        control.until_gone(last).await;
        for name in [format!("a{step:02}"), format!("{last}-more")] {
            let workload = service_workload(&name, Some(0), &service);
            control.apply(workload).await.unwrap();
        }
        token = next;
    }
    let once: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(once.len(), seen.len(), "{seen:?}");
    for number in 0..20 {
        assert!(once.contains(&format!("w{number:02}")), "{seen:?}");
    }
}

/// At least five of everything. The artifact that the workloads run.
async fn populate(control: &mut Control) -> (Vec<crate::worker::Worker>, Built) {
    let mut workers = Vec::new();
    for number in 0..6 {
        let machine = Machine::new(&format!("worker-{number}"));
        workers.push(machine.connect(control).await);
        control
            .push(&components::service(&number.to_string()))
            .await;
    }
    let service = components::service("0");
    for number in 0..5 {
        let workload = workload_with("w", &service, &number.to_string());
        control.apply(workload).await.unwrap();
        let workload = service_workload(&format!("w{number}"), None, &service);
        control.apply(workload).await.unwrap();
    }
    control.until_settled("w").await;
    for number in 0..5 {
        control.until_settled(&format!("w{number}")).await;
    }
    (workers, service)
}

// === impl List ===

impl List {
    async fn page(
        self,
        control: &mut Control,
        page_size: u32,
        token: &str,
    ) -> Result<Page, Status> {
        let page_token = token.to_owned();
        match self {
            Self::Workloads => {
                let request = v1::ListRequest {
                    page_size,
                    page_token,
                    ..Default::default()
                };
                let page = within(control.workloads.list(request)).await?.into_inner();
                let names = page.workloads.into_iter().map(|held| held.name);
                Ok((names.collect(), page.next_page_token))
            }
            Self::Replicas => {
                let request = v1::ListReplicasRequest {
                    page_size,
                    page_token,
                    ..Default::default()
                };
                let page = within(control.workloads.list_replicas(request)).await?;
                let page = page.into_inner();
                let names = page.replicas.into_iter().map(|held| held.id);
                Ok((names.collect(), page.next_page_token))
            }
            Self::Revisions => {
                let request = v1::ListRevisionsRequest {
                    name: "w".to_owned(),
                    page_size,
                    page_token,
                    ..Default::default()
                };
                let page = within(control.workloads.list_revisions(request)).await?;
                let page = page.into_inner();
                let names = page.revisions.iter().map(|held| held.revision.to_string());
                Ok((names.collect(), page.next_page_token))
            }
            Self::Workers => {
                let request = v1::WorkerServiceListRequest {
                    page_size,
                    page_token,
                    ..Default::default()
                };
                let page = within(control.workers.list(request)).await?.into_inner();
                let names = page.workers.into_iter().map(|held| held.name);
                Ok((names.collect(), page.next_page_token))
            }
            Self::Artifacts => {
                let request = v1::ArtifactServiceListRequest {
                    page_size,
                    page_token,
                };
                let page = within(control.artifacts.list(request)).await?.into_inner();
                let names = page.artifacts.into_iter().map(|held| held.digest);
                Ok((names.collect(), page.next_page_token))
            }
        }
    }
}
