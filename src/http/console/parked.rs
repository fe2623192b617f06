//! Whom the blast radius holds back, read for whoever decides about their release, and that task for those who look at them.

use std::collections::BTreeMap;

use super::gather::failed;
use super::state::Console;
use super::view::exposure::needs_release;
use super::view::task::{Held, Parked, follows_revoke, is_due};
use crate::domain::TenantName;
use crate::domain::task::Task;
use crate::http::{Problem, RequestId};
use crate::store::{CaseRow, Filter, Page};

/// Open cases are looked through in pages of so many, at most so often.
const LOOK: (u32, usize) = (500, 8);

impl Console {
    /// The people that a release task is about; `None` where it is about nobody any more.
    pub(super) async fn parked(&self, task: &Task, id: &RequestId) -> Result<Option<Parked>, Problem> {
        if task.state.is_terminal() {
            return Ok(None);
        }
        let Some(tenant) = self.engine().tenant_of_release(task.id).await.map_err(failed(id))? else { return Ok(None) };
        let _turn = self.turn().await?;
        let (filter, mut page) = (Filter { open: true, ..Filter::default() }, Page { after: None, limit: LOOK.0 });
        let mut cases: Vec<CaseRow> = Vec::new();
        for _ in 0..LOOK.1 {
            let listed = self.store().cases(&filter, &page).await.map_err(failed(id))?;
            cases.extend(listed.items.into_iter().filter(|case| case.identity.tenant == tenant && needs_release(case)));
            page.after = listed.next;
            if page.after.is_none() {
                break;
            }
        }
        cases.sort_by_key(|case| (case.opened_at, case.id));
        let ids: Vec<_> = cases.iter().map(|case| case.id).collect();
        let signals = self.store().signals_of_cases(&ids, 1).await.map_err(failed(id))?;
        Ok(Some(Parked::of(&cases, page.after.is_some(), &signals, self.now())))
    }

    /// What holds back a task that was approved.
    pub(super) async fn held(&self, task: &Task, paused: bool, id: &RequestId) -> Result<Option<Held>, Problem> {
        if !is_due(task) {
            return Ok(None);
        }
        if paused {
            return Ok(Some(Held::paused()));
        }
        let Some(case) = task.case.filter(|_| follows_revoke(task)) else { return Ok(None) };
        let case = self.store().case(case).await.map_err(failed(id))?;
        let Some(case) = case.filter(needs_release) else { return Ok(None) };
        let release = self.engine().release_task(&case.identity.tenant).await.map_err(failed(id))?;
        Ok(Some(Held::parked(release.as_ref(), case.id)))
    }

    /// The tasks that would release these cases, by tenant.
    pub(super) async fn releases(
        &self,
        cases: &[CaseRow],
        id: &RequestId,
    ) -> Result<BTreeMap<TenantName, Task>, Problem> {
        let mut found = BTreeMap::new();
        let mut asked = std::collections::BTreeSet::new();
        for tenant in cases.iter().filter(|case| needs_release(case)).map(|case| &case.identity.tenant) {
            if asked.insert(tenant)
                && let Some(task) = self.engine().release_task(tenant).await.map_err(failed(id))?
            {
                found.insert(tenant.clone(), task);
            }
        }
        Ok(found)
    }
}
