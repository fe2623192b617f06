//! Clocks of every sender, as instants. Garbage is absent, never an error and never "now".
//!
//! Seen in the field (facts: sentinel §1.4, graph §2.5): RFC 3339 with seven digits of fraction, one-digit hours, no
//! zone (means UTC), the US form of diagnostic records, `/Date(ms)/`, epoch seconds and milliseconds. A date without
//! a time is absent: midnight would claim that the activity was earlier than it was.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::json;

/// How far after receipt an instant is still believed (contract §13.2).
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// The instant of a field.
pub fn of(value: &Value, keys: &[&str]) -> Option<Timestamp> {
    keys.iter().filter_map(|key| json::get(value, key)).find_map(parse)
}

/// The instant of a value: a text in any known form, or an epoch number.
pub fn parse(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => parse_text(text),
        Value::Number(number) => epoch(number.as_f64()?),
        _ => None,
    }
}

/// The instant of a text in any known form.
pub fn parse_text(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.is_empty() || text.len() > 64 || !text.is_ascii() {
        return None;
    }
    let date = text.trim_start_matches(['/', '\\']).strip_prefix("Date(");
    if let Some(millis) = date {
        // An offset behind the milliseconds is for display only; the number is UTC.
        let end = millis.bytes().position(|b| !b.is_ascii_digit())?;
        return plausible(Timestamp::from_millisecond(millis[..end].parse().ok()?).ok()?);
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return epoch(text.parse().ok()?);
    }
    if text.contains('/') { us_form(text) } else { iso_form(text) }
}

/// The latest of several instants that is not after `now` (plus tolerance); the latest of all when none is.
pub fn latest(times: impl IntoIterator<Item = Option<Timestamp>>, now: Timestamp) -> Option<Timestamp> {
    let times: Vec<Timestamp> = times.into_iter().flatten().collect();
    let limit = now.checked_add(TOLERANCE).unwrap_or(Timestamp::MAX);
    times.iter().copied().filter(|at| *at <= limit).max().or_else(|| times.iter().copied().max())
}

/// Epoch seconds, or milliseconds from the size of the number.
fn epoch(number: f64) -> Option<Timestamp> {
    if !number.is_finite() || number <= 0.0 || number >= 1e14 {
        return None;
    }
    let millis = if number >= 1e11 { number } else { number * 1_000.0 };
    plausible(Timestamp::from_millisecond(millis as i64).ok()?)
}

/// Instants before 2000 and after 2100 are fillers such as `0001-01-01T00:00:00Z`.
fn plausible(at: Timestamp) -> Option<Timestamp> {
    (946_684_800..4_102_444_800).contains(&at.as_second()).then_some(at)
}

/// `2026-11-20T8:12:41.1234567Z`, with `T` or a space, with `Z`, an offset, ` UTC` or nothing.
fn iso_form(text: &str) -> Option<Timestamp> {
    let mut scan = Scan { rest: text };
    let year = scan.number(4, 4)?;
    scan.one(b"-")?;
    let month = scan.number(1, 2)?;
    scan.one(b"-")?;
    let day = scan.number(1, 2)?;
    scan.one(b"Tt ")?;
    let clock = scan.clock()?;
    let offset = scan.offset()?;
    instant(year, month, day, clock, offset)
}

/// `8/22/2022 6:07:16 PM`, in UTC; without AM or PM on 24 hours.
fn us_form(text: &str) -> Option<Timestamp> {
    let mut scan = Scan { rest: text };
    let month = scan.number(1, 2)?;
    scan.one(b"/")?;
    let day = scan.number(1, 2)?;
    scan.one(b"/")?;
    let year = scan.number(4, 4)?;
    scan.one(b" ")?;
    let mut clock = scan.clock()?;
    let tail = scan.rest.trim().to_ascii_uppercase();
    let half = tail.strip_suffix("UTC").unwrap_or(&tail).trim_end();
    clock.hour = match (half.trim_end_matches(" +00:00"), clock.hour) {
        ("", hour) => hour,
        ("AM", 12) => 0,
        ("PM", 12) => 12,
        ("AM", hour @ 1..12) => hour,
        ("PM", hour @ 1..12) => hour + 12,
        _ => return None,
    };
    instant(year, month, day, clock, 0)
}

struct Clock {
    hour: i32,
    minute: i32,
    second: i32,
    nano: i32,
}

fn instant(year: i32, month: i32, day: i32, clock: Clock, offset: i32) -> Option<Timestamp> {
    let small = |number: i32| i8::try_from(number).ok();
    let at = DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(clock.hour)?,
        small(clock.minute)?,
        // A leap second is the second before it.
        small(clock.second.min(if clock.second == 60 { 59 } else { clock.second }))?,
        clock.nano,
    )
    .ok()?;
    plausible(Offset::from_seconds(offset).ok()?.to_timestamp(at).ok()?)
}

struct Scan<'a> {
    rest: &'a str,
}

impl Scan<'_> {
    fn number(&mut self, min: usize, max: usize) -> Option<i32> {
        let digits = self.rest.bytes().take(max).take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        if digits < min { None } else { number.parse().ok() }
    }

    fn one(&mut self, of: &[u8]) -> Option<u8> {
        let byte = *self.rest.as_bytes().first()?;
        of.contains(&byte).then(|| {
            self.rest = &self.rest[1..];
            byte
        })
    }

    fn clock(&mut self) -> Option<Clock> {
        let hour = self.number(1, 2)?;
        self.one(b":")?;
        let minute = self.number(2, 2)?;
        let mut clock = Clock { hour, minute, second: 0, nano: 0 };
        if self.one(b":").is_some() {
            clock.second = self.number(2, 2)?;
            if self.one(b".,").is_some() {
                let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
                let (fraction, rest) = self.rest.split_at(digits);
                self.rest = rest;
                let kept = &fraction[..digits.min(9)];
                clock.nano = format!("{kept:0<9}").parse().ok()?;
            }
        }
        Some(clock)
    }

    /// Seconds east of UTC; the whole rest must be an offset.
    fn offset(&mut self) -> Option<i32> {
        self.rest = self.rest.trim();
        if self.rest.is_empty() || ["Z", "UTC", "GMT"].iter().any(|zone| self.rest.eq_ignore_ascii_case(zone)) {
            return Some(0);
        }
        let sign = if self.one(b"+-")? == b'-' { -1 } else { 1 };
        let hours = self.number(2, 2)?;
        let colon = self.one(b":").is_some();
        let minutes = if self.rest.is_empty() && !colon { 0 } else { self.number(2, 2)? };
        self.rest.is_empty().then_some(sign * (hours * 3_600 + minutes * 60))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Option<Timestamp> {
        Some(text.parse().expect("a timestamp"))
    }

    #[test]
    fn every_form_seen_in_the_field_is_read() {
        for (text, instant) in [
            ("2026-11-20T08:12:41.1234567Z", "2026-11-20T08:12:41.1234567Z"),
            ("2022-09-09T8:48:50.361Z", "2022-09-09T08:48:50.361Z"),
            ("8/22/2022 6:07:16 PM", "2022-08-22T18:07:16Z"),
            ("8/22/2022 12:07:16 AM", "2022-08-22T00:07:16Z"),
            ("08/22/2022 18:07:16", "2022-08-22T18:07:16Z"),
            ("2025-02-13T10:17:05", "2025-02-13T10:17:05Z"),
            ("2025-02-13 10:17:05.5 UTC", "2025-02-13T10:17:05.5Z"),
            ("2025-02-13T10:17:05+02:00", "2025-02-13T08:17:05Z"),
            ("2025-02-13T10:17:05-0330", "2025-02-13T13:47:05Z"),
            ("2025-02-13T10:17:60Z", "2025-02-13T10:17:59Z"),
            ("2025-02-13T10:17:05.123456789012Z", "2025-02-13T10:17:05.123456789Z"),
            ("/Date(1661191636000)/", "2022-08-22T18:07:16Z"),
            ("\\/Date(1661191636000+0200)\\/", "2022-08-22T18:07:16Z"),
            ("1661191636", "2022-08-22T18:07:16Z"),
            ("1661191636000", "2022-08-22T18:07:16Z"),
        ] {
            assert_eq!(parse_text(text), at(instant), "{text}");
        }
        assert_eq!(parse(&json!(1_661_191_636)), at("2022-08-22T18:07:16Z"));
        assert_eq!(parse(&json!(1_661_191_636_500u64)), at("2022-08-22T18:07:16.5Z"));
    }

    #[test]
    fn garbage_fillers_and_bare_dates_are_absent() {
        for text in [
            "",
            "yesterday",
            "2026-11-20",
            "0001-01-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-20T25:00:00Z",
            "2026-11-20T08:00:00 CET",
            "2026-11-20T08:00:00+2",
            "13/40/2022 6:07:16 PM",
            "8/22/2022 13:07:16 PM",
            "8/22/2022 6:07:16 XM",
            "/Date()/",
            "/Date(",
            "-5",
            "99999999999999999999",
            "..",
            "２０２６-11-20T08:00:00Z",
        ] {
            assert_eq!(parse_text(text), None, "{text}");
        }
        for value in [json!(null), json!(true), json!([]), json!(-1), json!(0), json!(1e300)] {
            assert_eq!(parse(&value), None, "{value}");
        }
    }

    #[test]
    fn the_latest_believable_instant_wins() {
        let now: Timestamp = "2026-11-20T10:00:00Z".parse().expect("a timestamp");
        let (early, soon, never) = (at("2026-11-20T09:00:00Z"), at("2026-11-20T10:04:00Z"), at("2099-01-01T00:00:00Z"));
        assert_eq!(latest([early, soon, never, None], now), soon);
        assert_eq!(latest([never], now), never);
        assert_eq!(latest([None], now), None);
    }
}
