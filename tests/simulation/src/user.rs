//! A user who asks for each change until it is answered, and remembers the answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};
use warren_control::simulation::View;
use warren_proto::v1::{self, workload_service_client::WorkloadServiceClient};
use warren_worker::remote::{Channel, Remote as _};

use crate::{chance::Chance, network::Way, promise::Promise, trace::Trace};

/// What users expect, by the name of the workload.
pub type Expected = Arc<Mutex<BTreeMap<String, Expectation>>>;

/// What must be true of a workload.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// The state that was last answered; `None`: it was deleted or never existed.
    pub answered: Option<Wanted>,
    /// The change that was asked for and not answered yet: it may be done or not.
    pub asked: Option<Wish>,
    /// The numbers of replicas that were asked for.
    targets: Vec<Target>,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    replicas: u32,
    /// The time at which another number was answered.
    until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// A value in the service's environment that differs for each change.
    pub mark: u64,
    pub replicas: u32,
}

#[derive(Clone, Copy, Debug)]
pub enum Wish {
    Apply(Wanted),
    Scale(u32),
    Restart,
    Delete,
}

pub struct User {
    pub name: String,
    pub component: String,
    /// Whether its service must never run twice.
    pub exclusive: bool,
    pub way: Way,
    pub chance: Chance,
    pub trace: Trace,
    pub expected: Expected,
}

/// The time that the user waits for an answer before asking again.
const PATIENCE: Duration = Duration::from_secs(4);
const MARK: &str = "MARK";

// === impl User ===

impl User {
    /// Asks for one change after the other until `enough` returns true and the last one is
    /// answered.
    pub async fn work(self, enough: impl Fn() -> bool) {
        let channel = self.way.connect_lazy();
        let mut client = WorkloadServiceClient::new(channel);
        let mut mark = 0;
        while !enough() {
            mark += 1;
            let wish = self.wish(mark);
            self.expect(|held| held.ask(wish));
            self.trace
                .note(format_args!("user: {} {wish:?}", self.name));
            while let Err(why) = self.ask(&mut client, wish).await {
                self.trace
                    .note(format_args!("user: {} not answered: {why}", self.name));
                sleep(self.chance.millis(100..=1500)).await;
            }
            self.expect(|held| held.answer(wish));
            self.trace
                .note(format_args!("user: {} answered", self.name));
            let longest = match self.chance.of_thousand(400) {
                true => 600,
                false if self.exclusive => 40_000,
                false => 12_000,
            };
            sleep(self.chance.millis(0..=longest)).await;
        }
    }

    fn wish(&self, mark: u64) -> Wish {
        // An exclusive service has one replica or none.
        let replicas = match self.exclusive {
            true => u32::from(self.chance.of_thousand(900)),
            false => u32::try_from(self.chance.number(0..=3)).unwrap_or(1),
        };
        let held = self
            .expected
            .lock()
            .get(&self.name)
            .and_then(|held| held.answered);
        match (held, self.chance.number(0..=9)) {
            (None, _) | (_, 0..=3) => Wish::Apply(Wanted { mark, replicas }),
            (_, 4..=6) => Wish::Scale(replicas),
            (_, 7) => Wish::Restart,
            _ => Wish::Delete,
        }
    }

    fn expect(&self, change: impl FnOnce(&mut Expectation)) {
        change(self.expected.lock().entry(self.name.clone()).or_default());
    }

    /// Asks once. An error means that the change may be done or not.
    async fn ask(
        &self,
        client: &mut WorkloadServiceClient<Channel>,
        wish: Wish,
    ) -> Result<(), String> {
        let name = self.name.clone();
        let asked = async {
            match wish {
                Wish::Apply(wanted) => {
                    let workload = Some(self.workload(wanted));
                    let request = v1::ApplyRequest {
                        workload,
                        ..v1::ApplyRequest::default()
                    };
                    client.apply(request).await.map(drop)
                }
                Wish::Scale(replicas) => {
                    let request = v1::ScaleRequest {
                        name,
                        replicas,
                        ..v1::ScaleRequest::default()
                    };
                    client.scale(request).await.map(drop)
                }
                Wish::Restart => {
                    let request = v1::RestartRequest {
                        name,
                        ..v1::RestartRequest::default()
                    };
                    client.restart(request).await.map(drop)
                }
                Wish::Delete => {
                    let request = v1::DeleteRequest {
                        name,
                        ..v1::DeleteRequest::default()
                    };
                    client.delete(request).await.map(drop)
                }
            }
        };
        let answer = timeout(PATIENCE, asked).await;
        match answer {
            Err(_) => Err("too late".to_owned()),
            Ok(Ok(())) => Ok(()),
            // An earlier try succeeded, and its answer was lost.
            Ok(Err(status)) if matches!(wish, Wish::Delete) && status.code() == Code::NotFound => {
                Ok(())
            }
            Ok(Err(status)) => {
                self.judge(&status);
                Err(format!("{:?} {}", status.code(), status.message()))
            }
        }
    }

    /// Checks that the refusal is temporary: everything that this user asks for is valid.
    fn judge(&self, status: &Status) {
        let expected = matches!(
            status.code(),
            Code::Unavailable
                | Code::Unknown
                | Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::FailedPrecondition
        );
        if !expected {
            self.trace.violation(
                Promise::NobodyIsRefused,
                format_args!("{} was refused: {status}", self.name),
            );
        }
    }

    fn workload(&self, wanted: Wanted) -> v1::Workload {
        let mark = v1::EnvVar {
            name: MARK.to_owned(),
            source: Some(v1::env_var::Source::Value(wanted.mark.to_string())),
        };
        let service = v1::Service {
            component: self.component.clone(),
            env: vec![mark],
            exclusive: self.exclusive,
            ..v1::Service::default()
        };
        let update = v1::Update {
            // No rollout is rolled back, so that what was answered stays.
            rollback_on_failure: Some(false),
            progress_deadline: prost_types::Duration::try_from(Duration::from_secs(80_000)).ok(),
            ..v1::Update::default()
        };
        v1::Workload {
            name: self.name.clone(),
            spec: Some(v1::WorkloadSpec {
                replicas: Some(wanted.replicas),
                service: Some(service),
                update: Some(update),
                ..v1::WorkloadSpec::default()
            }),
            ..v1::Workload::default()
        }
    }
}

// === impl Expectation ===

impl Expectation {
    fn ask(&mut self, wish: Wish) {
        self.asked = Some(wish);
        let wanted = after(self.answered, wish);
        self.targets.push(Target {
            replicas: wanted.map_or(0, |wanted| wanted.replicas),
            until: None,
        });
    }

    fn answer(&mut self, wish: Wish) {
        self.answered = after(self.answered, wish);
        self.asked = None;
        let last = self.targets.len() - 1;
        for target in &mut self.targets[..last] {
            target.until.get_or_insert_with(Instant::now);
        }
    }

    /// Returns the most replicas that a decision made within this time may be based on.
    pub fn most(&self, within: Duration) -> u32 {
        let valid = |target: &&Target| target.until.is_none_or(|until| until.elapsed() <= within);
        let targets = self.targets.iter().filter(valid);
        targets.map(|target| target.replicas).max().unwrap_or(0)
    }

    /// Returns whether a view shows what was answered, or what is asked for.
    pub fn holds(&self, name: &str, view: &View) -> bool {
        let found = wanted_in(name, view);
        let asked = self.asked.map(|wish| after(self.answered, wish));
        found == self.answered || Some(found) == asked
    }
}

fn after(before: Option<Wanted>, wish: Wish) -> Option<Wanted> {
    match wish {
        Wish::Apply(wanted) => Some(wanted),
        Wish::Scale(replicas) => before.map(|before| Wanted { replicas, ..before }),
        Wish::Restart => before,
        Wish::Delete => None,
    }
}

/// Returns what a view shows of a workload, or `None` if it is being deleted.
fn wanted_in(name: &str, view: &View) -> Option<Wanted> {
    let (_, workload) = view
        .workloads
        .iter()
        .find(|(id, workload)| id.name.as_str() == name && workload.delete_time.is_none())?;
    let spec = workload.spec.as_ref()?;
    let env = &spec.service.as_ref()?.env;
    let mark = env.iter().find(|it| it.name == MARK)?;
    let Some(v1::env_var::Source::Value(mark)) = &mark.source else {
        return None;
    };
    Some(Wanted {
        mark: mark.parse().ok()?,
        replicas: spec.replicas.unwrap_or(1),
    })
}
