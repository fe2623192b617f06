//! Fills a store with copies of one real case, so that a start can be measured in front of many.

use anyhow::Context as _;
use futures_util::{TryStreamExt, stream};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::run::Entry;
use crate::domain::task::Task;
use crate::domain::{Identity, ObjectId};
use crate::store::{Batch, CaseRow, Filter, Lane, Op, Page, PersonRecord, PersonRow, RunRow, Store};

/// Batches under way at once.
const AT_ONCE: usize = 512;

/// Copies what the store holds of a person's open case to so many new people.
pub(super) async fn copy(store: &dyn Store, person: &Identity, copies: usize) -> anyhow::Result<()> {
    let record = store.person(person).await?.context("nobody to copy")?;
    let filter = Filter { object_id: Some(person.object_id), ..Filter::default() };
    let cases = store.cases(&filter, &Page { after: None, limit: 1 }).await?;
    let case = cases.items.into_iter().next().context("no case to copy")?;
    let own: Vec<String> = [person.object_id.to_string(), case.id.to_string()]
        .into_iter()
        .chain(record.runs.iter().map(|(run, _)| run.id.to_string()))
        .chain(record.tasks.iter().map(|task| task.id.to_string()))
        .collect();
    let template = json!({ "case": case, "doc": record.doc, "runs": record.runs, "tasks": record.tasks }).to_string();
    stream::iter((0..copies).map(Ok::<_, anyhow::Error>))
        .try_for_each_concurrent(AT_ONCE, |_| async {
            let batch = batch(&template, &own, person, &record)?;
            Ok(store.commit(Lane::Other, batch).await?)
        })
        .await
}

/// One copy: every id of the template becomes a new one.
fn batch(template: &str, own: &[String], person: &Identity, record: &PersonRecord) -> anyhow::Result<Batch> {
    let object_id = Uuid::new_v4();
    let mut text = template.replace(&own[0], &object_id.to_string());
    for id in &own[1..] {
        let prefix = id.trim_end_matches(|c: char| c.is_ascii_hexdigit());
        text = text.replace(id, &format!("{prefix}{}", Uuid::now_v7().simple()));
    }
    let mut parts: Value = serde_json::from_str(&text)?;
    let mut ops = vec![Op::PutPerson(Box::new(PersonRow {
        identity: Identity { tenant: person.tenant.clone(), object_id: ObjectId::new(object_id) },
        doc: parts["doc"].take(),
        owner: None,
        due_at: record.due_at,
        urgent: false,
        watch_at: record.watch_at,
    }))];
    ops.push(Op::PutCase(Box::new(serde_json::from_value::<CaseRow>(parts["case"].take())?)));
    for (run, journal) in serde_json::from_value::<Vec<(RunRow, Vec<Entry>)>>(parts["runs"].take())? {
        let id = run.id;
        ops.push(Op::PutRun(Box::new(run)));
        let entries = journal.into_iter().zip(1..);
        ops.extend(entries.map(|(entry, seq)| Op::Journal { run: id, seq, entry: Box::new(entry) }));
    }
    for task in serde_json::from_value::<Vec<Task>>(parts["tasks"].take())? {
        ops.push(Op::PutTask(Box::new(task)));
    }
    Ok(Batch { expect: None, ops })
}
