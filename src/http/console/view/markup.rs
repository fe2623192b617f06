//! Small pieces of markup that every page uses: an instant, a time left, a word in a colour.
//!
//! Each escapes what it holds; that is why templates print them as they are.

use std::borrow::Cow;
use std::fmt;

use askama::filters::HtmlSafe;
use jiff::{SignedDuration, Timestamp};

use super::words;
use crate::http::html::escaped;

/// An instant: UTC as written by the server, the reader's own zone added by `clock.js`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    pub at: Timestamp,
    pub now: Timestamp,
    /// Told to the minute: seconds would claim more than is known.
    pub coarse: bool,
}

impl When {
    /// An instant as seen from `now`: the day is left out where it is today.
    pub fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now, coarse: false }
    }

    /// The same to the minute, the one that has ended by then.
    pub fn coarse(at: Timestamp, now: Timestamp) -> Self {
        Self { coarse: true, ..Self::new(at, now) }
    }

    /// Seconds matter: the machine-readable form.
    pub fn iso(&self) -> String {
        self.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// As people read it, in UTC.
    pub fn utc(&self) -> String {
        let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
        let year = |at: Timestamp| at.strftime("%Y").to_string();
        let form = if day(self.at) == day(self.now) {
            if self.coarse { "%H:%M UTC" } else { "%H:%M:%S UTC" }
        } else if year(self.at) == year(self.now) {
            "%-d %b, %H:%M:%S UTC"
        } else {
            "%-d %b %Y, %H:%M UTC"
        };
        self.at.strftime(form).to_string()
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = if self.coarse { "=\"minute\"" } else { "" };
        write!(f, r#"<time datetime="{}" data-when{precision}>{}</time>"#, self.iso(), self.utc())
    }
}

impl HtmlSafe for When {}

/// How long until an instant; `clock.js` keeps it true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub until: Timestamp,
    pub now: Timestamp,
}

impl Left {
    /// The time from `now` to `until`.
    pub fn new(until: Timestamp, now: Timestamp) -> Self {
        Self { until, now }
    }

    /// Nothing is left.
    pub fn is_over(&self) -> bool {
        self.until <= self.now
    }

    /// Under a quarter of an hour is left.
    pub fn is_short(&self) -> bool {
        self.until.duration_since(self.now) < SignedDuration::from_mins(15)
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let iso = self.until.strftime("%Y-%m-%dT%H:%M:%SZ");
        let text = match self.is_over() {
            true => "time is up".to_owned(),
            false => format!("{} left", words::span(self.until.duration_since(self.now))),
        };
        let class = if self.is_short() { " class=\"short\"" } else { "" };
        write!(f, r#"<time datetime="{iso}" data-left{class}>{text}</time>"#)
    }
}

impl HtmlSafe for Left {}

/// How long ago something was; `clock.js` keeps it true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    pub at: Timestamp,
    pub now: Timestamp,
}

impl Since {
    /// The time from `at` to `now`.
    pub fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now }
    }

    /// The span alone.
    pub fn text(&self) -> String {
        words::span(self.now.duration_since(self.at))
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let iso = self.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
        write!(f, r#"<time datetime="{iso}" data-since>{}</time>"#, self.text())
    }
}

impl HtmlSafe for Since {}

/// A sentence that may hold a span which grows while it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    before: String,
    since: Option<Since>,
    after: &'static str,
}

impl Sentence {
    /// A sentence that stays as it is.
    pub fn of(text: impl Into<String>) -> Self {
        Self { before: text.into(), since: None, after: "" }
    }

    /// `before`, how long ago that was, `after`.
    pub fn growing(before: &str, since: Since, after: &'static str) -> Self {
        Self { before: before.to_owned(), since: Some(since), after }
    }

    /// As it reads when the page is made, without markup.
    pub fn text(&self) -> String {
        let span = self.since.map(|since| since.text()).unwrap_or_default();
        format!("{}{span}{}", self.before, self.after)
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.before))?;
        if let Some(since) = self.since {
            write!(f, "{since}")?;
        }
        f.write_str(&escaped(self.after))
    }
}

impl HtmlSafe for Sentence {}

/// What a colour says; the word beside it always says it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    Plain,
    Good,
    Info,
    Warn,
    Bad,
}

impl Tone {
    /// The class in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

impl fmt::Display for Tone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class())
    }
}

/// A word in a colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub text: Cow<'static, str>,
    pub tone: Tone,
}

impl Tag {
    /// A word of ours, or text that was made fit to show.
    pub fn new(text: impl Into<Cow<'static, str>>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"<span class="tag {}">{}</span>"#, self.tone, escaped(&self.text))
    }
}

impl HtmlSafe for Tag {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[test]
    fn an_instant_says_as_much_of_its_date_as_is_needed() {
        let now = at("2026-11-22T14:10:00Z");
        assert_eq!(When::new(at("2026-11-22T14:02:07.5Z"), now).utc(), "14:02:07 UTC");
        assert_eq!(When::new(at("2026-11-21T23:02:07Z"), now).utc(), "21 Nov, 23:02:07 UTC");
        assert_eq!(When::new(at("2025-11-22T14:02:07Z"), now).utc(), "22 Nov 2025, 14:02 UTC");
        assert!(When::new(now, now).to_string().contains(r#"datetime="2026-11-22T14:10:00Z""#));
    }

    #[test]
    fn a_span_that_grows_tells_the_browser_since_when() {
        let (at, now) = (at("2026-11-22T14:09:55.600Z"), at("2026-11-22T14:10:00Z"));
        let parked = Sentence::growing("Parked <for> ", Since::new(at, now), ": wait.");
        assert_eq!(parked.text(), "Parked <for> 4.4 s: wait.");
        let time = r#"<time datetime="2026-11-22T14:09:55.600Z" data-since>4.4 s</time>"#;
        assert_eq!(parked.to_string(), format!("Parked &lt;for&gt; {time}: wait."));
    }

    #[test]
    fn a_tag_escapes_its_text() {
        assert_eq!(Tag::new("<b>", Tone::Bad).to_string(), r#"<span class="tag bad">&lt;b&gt;</span>"#);
    }

    #[test]
    fn no_time_left_is_said_and_not_counted_below_zero() {
        let now = at("2026-11-22T14:10:00Z");
        assert!(Left::new(now, now).to_string().contains("time is up"));
        assert!(Left::new(at("2026-11-22T16:15:30Z"), now).to_string().contains("2 h 5 min left"));
    }
}
