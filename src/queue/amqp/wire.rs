//! What stands in a message: versioned JSON, read by workers of other versions. `v` 1: `kind` is `signal` (one signal
//! with the delivery it came from; the first of a delivery carries the body), `buried` (what a receiver could not
//! understand), `delivery` (one in which nothing concerned us) or `audit`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::{DeliveryId, Signal, TenantName};
use crate::store::{Acceptance, Audit, Buried, Delivery};

const VERSION: u32 = 1;

/// No message of ours is larger; RabbitMQ 4 takes 16 MiB.
const LARGEST: usize = 16 * 1024 * 1024;

/// Where a message goes, and the last part of that queue's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Route {
    Signals,
    Buried,
}

impl Route {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Signals => "signals",
            Self::Buried => "buried",
        }
    }
}

/// A message to be published; also what the spool keeps.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Letter {
    pub route: Route,
    pub id: String,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Seconds since 1970.
    pub at: i64,
    pub payload: Box<RawValue>,
}

/// The message was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsendable {
    #[error("it does not serialise: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a message of {0} bytes is larger than brokers take")]
    TooLarge(usize),
}

/// The message cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is no message of oust: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is of version {0}, which this oust does not know; a newer one wrote it")]
    Version(u32),
    #[error("its kind is unknown to this oust")]
    Kind,
    #[error("its body is not base64")]
    Body,
    #[error("it has {0} bytes")]
    TooLarge(usize),
}

/// What a message says.
#[derive(Debug)]
pub(super) enum Content {
    Signal(Box<Signal>, Option<Box<Delivery>>),
    Buried(Box<Buried>, Option<Box<Delivery>>),
    Delivery(Box<Delivery>),
    Audit(Box<Audit>),
}

#[derive(Deserialize)]
struct Head<'a> {
    v: u32,
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    v: u32,
    kind: String,
    #[serde(flatten)]
    content: T,
}

/// The delivery of a signal. Later signals of the same one carry neither body nor answer.
#[derive(Clone, Serialize, Deserialize)]
struct Carried {
    id: DeliveryId,
    source: String,
    tenant: TenantName,
    received_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    webhook_id: Option<String>,
    body_hash: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    answer: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

#[derive(Serialize)]
struct SignalOut<'a> {
    v: u32,
    kind: &'static str,
    signal: &'a Signal,
    delivery: &'a Carried,
}

#[derive(Deserialize)]
struct SignalIn {
    signal: Box<Signal>,
    delivery: Carried,
}

#[derive(Serialize, Deserialize)]
struct BuriedPart {
    buried: Box<Buried>,
    delivery: Carried,
}

#[derive(Serialize, Deserialize)]
struct DeliveryPart {
    delivery: Carried,
}

#[derive(Serialize, Deserialize)]
struct AuditPart {
    audit: Box<Audit>,
}

impl Carried {
    fn of(acceptance: &Acceptance) -> Self {
        Self {
            id: acceptance.delivery,
            source: acceptance.source.clone(),
            tenant: acceptance.tenant.clone(),
            received_at: acceptance.received_at,
            webhook_id: acceptance.webhook_id.clone(),
            body_hash: acceptance.body_hash.clone(),
            answer: acceptance.answer.clone(),
            body: Some(STANDARD.encode(&acceptance.body)),
        }
    }

    fn without_body(self) -> Self {
        Self { body: None, answer: Value::Null, ..self }
    }

    fn delivery(self) -> Result<Option<Box<Delivery>>, Unreadable> {
        let Some(body) = self.body else { return Ok(None) };
        Ok(Some(Box::new(Delivery {
            id: self.id,
            source: self.source,
            tenant: self.tenant,
            received_at: self.received_at,
            webhook_id: self.webhook_id,
            body: Bytes::from(STANDARD.decode(body).map_err(|_| Unreadable::Body)?),
            body_hash: self.body_hash,
            answer: self.answer,
        })))
    }
}

/// The messages of a delivery, in order; the sender is answered when all of them are durable.
pub(super) fn letters(acceptance: &Acceptance) -> Result<Vec<Letter>, Unsendable> {
    let mut carried = Carried::of(acceptance);
    let at = acceptance.received_at.as_second();
    let mut letters = Vec::with_capacity(acceptance.signals.len() + 1);
    if let Some(buried) = &acceptance.buried {
        // The text is the body once more.
        let is_body =
            matches!(&buried.content, Value::String(text) if *text == String::from_utf8_lossy(&acceptance.body));
        let content = if is_body { Value::Null } else { buried.content.clone() };
        let part = BuriedPart { buried: Box::new(Buried { content, ..buried.clone() }), delivery: carried.clone() };
        letters.push(letter("buried", buried.id.to_string(), at, part)?);
        carried = carried.without_body();
    } else if acceptance.signals.is_empty() {
        letters.push(letter("delivery", acceptance.delivery.to_string(), at, DeliveryPart { delivery: carried })?);
        return Ok(letters);
    }
    for signal in &acceptance.signals {
        let out = SignalOut { v: VERSION, kind: "signal", signal, delivery: &carried };
        letters.push(Letter {
            route: Route::Signals,
            id: signal.id.to_string(),
            kind: "signal".to_owned(),
            traceparent: signal.traceparent.clone(),
            at,
            payload: raw(&out)?,
        });
        carried = carried.without_body();
    }
    Ok(letters)
}

/// The message that carries a line of the audit trail.
pub(super) fn audit(audit: Audit) -> Result<Letter, Unsendable> {
    let at = audit.at.as_second();
    letter("audit", Uuid::now_v7().to_string(), at, AuditPart { audit: Box::new(audit) })
}

fn letter(kind: &'static str, id: String, at: i64, content: impl Serialize) -> Result<Letter, Unsendable> {
    let payload = raw(&Envelope { v: VERSION, kind: kind.to_owned(), content })?;
    Ok(Letter { route: Route::Buried, id, kind: kind.to_owned(), traceparent: None, at, payload })
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, Unsendable> {
    let raw = serde_json::value::to_raw_value(value)?;
    if raw.get().len() > LARGEST { Err(Unsendable::TooLarge(raw.get().len())) } else { Ok(raw) }
}

/// Reads a message.
pub(super) fn read(data: &[u8]) -> Result<Content, Unreadable> {
    if data.len() > LARGEST {
        return Err(Unreadable::TooLarge(data.len()));
    }
    let head: Head<'_> = serde_json::from_slice(data)?;
    if head.v != VERSION {
        return Err(Unreadable::Version(head.v));
    }
    match &*head.kind {
        "signal" => {
            let SignalIn { signal, delivery } = serde_json::from_slice(data)?;
            Ok(Content::Signal(signal, delivery.delivery()?))
        }
        "buried" => {
            let BuriedPart { mut buried, delivery } = serde_json::from_slice(data)?;
            let delivery = delivery.delivery()?;
            if let (Value::Null, Some(delivery)) = (&buried.content, &delivery) {
                buried.content = Value::from(String::from_utf8_lossy(&delivery.body));
            }
            Ok(Content::Buried(buried, delivery))
        }
        "delivery" => {
            let DeliveryPart { delivery } = serde_json::from_slice(data)?;
            delivery.delivery()?.map(Content::Delivery).ok_or(Unreadable::Body)
        }
        "audit" => {
            let AuditPart { audit } = serde_json::from_slice(data)?;
            Ok(Content::Audit(audit))
        }
        _ => Err(Unreadable::Kind),
    }
}

impl Letter {
    /// What the broker and people at its console see of it.
    pub(super) fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        if let Some(traceparent) = &self.traceparent {
            headers.insert("traceparent".into(), AMQPValue::LongString(traceparent.as_str().into()));
        }
        BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_app_id("oust".into())
            .with_message_id(self.id.as_str().into())
            .with_type(self.kind.as_str().into())
            .with_timestamp(u64::try_from(self.at).unwrap_or(0))
            .with_headers(headers)
    }
}

/// What the spool keeps of a delivery.
pub(super) fn pack(letters: &[std::sync::Arc<Letter>]) -> Result<Vec<u8>, Unsendable> {
    let letters: Vec<&Letter> = letters.iter().map(|letter| &**letter).collect();
    Ok(serde_json::to_vec(&letters)?)
}

/// What the spool kept.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<Letter>, Unreadable> {
    Ok(serde_json::from_slice(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::sample::acceptance;

    #[test]
    fn a_delivery_reads_back_as_written_and_its_body_travels_once() {
        let given = acceptance(7, 3);
        let letters = letters(&given).expect("serialises");
        assert_eq!(letters.len(), 3);
        for (index, letter) in letters.iter().enumerate() {
            let Content::Signal(signal, delivery) = read(letter.payload.get().as_bytes()).expect("reads") else {
                panic!("a signal")
            };
            assert_eq!(*signal, given.signals[index]);
            assert_eq!((letter.id.clone(), letter.route), (signal.id.to_string(), Route::Signals));
            assert_eq!(delivery.is_some(), index == 0);
            if let Some(delivery) = delivery {
                assert_eq!((delivery.body, delivery.answer), (given.body.clone(), given.answer.clone()));
            }
        }
        let packed = pack(&letters.into_iter().map(std::sync::Arc::new).collect::<Vec<_>>()).expect("packs");
        assert_eq!(unpack(&packed).expect("unpacks").len(), 3);
    }

    #[test]
    fn a_delivery_without_anybody_in_it_is_kept_too() {
        let letters = letters(&acceptance(7, 0)).expect("serialises");
        let Content::Delivery(delivery) = read(letters[0].payload.get().as_bytes()).expect("reads") else {
            panic!("a delivery")
        };
        assert_eq!(delivery.id, acceptance(7, 0).delivery);
    }

    #[test]
    fn what_is_not_ours_or_newer_is_named() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let cases: [(&[u8], &str); 7] = [
            (b"", "no message"),
            (b"\xff\xfe", "no message"),
            (b"[]", "no message"),
            (deep.as_bytes(), "no message"),
            (br#"{"v":2,"kind":"signal"}"#, "version 2"),
            (br#"{"v":1,"kind":"song"}"#, "kind"),
            (br#"{"v":1,"kind":"signal","signal":{}}"#, "no message"),
        ];
        for (data, word) in cases {
            let error = read(data).expect_err("unreadable");
            assert!(error.to_string().contains(word), "{error}");
        }
        assert!(matches!(read(&vec![b' '; LARGEST + 1]), Err(Unreadable::TooLarge(_))));
    }
}
