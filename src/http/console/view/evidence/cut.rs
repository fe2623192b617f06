//! Long lists, cut for a page; how much was cut is said beside them.

use std::ops::Deref;

/// The first of many.
#[derive(Debug, Clone)]
pub struct Cut<T> {
    shown: Vec<T>,
    /// How many are left out.
    pub more: usize,
}

impl<T> Default for Cut<T> {
    fn default() -> Self {
        Self { shown: Vec::new(), more: 0 }
    }
}

impl<T> Cut<T> {
    /// At most `most` of them, in their order.
    pub fn of(mut all: Vec<T>, most: usize) -> Self {
        let more = all.len().saturating_sub(most);
        all.truncate(most);
        Self { shown: all, more }
    }

    /// What was chosen of `all`.
    pub fn left(chosen: Vec<T>, all: usize) -> Self {
        Self { more: all.saturating_sub(chosen.len()), shown: chosen }
    }

    /// The last first.
    pub fn reverse(&mut self) {
        self.shown.reverse();
    }

    /// The same of other things.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Cut<U> {
        Cut { shown: self.shown.into_iter().map(change).collect(), more: self.more }
    }
}

impl<T> Deref for Cut<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.shown
    }
}

impl<'a, T> IntoIterator for &'a Cut<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.shown.iter()
    }
}
