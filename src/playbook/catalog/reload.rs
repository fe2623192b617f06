//! Hot reload: a folder is taken over only when every playbook in it is valid; until then the last valid set goes on
//! and what is wrong is kept for whoever asks (`/readyz`). No thread and no watch: the caller polls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Catalog;
use super::folder::Stamp;
use crate::playbook::diagnostic::Diagnostics;
use crate::playbook::vocabulary::Vocabulary;

/// The current catalogue and where it comes from.
#[derive(Debug)]
pub struct Reloader {
    /// `None`: a fixed set that never changes.
    dir: Option<PathBuf>,
    stamp: Stamp,
    catalog: Arc<Catalog>,
    problems: Vec<Diagnostics>,
}

impl Reloader {
    /// Loads a folder.
    ///
    /// # Errors
    /// As [`Catalog::load`]: there is no earlier set to go on with.
    pub fn open(dir: &Path, vocab: &dyn Vocabulary) -> Result<Self, Vec<Diagnostics>> {
        // Stamped first: a file written while we read differs at the next look.
        let stamp = Stamp::of(dir);
        let catalog = Arc::new(Catalog::load(dir, vocab)?);
        Ok(Self { dir: Some(dir.to_owned()), stamp, catalog, problems: Vec::new() })
    }

    /// A set that never changes, such as the shipped one.
    pub fn fixed(catalog: Catalog) -> Self {
        Self { dir: None, stamp: Stamp::default(), catalog: Arc::new(catalog), problems: Vec::new() }
    }

    /// True when the folder looks different than at the last load; cheap enough for every second.
    pub fn changed(&self) -> bool {
        self.dir.as_deref().is_some_and(|dir| Stamp::of(dir) != self.stamp)
    }

    /// Loads anew. True when the set now means something else; false when it means the same, or when something is
    /// wrong: then the old one stays and [`Self::problems`] says why.
    pub fn reload(&mut self, vocab: &dyn Vocabulary) -> bool {
        let Some(dir) = self.dir.as_deref() else { return false };
        self.stamp = Stamp::of(dir);
        match Catalog::load(dir, vocab) {
            Ok(fresh) => {
                self.problems.clear();
                let differs = fresh.set_hash() != self.catalog.set_hash();
                self.catalog = Arc::new(fresh);
                differs
            }
            Err(problems) => {
                self.problems = problems;
                false
            }
        }
    }

    /// The last valid set.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }

    /// What is wrong with the folder as it is now, one item per file; empty when the set is the folder's.
    pub fn problems(&self) -> &[Diagnostics] {
        &self.problems
    }
}
