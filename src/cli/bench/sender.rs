//! The sender: signed 4-KiB bodies over kept connections, by hand, because a real client library would cost more of
//! the shared cores than what is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::sources::auth::standard_webhooks;

/// Bytes of a delivery.
const SIZE: usize = 4096;
/// Longest answer that is read, in bytes.
const MOST: usize = 64 * 1024;

/// Which playbook a signal selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The revoke and nothing more.
    Contain,
    /// Revoke, four reads, a task.
    Whole,
}

/// Where to send, and with which secret.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub address: SocketAddr,
    pub secret: SecretString,
}

/// One kept connection.
#[derive(Debug)]
pub(super) struct Line {
    target: Target,
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Line {
    pub async fn open(target: &Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { target: target.clone(), stream, answer: Vec::with_capacity(1024) })
    }

    /// Sends one signal and reads its answer; gives the instant its first byte left.
    pub async fn send(&mut self, person: Uuid, wanted: Wanted) -> anyhow::Result<Instant> {
        let request = self.request(person, wanted)?;
        let sent = Instant::now();
        self.stream.write_all(&request).await?;
        let status =
            tokio::time::timeout(Duration::from_secs(30), self.read()).await.context("no answer in 30 s")??;
        ensure!(status == 200, "a delivery was answered {status}: {}", String::from_utf8_lossy(&self.answer));
        Ok(sent)
    }

    fn request(&self, person: Uuid, wanted: Wanted) -> anyhow::Result<Vec<u8>> {
        let (body, now) = (body(person, wanted), Timestamp::now());
        let id = format!("msg_{}", Uuid::new_v4().simple());
        let signature = standard_webhooks::signature(&self.target.secret, &id, now, body.as_bytes())?;
        let head = format!(
            "POST /webhooks/bench HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nwebhook-id: {id}\r\n\
             webhook-timestamp: {}\r\nwebhook-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
            self.target.address,
            now.as_second(),
            body.len()
        );
        Ok([head.into_bytes(), body.into_bytes()].concat())
    }

    /// Reads one answer whole and gives its status.
    async fn read(&mut self) -> anyhow::Result<u16> {
        self.answer.clear();
        loop {
            if let Some((status, whole)) = head(&self.answer)?
                && self.answer.len() >= whole
            {
                return Ok(status);
            }
            ensure!(self.answer.len() < MOST, "an answer is longer than {MOST} bytes");
            ensure!(self.stream.read_buf(&mut self.answer).await? > 0, "the connection was closed");
        }
    }
}

/// Status and whole length of an answer whose head is there.
fn head(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end])?;
    let status = text.split(' ').nth(1).unwrap_or_default().parse()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    match length {
        Some(length) => Ok(Some((status, end + 4 + length?))),
        None => bail!("an answer has no length"),
    }
}

/// A risk detection of exactly 4 KiB, as Microsoft words it.
fn body(person: Uuid, wanted: Wanted) -> String {
    let kind = match wanted {
        Wanted::Contain => "anonymizedIPAddress",
        Wanted::Whole => "anomalousToken",
    };
    let now = Timestamp::now();
    let at = now.checked_sub(SignedDuration::from_mins(10)).unwrap_or(now);
    let id = Uuid::new_v4().simple();
    let mut text = format!(
        r#"{{"id":"{id}","requestId":"{id}","correlationId":"{id}","riskEventType":"{kind}","riskState":"atRisk","riskLevel":"high","riskDetail":"none","source":"IdentityProtection","detectionTimingType":"offline","activity":"signin","tokenIssuerType":"AzureAD","ipAddress":"203.0.113.77","location":{{"city":"Oslo","countryOrRegion":"NO","geoCoordinates":{{"latitude":59.9,"longitude":10.7}}}},"activityDateTime":"{at}","detectedDateTime":"{at}","lastUpdatedDateTime":"{at}","userId":"{person}","userDisplayName":"Somebody","userPrincipalName":"somebody@contoso.example","additionalInfo":"[{{\"Key\":\"userAgent\",\"Value\":\"Mozilla/5.0 "#
    );
    let end = r#"\"}]"}"#;
    while text.len() + end.len() < SIZE {
        text.push('x');
    }
    text.push_str(end);
    text
}

/// How long deliveries took, from when they were due to the end of the answer.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub took: Vec<Duration>,
    pub all: Duration,
}

impl Sent {
    pub fn per_second(&self) -> f64 {
        self.took.len() as f64 / self.all.as_secs_f64().max(1e-9)
    }
}

/// What a load is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub wanted: Wanted,
    pub connections: usize,
    /// So many signals at most, …
    pub signals: usize,
    /// … for so long at most.
    pub time: Duration,
    /// Deliveries a second; `None` = as fast as each connection is answered.
    pub rate: Option<f64>,
}

/// Sends a load, each signal about another person.
pub(super) async fn load(target: &Target, load: Load) -> anyhow::Result<Sent> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut lines = Vec::new();
    for _ in 0..load.connections {
        lines.push(Line::open(target).await?);
    }
    let begun = Instant::now();
    let work: Vec<_> =
        lines.into_iter().map(|line| tokio::spawn(send_all(line, load, Arc::clone(&next), begun))).collect();
    let mut sent = Sent::default();
    for one in work {
        sent.took.extend(one.await??);
    }
    sent.all = begun.elapsed();
    Ok(sent)
}

async fn send_all(mut line: Line, load: Load, next: Arc<AtomicUsize>, begun: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= load.signals || begun.elapsed() >= load.time {
            return Ok(took);
        }
        let due = match load.rate {
            None => Instant::now(),
            Some(rate) => {
                let due = begun + Duration::from_secs_f64(number as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        line.send(Uuid::new_v4(), load.wanted).await?;
        took.push(due.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_of_exactly_four_kibibytes() {
        for wanted in [Wanted::Contain, Wanted::Whole] {
            let text = body(Uuid::from_u128(1), wanted);
            assert_eq!(text.len(), SIZE);
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_answer_is_measured_by_its_head() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\ncontent-").expect("not there yet"), None);
        let whole = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(head(whole).expect("whole"), Some((503, whole.len())));
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(head(b"rubbish\r\n\r\n").is_err());
    }
}
