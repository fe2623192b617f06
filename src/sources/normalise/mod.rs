//! Tools that every shape shares: bounded JSON, names of detections, clocks, accounts, evidence.
//!
//! Pure functions over values. They never decide an outcome: that is the shapes' and the draft's work.

pub mod clock;
pub mod content;
pub mod evidence;
pub mod json;
pub mod names;
pub mod person;
pub mod refs;
pub mod risk;

/// The bounds of one delivery. They keep a hostile body from costing more than its bytes.
pub mod limits {
    /// Nesting of a body, and of JSON found inside its strings.
    pub const DEPTH: usize = 64;
    /// Wrappers (`body`, `records`, `value` …) taken off one inside the other.
    pub const UNWRAPS: usize = 3;
    /// Items in one delivery.
    pub const ITEMS: usize = 1_000;
    /// Distinct people in one delivery.
    pub const PEOPLE: usize = 200;
    /// Bytes of JSON opened inside a string.
    pub const EMBEDDED: usize = 512 * 1024;
    /// Entries of one list of evidence.
    pub const EVIDENCE: usize = 20;
    /// Characters of a text kept as evidence.
    pub const TEXT: usize = 512;
    /// Characters of a title, a reference or a reason.
    pub const TITLE: usize = 200;
}

/// The first `max` characters of a text, without control characters.
pub fn cut(text: &str, max: usize) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_falls_between_characters_and_drops_controls() {
        assert_eq!(cut("ä\u{7}öü\n", 2), "äö");
        assert_eq!(cut("  short ", 200), "short");
    }
}
