//! Humans who decide during the chaos: a console's engine on the same database, with browsers that stay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use oust::domain::TaskId;
use oust::domain::person::Rules;
use oust::domain::run::Mode;
use oust::domain::task::{Ballot, Event, Kind, Task, Verdict};
use oust::engine::{self, Engine, NoHook, Parts};
use oust::playbook::catalog::{Catalog, Reloader};
use oust::queue::Embedded;
use oust::store::reviewers::Reviewers as Accounts;
use oust::store::{Filter, Page};
use oust::telemetry::Telemetry;

use crate::support::browsers::present;
use crate::support::{policy, recipient_key, reviewer, until};

/// Approves the first resets it sees, and keeps their browsers open.
pub struct Reviewers {
    stop: Arc<AtomicBool>,
    enough: Arc<AtomicBool>,
    work: tokio::task::JoinHandle<usize>,
}

impl Reviewers {
    pub async fn start(store: Arc<dyn Accounts>, approvals: usize) -> Self {
        let actions = oust::actions::registry();
        let catalog = Catalog::shipped(&actions).expect("the shipped playbooks are valid");
        let parts = Parts {
            store: Arc::clone(&store),
            queue: Embedded::new(store.clone()),
            actions,
            playbooks: Reloader::fixed(catalog),
            telemetry: Telemetry::new(),
            clock: Arc::new(Timestamp::now),
            hook: Arc::new(NoHook),
        };
        let config = engine::Config {
            rules: Rules {
                mode: Mode::Enforce,
                policies: BTreeMap::from([("on_call".to_owned(), policy())]),
                ..Rules::default()
            },
            blast_radius: None,
            privileged_by_hand: true,
            tenants: Vec::new(),
            containment_slots: 1,
            other_slots: 1,
            lanes: 1,
            works: false,
            polls: false,
            audit_key: None,
        };
        let engine = Engine::start(config, parts).await.expect("no lease is needed to decide");
        let (stop, enough) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(approvals == 0)));
        let (stopped, had) = (Arc::clone(&stop), Arc::clone(&enough));
        let work = tokio::spawn(async move {
            let mut approved: BTreeSet<TaskId> = BTreeSet::new();
            while !stopped.load(Ordering::SeqCst) {
                for task in &approved {
                    present(&*store, &engine, *task).await;
                }
                if approved.len() < approvals {
                    approve(&engine, &store, &mut approved, approvals).await;
                    had.store(approved.len() >= approvals, Ordering::SeqCst);
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            approved.len()
        });
        Self { stop, enough, work }
    }

    /// Waits until as many were approved as wanted.
    pub async fn finished(&self) {
        until("the reviewers to find tasks", || self.enough.load(Ordering::SeqCst)).await;
    }

    /// How many were approved.
    pub async fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.work.await.expect("it ends")
    }
}

/// The store may be away, and others may be quicker: then the next round tries again.
async fn approve(engine: &Engine, store: &Arc<dyn Accounts>, approved: &mut BTreeSet<TaskId>, most: usize) {
    let filter = Filter { open: true, ..Filter::default() };
    let Ok(listed) = store.tasks(&filter, &Page { after: None, limit: 200 }).await else { return };
    let wanted = |task: &&Task| task.kind == Kind::Approval && task.state.is_undecided() && task.reveals();
    for task in listed.items.iter().filter(wanted) {
        if approved.len() >= most {
            return;
        }
        present(&**store, engine, task.id).await;
        let ballot = Ballot {
            by: reviewer("rita", Timestamp::now()),
            verdict: Verdict::Approve,
            reason: Some("seen on the phone".into()),
            digest: task.digest(),
            recipient_key: Some(recipient_key()),
        };
        if engine.decide(task.id, "reviewer:rita", Event::Vote(Box::new(ballot))).await.is_ok() {
            approved.insert(task.id);
        }
    }
}
