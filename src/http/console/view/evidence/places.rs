//! Where the activity was, and whether one person could have been in both places.

use jiff::{SignedDuration, Timestamp};

use super::super::markup::When;
use super::super::{text, words};
use super::{Cut, MOST};
use crate::domain::signal::Place;

/// One place and time of activity.
#[derive(Debug, Clone)]
pub struct PlaceLine {
    /// `Lagos, NG`, or what little is known.
    pub name: String,
    pub ip: Option<String>,
    pub at: Option<When>,
}

impl PlaceLine {
    fn of(place: &Place, now: Timestamp) -> Self {
        Self {
            name: name(place),
            ip: place.ip.as_deref().map(|ip| text::cut(ip, 64)),
            at: place.at.map(|at| When::new(at, now)),
        }
    }
}

fn name(place: &Place) -> String {
    named(place).unwrap_or_else(|| "Place not told".to_owned())
}

/// `Lagos, NG`, where a source told one.
pub(super) fn named(place: &Place) -> Option<String> {
    let parts: Vec<String> =
        [&place.city, &place.country].into_iter().filter_map(|part| text::some(part.as_deref())).collect();
    Some(parts.join(", ")).filter(|name| !name.is_empty())
}

/// Oldest first; the same place, address and time only once.
pub(super) fn lines(places: &[&Place], now: Timestamp) -> Cut<PlaceLine> {
    let mut sorted: Vec<&Place> = places.to_vec();
    sorted.sort_by(|one, other| (other.at, name(other), &other.ip).cmp(&(one.at, name(one), &one.ip)));
    sorted.dedup();
    let mut newest: Cut<PlaceLine> = Cut::of(sorted, MOST).map(|place| PlaceLine::of(place, now));
    newest.reverse();
    newest
}

/// From one place to the other.
#[derive(Debug, Clone)]
pub struct Travel {
    pub from: String,
    pub to: String,
    pub gap: Option<String>,
    /// Kilometres along the great circle.
    pub distance: Option<u64>,
    /// Kilometres per hour; `None` also where the times are too close together to tell one.
    pub speed: Option<u64>,
    /// Both at the same moment, and too far apart for a place that an address tells wrong.
    at_once: bool,
    /// The signals tell no places: these are of the sign-ins that were read.
    pub of_sign_ins: bool,
}

/// A sign-in so long after the activity still belongs to it: logs and alerts round differently.
const LATER: SignedDuration = SignedDuration::from_mins(10);

/// Faster than any airliner, airports left out.
const PLANE: u64 = 1_000;

/// The places of addresses are told wrong by so many kilometres often enough.
const UNCERTAIN: u64 = 100;

impl Travel {
    /// Between the two latest distinct places of one signal.
    pub(super) fn of(places: &[Place]) -> Option<Self> {
        let mut sorted: Vec<&Place> = places.iter().collect();
        sorted.sort_by_key(|place| place.at);
        let to = *sorted.last()?;
        let from = sorted.iter().rev().find(|place| differ(place, to))?;
        Some(Self::between(from, to))
    }

    /// Of the sign-ins that were read: to the newest suspect one that has another place before it, from the nearest such.
    /// Where the signals name no address, the last change of place until the activity.
    pub(super) fn of_sign_ins(
        rows: &[Place],
        suspect: impl Fn(&Place) -> bool,
        activity: Option<Timestamp>,
    ) -> Option<Self> {
        let mut sorted: Vec<&Place> = rows.iter().filter(|row| row.at.is_some() && named(row).is_some()).collect();
        sorted.sort_by_key(|row| row.at);
        let before = |to: usize| {
            let from = sorted[..to].iter().rev().find(|from| differ(from, sorted[to]))?;
            Some((*from, sorted[to]))
        };
        let ends: Vec<usize> = (0..sorted.len()).rev().collect();
        let in_time = |row: &Place| row.at.zip(activity).is_none_or(|(at, activity)| at <= activity + LATER);
        let suspects = ends.iter().filter(|to| suspect(sorted[**to])).find_map(|to| before(*to));
        let none = !sorted.iter().any(|row| suspect(row));
        let changed = || ends.iter().filter(|to| none && in_time(sorted[**to])).find_map(|to| before(*to));
        let (from, to) = suspects.or_else(changed)?;
        Some(Self { of_sign_ins: true, ..Self::between(from, to) })
    }

    fn between(from: &Place, to: &Place) -> Self {
        let distance = distance(from, to);
        let gap = from.at.zip(to.at).map(|(from, to)| to.duration_since(from));
        let at_once = gap.is_some_and(|gap| gap.as_secs() == 0) && distance.is_some_and(|km| km > UNCERTAIN);
        Self {
            from: name(from),
            to: name(to),
            gap: gap.map(words::span),
            distance,
            speed: distance.zip(gap).and_then(|(km, gap)| speed(km, gap)),
            at_once,
            of_sign_ins: false,
        }
    }

    /// What it means, in words.
    pub fn verdict(&self) -> Option<&'static str> {
        if self.at_once {
            return Some("practically at the same moment, faster than any airliner");
        }
        match self.speed? {
            speed if speed > PLANE => Some("faster than an airliner"),
            speed if speed > 250 => Some("possible only by plane"),
            _ => Some("possible on the ground"),
        }
    }
}

fn differ(one: &Place, other: &Place) -> bool {
    (&one.city, &one.country) != (&other.city, &other.country) && name(one) != "Place not told"
}

fn speed(km: u64, gap: SignedDuration) -> Option<u64> {
    let seconds = u64::try_from(gap.as_secs()).ok().filter(|seconds| *seconds > 0)?;
    Some(km.saturating_mul(3600) / seconds)
}

/// Great-circle distance; `None` where a coordinate is missing or no coordinate.
fn distance(from: &Place, to: &Place) -> Option<u64> {
    const EARTH: f64 = 6_371.0;
    let point = |place: &Place| {
        let (latitude, longitude) = (place.latitude?, place.longitude?);
        ((-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude))
            .then(|| (latitude.to_radians(), longitude.to_radians()))
    };
    let ((lat1, lon1), (lat2, lon2)) = (point(from)?, point(to)?);
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let a = half(lat2 - lat1) + lat1.cos() * lat2.cos() * half(lon2 - lon1);
    let km = 2.0 * EARTH * a.clamp(0.0, 1.0).sqrt().asin();
    // Between 0 and half the earth's circumference.
    Some(km.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(city: &str, latitude: f64, longitude: f64, at: &str) -> Place {
        Place {
            city: Some(city.into()),
            latitude: Some(latitude),
            longitude: Some(longitude),
            at: at.parse().ok(),
            ..Place::default()
        }
    }

    #[test]
    fn berlin_to_lagos_in_forty_minutes_is_faster_than_an_airliner() {
        let places = [
            place("Lagos", 6.455, 3.384, "2026-11-22T14:01:00Z"),
            place("Berlin", 52.52, 13.405, "2026-11-22T13:21:00Z"),
        ];
        let travel = Travel::of(&places).expect("two places");
        assert_eq!((travel.from.as_str(), travel.to.as_str()), ("Berlin", "Lagos"));
        assert_eq!(travel.gap.as_deref(), Some("40 min"));
        assert!((5_100..5_300).contains(&travel.distance.expect("coordinates")), "{travel:?}");
        assert_eq!(travel.verdict(), Some("faster than an airliner"));
    }

    #[test]
    fn two_places_at_the_same_moment_are_impossible_travel_unless_they_are_neighbours() {
        let travel = |city: &str, latitude, longitude, at: &str| {
            let berlin = place("Berlin", 52.52, 13.405, "2026-11-22T13:21:00.002Z");
            Travel::of(&[place(city, latitude, longitude, at), berlin]).expect("two places")
        };
        for at in ["2026-11-22T13:21:00Z", "2026-11-22T13:21:00.002Z", "2026-11-22T13:21:00.900Z"] {
            let lagos = travel("Lagos", 6.455, 3.384, at);
            let said = (lagos.speed, lagos.verdict());
            assert_eq!(said, (None, Some("practically at the same moment, faster than any airliner")), "{at}");
            assert_eq!(travel("Potsdam", 52.39, 13.06, at).verdict(), None, "{at}");
        }
        assert!(travel("Lagos", 6.455, 3.384, "2026-11-22T13:21:01.002Z").speed.is_some());
    }

    #[test]
    fn of_sign_ins_the_suspect_one_and_the_nearest_elsewhere_before_it_are_the_two_ends() {
        let ip = |address: &str, place: Place| Place { ip: Some(address.into()), ..place };
        let rows = [
            ip("203.0.113.20", place("Berlin", 52.52, 13.405, "2026-11-22T21:40:00Z")),
            ip("185.220.101.4", place("Lagos", 6.455, 3.384, "2026-11-22T21:18:00Z")),
            ip("203.0.113.20", place("Berlin", 52.52, 13.405, "2026-11-22T20:43:00Z")),
            ip("203.0.113.9", place("Paris", 48.85, 2.35, "2026-11-22T09:00:00Z")),
            Place { at: "2026-11-22T21:00:00Z".parse().ok(), ..Place::default() },
        ];
        let route =
            |travel: Option<Travel>| travel.map(|t| format!("{} {} {}", t.from, t.to, t.gap.unwrap_or_default()));
        let suspect = |row: &Place| row.ip.as_deref() == Some("185.220.101.4");
        let travel = Travel::of_sign_ins(&rows, suspect, None).expect("two places");
        assert!(travel.of_sign_ins && travel.verdict() == Some("faster than an airliner"), "{travel:?}");
        assert_eq!(route(Some(travel)).as_deref(), Some("Berlin Lagos 35 min"));
        let activity = "2026-11-22T21:20:00Z".parse().ok();
        let unnamed = Travel::of_sign_ins(&rows, |_| false, activity);
        assert_eq!(route(unnamed).as_deref(), Some("Berlin Lagos 35 min"), "the last change until the activity");
        let first = |row: &Place| row.ip.as_deref() == Some("203.0.113.9");
        assert!(Travel::of_sign_ins(&rows, first, activity).is_none(), "no other place is before the suspect one");
        assert!(Travel::of_sign_ins(&rows[..1], |_| true, None).is_none());
    }

    #[test]
    fn coordinates_that_are_none_and_times_that_are_missing_give_no_speed() {
        let mut places = [place("A", f64::NAN, 0.0, "2026-11-22T14:01:00Z"), place("B", 91.0, 0.0, "no time")];
        let travel = Travel::of(&places).expect("two places");
        assert_eq!((travel.distance, travel.speed, travel.verdict()), (None, None, None));
        places[1].city = Some("A".into());
        assert!(Travel::of(&places).is_none(), "one place is no travel");
    }

    #[test]
    fn places_are_oldest_first_and_each_once() {
        let one = place("Lagos", 6.0, 3.0, "2026-11-22T14:01:00Z");
        let two = place("Berlin", 52.0, 13.0, "2026-11-22T13:21:00Z");
        let lines = lines(&[&one, &two, &one], Timestamp::UNIX_EPOCH);
        let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["Berlin", "Lagos"]);
    }
}
