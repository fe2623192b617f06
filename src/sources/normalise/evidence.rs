//! Evidence lists: bounded, without repetitions, addresses checked.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use serde_json::Value;

use super::json::{first, first_text, get, text};
use super::{cut, limits};
use crate::domain::signal::{Evidence, Place};

/// An address, with or without a port; anything else is nothing.
pub fn ip(value: &str) -> Option<String> {
    let value = value.trim();
    let address: IpAddr = value.parse().ok().or_else(|| value.parse::<SocketAddr>().ok().map(|at| at.ip()))?;
    Some(address.to_canonical().to_string())
}

/// Adds an address.
pub fn add_ip(evidence: &mut Evidence, value: Option<&str>) {
    if let Some(address) = value.and_then(ip) {
        push(&mut evidence.ips, address);
    }
}

/// Adds a text to a list.
pub fn add(list: &mut Vec<String>, value: Option<&str>) {
    if let Some(value) = value.map(|value| cut(value, limits::TEXT)).filter(|value| !value.is_empty()) {
        push(list, value);
    }
}

/// Adds a named value of the source's own.
pub fn add_other(evidence: &mut Evidence, name: &str, value: &str) {
    let value = cut(value, limits::TEXT);
    if !value.is_empty() && evidence.other.len() < limits::EVIDENCE {
        evidence.other.entry(cut(name, 64)).or_insert(value);
    }
}

/// Adds a place; its address joins the addresses.
pub fn add_place(evidence: &mut Evidence, place: Place) {
    add_ip(evidence, place.ip.as_deref());
    if place != Place::default() && evidence.places.len() < limits::EVIDENCE && !evidence.places.contains(&place) {
        evidence.places.push(place);
    }
}

/// Reads a place from a location object of any source; the location may also be a text.
pub fn place(location: Option<&Value>, address: Option<&str>, at: Option<Timestamp>) -> Place {
    let mut place = Place { ip: address.and_then(ip), at, ..Place::default() };
    match location {
        Some(Value::String(words)) => place.city = Some(cut(words, limits::TITLE)).filter(|words| !words.is_empty()),
        Some(location) => {
            let short = |keys: &[&str]| first_text(location, keys).map(|words| cut(words, limits::TITLE));
            place.city = short(&["city"]);
            place.country = short(&["countryOrRegion", "countryCode", "countryLetterCode", "countryName"]);
            let point = first(location, &["geoCoordinates"]).unwrap_or(location);
            place.latitude = get(point, "latitude").and_then(Value::as_f64).filter(|d| d.abs() <= 90.0);
            place.longitude = get(point, "longitude").and_then(Value::as_f64).filter(|d| d.abs() <= 180.0);
            place.ip = place.ip.or_else(|| first_text(location, &["clientIP", "ipAddress"]).and_then(ip));
        }
        None => {}
    }
    place
}

/// Merges one collection of evidence into another, within the bounds.
pub fn merge(into: &mut Evidence, from: &Evidence) {
    from.places.iter().cloned().for_each(|place| add_place(into, place));
    from.ips.iter().for_each(|value| push(&mut into.ips, value.clone()));
    from.user_agents.iter().for_each(|value| push(&mut into.user_agents, value.clone()));
    from.devices.iter().for_each(|value| push(&mut into.devices, value.clone()));
    from.sessions.iter().for_each(|value| push(&mut into.sessions, value.clone()));
    from.requests.iter().for_each(|value| push(&mut into.requests, value.clone()));
    from.other.iter().for_each(|(name, value)| add_other(into, name, value));
}

/// Extended properties of an alert worth showing: both ends of a travel, user agent, what the detector says.
pub fn add_extended(evidence: &mut Evidence, properties: &Value) {
    const CURRENT: [&str; 3] = ["Current IP Address", "Client IP Address", "IpAddress"];
    let here = Value::from(first_text(properties, &["Current Location", "Client Location"]).unwrap_or_default());
    add_place(evidence, place(Some(&here), first_text(properties, &CURRENT), None));
    let there = Value::from(text(properties, "Previous Location").unwrap_or_default());
    add_place(evidence, place(Some(&there), text(properties, "Previous IP Address"), None));
    add(&mut evidence.user_agents, first_text(properties, &["User Agent", "UserAgent"]));
    for name in ["PartnerAlgorithm", "State", "Comments"] {
        if let Some(value) = text(properties, name) {
            add_other(evidence, name, value);
        }
    }
}

fn push(list: &mut Vec<String>, value: String) {
    if list.len() < limits::EVIDENCE && !list.contains(&value) {
        list.push(value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_checked_and_lists_are_bounded() {
        let mut evidence = Evidence::default();
        for value in ["203.0.113.7", "203.0.113.7:443", "::ffff:203.0.113.7", "[2001:db8::1]:443", "evil; rm", ""] {
            add_ip(&mut evidence, Some(value));
        }
        assert_eq!(evidence.ips, ["203.0.113.7", "2001:db8::1"]);
        (0..100).for_each(|n| add(&mut evidence.sessions, Some(&format!("s{n}"))));
        assert_eq!(evidence.sessions.len(), limits::EVIDENCE);
        add(&mut evidence.user_agents, Some(&"ä".repeat(2_000)));
        assert_eq!(evidence.user_agents[0].chars().count(), limits::TEXT);
    }

    #[test]
    fn a_place_is_read_from_graph_and_sentinel_forms() {
        let graph =
            json!({"city": "Lagos", "countryOrRegion": "NG", "geoCoordinates": {"latitude": 6.45, "longitude": 3.39}});
        let read = place(Some(&graph), Some("203.0.113.7"), None);
        assert_eq!(
            (read.city.as_deref(), read.country.as_deref(), read.latitude),
            (Some("Lagos"), Some("NG"), Some(6.45))
        );
        let sentinel = json!({"countryCode": "DE", "latitude": 900.0, "clientIP": "198.51.100.20"});
        let read = place(Some(&sentinel), None, None);
        assert_eq!((read.ip.as_deref(), read.latitude), (Some("198.51.100.20"), None));
    }
}
