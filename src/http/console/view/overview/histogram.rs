//! Time to revoke as bars: SVG by numbers, no chart service; the table beneath says the same.

use jiff::SignedDuration;

use super::super::words;

/// Upper ends of the buckets, in milliseconds; the last has none.
const EDGES: [i128; 9] = [10, 25, 50, 100, 250, 1_000, 5_000, 30_000, 120_000];
/// The drawing's inner height.
const HEIGHT: u64 = 120;
const STEP: u64 = 64;

/// One bucket.
#[derive(Debug, Clone)]
pub struct Bar {
    /// `≤ 25 ms`.
    pub label: String,
    pub count: u64,
    pub share: String,
    pub x: u64,
    pub y: u64,
    pub height: u64,
    /// Where its words go.
    pub middle: u64,
    pub above: u64,
    /// Over a second: something held it up.
    pub slow: bool,
}

/// The distribution.
#[derive(Debug, Clone)]
pub struct Histogram {
    pub bars: Vec<Bar>,
    pub count: u64,
    pub p50: Option<String>,
    pub p99: Option<String>,
    pub worst: Option<String>,
    pub width: u64,
}

impl Histogram {
    /// Buckets of receipt-to-accepted times.
    pub fn of(times: &[SignedDuration]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let mut counts = [0u64; EDGES.len() + 1];
        for time in &sorted {
            counts[EDGES.iter().position(|edge| time.as_millis() <= *edge).unwrap_or(EDGES.len())] += 1;
        }
        let (total, most) = (sorted.len() as u64, counts.iter().copied().max().unwrap_or(0).max(1));
        let bars = counts.iter().enumerate().map(|(index, count)| bar(index, *count, most, total)).collect();
        let span = |time: Option<SignedDuration>| time.map(words::span);
        Self {
            bars,
            count: total,
            p50: span(at(&sorted, 50)),
            p99: span(at(&sorted, 99)),
            worst: span(sorted.last().copied()),
            width: STEP * (EDGES.len() as u64 + 1),
        }
    }

    /// In a sentence, for those who do not see the bars.
    pub fn says(&self) -> String {
        match (&self.p50, &self.p99) {
            (Some(p50), Some(p99)) => {
                let people = words::count(self.count, "revoke", "revokes");
                format!("{people}: half within {p50}, 99 of 100 within {p99}.")
            }
            _ => "No revoke in the last 24 hours.".to_owned(),
        }
    }
}

fn bar(index: usize, count: u64, most: u64, total: u64) -> Bar {
    let label = match EDGES.get(index) {
        Some(edge) if *edge < 1_000 => format!("≤ {edge} ms"),
        Some(edge) if *edge < 60_000 => format!("≤ {} s", edge / 1_000),
        Some(edge) => format!("≤ {} min", edge / 60_000),
        None => "more".to_owned(),
    };
    // A bar that counts something is never invisible.
    let height = if count == 0 { 0 } else { (count * HEIGHT / most).max(3) };
    let x = STEP * index as u64;
    Bar {
        label,
        count,
        share: format!("{} %", (count * 100).checked_div(total).unwrap_or(0)),
        x: x + 6,
        y: HEIGHT + 20 - height,
        height,
        middle: x + STEP / 2,
        above: HEIGHT + 14 - height,
        slow: index > 5,
    }
}

/// The time that `percent` of the sorted ones do not exceed.
pub(super) fn at(sorted: &[SignedDuration], percent: usize) -> Option<SignedDuration> {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(all: &[i64]) -> Vec<SignedDuration> {
        all.iter().map(|ms| SignedDuration::from_millis(*ms)).collect()
    }

    #[test]
    fn every_time_is_in_exactly_one_bar_and_none_is_invisible() {
        let times: Vec<i64> = (0..10_000).map(|n| if n == 0 { 3_600_000 } else { n % 90 }).collect();
        let histogram = Histogram::of(&ms(&times));
        assert_eq!(histogram.bars.iter().map(|bar| bar.count).sum::<u64>(), 10_000);
        assert!(histogram.bars.iter().all(|bar| (bar.count > 0) == (bar.height >= 3)));
        assert_eq!(histogram.bars.last().map(|bar| (bar.count, bar.slow)), Some((1, true)));
        assert_eq!(histogram.bars[0].label, "≤ 10 ms");
        assert_eq!(histogram.bars[5].label, "≤ 1 s");
    }

    #[test]
    fn percentiles_are_of_the_times_that_were_measured() {
        let histogram = Histogram::of(&ms(&[5, 1, 4, 2, 3]));
        assert_eq!((histogram.p50.as_deref(), histogram.p99.as_deref()), (Some("3 ms"), Some("5 ms")));
        assert_eq!(Histogram::of(&[]).says(), "No revoke in the last 24 hours.");
    }
}
