//! Says what lasts once, and then now and then: a store that is away fails a hundred times a minute. Says nothing itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same is said again after this time.
const AGAIN: Duration = Duration::from_secs(30);

/// What was said last about each thing.
#[derive(Debug)]
pub struct Said(Mutex<BTreeMap<&'static str, Last>>);

#[derive(Debug)]
struct Last {
    text: String,
    at: Instant,
    unsaid: u64,
}

impl Said {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// How often it happened unsaid before now; `None`: the same was said a moment ago, and is only counted.
    pub fn anew(&self, what: &'static str, text: &str) -> Option<u64> {
        self.anew_at(what, text, Instant::now())
    }

    fn anew_at(&self, what: &'static str, text: &str, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unsaid = match said.get_mut(what) {
            Some(last) if last.text == text && now.duration_since(last.at) < AGAIN => {
                last.unsaid += 1;
                return None;
            }
            Some(last) => last.unsaid,
            None => 0,
        };
        said.insert(what, Last { text: text.to_owned(), at: now, unsaid: 0 });
        Some(unsaid)
    }
}

impl Default for Said {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_said_once_and_counted_until_it_changes_or_half_a_minute_is_over() {
        let (said, begun) = (Said::new(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(said.anew_at("duty.lead", "refused", at(0)), Some(0));
        for second in 1..30 {
            assert_eq!(said.anew_at("duty.lead", "refused", at(second)), None);
        }
        assert_eq!(said.anew_at("figures", "refused", at(29)), Some(0), "another thing");
        assert_eq!(said.anew_at("duty.lead", "refused", at(30)), Some(29));
        assert_eq!(said.anew_at("duty.lead", "refused", at(31)), None);
        assert_eq!(said.anew_at("duty.lead", "starting up", at(32)), Some(1), "it changed");
    }
}
