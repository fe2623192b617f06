//! Whether every vote in the trail was proved by the reviewer it names: the record of what its challenge was bound to, the
//! proof that was kept, and the signature under it must agree. Needs nothing but the trail and the proofs.
//!
//! A passkey's signature is the reviewer's own. A provider's token says that the provider saw them: it is counted apart.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use sha2::Digest as _;

use crate::domain::TaskId;
use crate::domain::reviewer::{CEREMONY, Proof, Shown, Wanted, json_digest, nonce_digest};
use crate::domain::task::{Digest, Verdict};
use crate::http::sign_in::{check_passkey, check_token};
use crate::store::Audit;

/// Events of a task that need no proof of their own: a fresh session was asked for, or the browser's key.
const UNPROVEN: [&str; 5] = ["done", "named", "cancel", "fetched", "acknowledged"];
/// User present and user verified (W3C WebAuthn §6.1).
const PRESENT_AND_VERIFIED: u8 = 0b101;
/// Processes may disagree about the time by so much.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// A challenge, and what it was bound to before it was sent.
#[derive(Debug)]
struct Begun {
    actor: String,
    at: Timestamp,
    nonce: Digest,
    bound: Vec<Wanted>,
}

#[derive(Deserialize)]
struct BegunDetail {
    challenge: String,
    nonce: Digest,
    bound: Vec<Wanted>,
}

/// A passkey that somebody made.
#[derive(Debug)]
struct Enrolled {
    actor: String,
    key: Digest,
    /// The record that says it is gone.
    gone: Option<u64>,
}

#[derive(Deserialize)]
struct PasskeyDetail {
    passkey: String,
    #[serde(default)]
    key: Option<Digest>,
}

/// A decision, as its record says.
#[derive(Debug, Deserialize)]
struct DecidedDetail {
    task: TaskId,
    #[serde(default)]
    event: String,
    what: String,
    digest: Digest,
    #[serde(default)]
    verdict: Option<Verdict>,
    #[serde(default)]
    revision: Option<u64>,
    #[serde(default)]
    challenge: Option<String>,
    #[serde(default)]
    proof: Option<Digest>,
}

#[derive(Debug)]
struct Decided {
    position: u64,
    actor: String,
    at: Timestamp,
    said: DecidedDetail,
}

/// How many votes were proved, and by what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    /// By a passkey of the reviewer.
    pub passkey: u64,
    /// By a token that the provider's kept key signed.
    pub provider: u64,
    /// By a token whose key was not kept: nothing here shows who signed it.
    pub unsigned: u64,
}

/// What of a trail is about decisions.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    begun: HashMap<String, Begun>,
    passkeys: HashMap<String, Enrolled>,
    decided: Vec<Decided>,
    proofs: HashMap<(String, TaskId), Value>,
    wrong: Vec<String>,
}

/// The proof that a record names, for whoever has the store.
pub(super) fn named_by(audit: &Audit) -> Option<(String, TaskId)> {
    if audit.verb != "task.decided" {
        return None;
    }
    let said = DecidedDetail::deserialize(&audit.detail).ok()?;
    Some((said.challenge?, said.task))
}

impl Decisions {
    /// Takes one record in.
    pub fn follow(&mut self, position: u64, audit: &Audit) {
        let unreadable = || format!("record {position}: unreadable: {}", audit.verb);
        match audit.verb.as_str() {
            "passkey.enrolled" => match PasskeyDetail::deserialize(&audit.detail) {
                Ok(PasskeyDetail { passkey, key: Some(key) }) => {
                    let made = Enrolled { actor: audit.actor.clone(), key, gone: None };
                    if self.passkeys.insert(passkey, made).is_some() {
                        self.wrong.push(format!("record {position}: this passkey was enrolled before"));
                    }
                }
                _ => self.wrong.push(unreadable()),
            },
            "passkey.removed" | "passkey.cloned" => match PasskeyDetail::deserialize(&audit.detail) {
                Ok(PasskeyDetail { passkey, .. }) => {
                    if let Some(enrolled) = self.passkeys.get_mut(&passkey) {
                        enrolled.gone.get_or_insert(position);
                    }
                }
                Err(_) => self.wrong.push(unreadable()),
            },
            "decision.begun" => match BegunDetail::deserialize(&audit.detail) {
                Ok(BegunDetail { challenge, nonce, bound }) => {
                    let begun = Begun { actor: audit.actor.clone(), at: audit.at, nonce, bound };
                    if self.begun.insert(challenge, begun).is_some() {
                        self.wrong.push(format!("record {position}: this challenge was bound before"));
                    }
                }
                Err(_) => self.wrong.push(unreadable()),
            },
            "task.decided" => match DecidedDetail::deserialize(&audit.detail) {
                Ok(said) => {
                    let (actor, at) = (audit.actor.clone(), audit.at);
                    self.decided.push(Decided { position, actor, at, said });
                    self.judge_place(position);
                }
                Err(_) => self.wrong.push(unreadable()),
            },
            _ => {}
        }
    }

    /// Takes a proof in, as it was kept.
    pub fn proof(&mut self, proof: Value) {
        let task = proof["wanted"]["task"].as_str().and_then(|task| task.parse::<TaskId>().ok());
        let (Some(task), Some(challenge)) = (task, proof["challenge"].as_str()) else {
            return self.wrong.push("a proof that names neither task nor challenge".to_owned());
        };
        if self.proofs.insert((challenge.to_owned(), task), proof).is_some() {
            self.wrong.push(format!("two proofs for {task} under one challenge"));
        }
    }

    /// What must be true of a decision where it stands in the trail: its challenge was bound before.
    fn judge_place(&mut self, position: u64) {
        let Some(decided) = self.decided.last() else { return };
        let known = decided.said.challenge.as_ref().is_none_or(|challenge| self.begun.contains_key(challenge));
        if !known {
            self.wrong.push(format!("record {position}: no record before it says what its challenge was bound to"));
        }
    }

    /// What was proved, and what was not.
    pub fn judge(mut self) -> (Tally, Vec<String>) {
        let mut tally = Tally::default();
        for decided in std::mem::take(&mut self.decided) {
            match self.judge_one(&decided) {
                Ok(None) => {}
                Ok(Some(by)) => match by {
                    By::Passkey => tally.passkey += 1,
                    By::Provider => tally.provider += 1,
                    By::Unsigned => tally.unsigned += 1,
                },
                Err(why) => self.wrong.push(format!("record {}: {why}", decided.position)),
            }
        }
        let mut left: Vec<_> = self.proofs.keys().map(|(_, task)| *task).collect();
        left.sort_unstable();
        let nowhere = |task| format!("a proof about {task} belongs to no recorded decision");
        self.wrong.extend(left.into_iter().map(nowhere));
        (tally, self.wrong)
    }

    fn judge_one(&mut self, decided: &Decided) -> Result<Option<By>, String> {
        let Decided { position, actor, at, said } = decided;
        if UNPROVEN.contains(&said.event.as_str()) && said.verdict.is_none() && said.challenge.is_none() {
            let by_vote = matches!(said.what.as_str(), "denied" | "revoked");
            let undone = matches!(said.event.as_str(), "done" | "named") && said.what != "executed";
            if by_vote || undone {
                return Err(format!("{} became {} by `{}`, which cannot be", said.task, said.what, said.event));
            }
            return Ok(None);
        }
        if said.event != "vote" {
            return Err(format!("a vote that is recorded as `{}`", said.event));
        }
        let (Some(verdict), Some(revision), Some(challenge), Some(digest)) =
            (said.verdict, said.revision, &said.challenge, said.proof)
        else {
            return Err(format!("{} was decided by {actor} without a proof", said.task));
        };
        // Taken out: a second decision under the same challenge has none.
        let kept = self.proofs.remove(&(challenge.clone(), said.task));
        let kept = kept.ok_or_else(|| format!("the proof about {} is missing, or was used before", said.task))?;
        if json_digest(&kept) != digest {
            return Err("the proof is not the one that was recorded".to_owned());
        }
        let proof = Proof::deserialize(&kept).map_err(|error| format!("the proof is unreadable: {error}"))?;
        let begun = self.begun.get(challenge).ok_or("no record says what its challenge was bound to")?;
        let bound = begun.bound.iter().find(|wanted| wanted.task == said.task);
        let holds = [
            (begun.actor == *actor, "its challenge was begun by somebody else"),
            (*actor == format!("reviewer:{}", proof.reviewer), "the proof is somebody else's"),
            (bound == Some(&proof.wanted), "the proof is not for what its challenge was bound to"),
            (proof.wanted.verdict == verdict, "the verdict is not the one that was proved"),
            (proof.wanted.digest == said.digest, "what was decided is not what was shown"),
            (proof.wanted.revision == revision, "the revision is not the one that was shown"),
            (is_timely(begun.at, *at) && is_timely(begun.at, proof.at), "it was not decided while its challenge lived"),
            (fits(verdict, &said.what), "its outcome does not follow from the verdict"),
        ];
        if let Some((_, why)) = holds.into_iter().find(|(holds, _)| !holds) {
            return Err(why.to_owned());
        }
        check(&proof, begun, self.passkeys.get(credential(&proof)), *position).map(Some)
    }
}

/// What proved a vote.
#[derive(Debug, Clone, Copy)]
enum By {
    Passkey,
    Provider,
    Unsigned,
}

fn is_timely(begun: Timestamp, at: Timestamp) -> bool {
    (-SKEW..=CEREMONY + SKEW).contains(&at.duration_since(begun))
}

/// An approval does not close a task against itself, and a denial does not open one.
fn fits(verdict: Verdict, what: &str) -> bool {
    match verdict {
        Verdict::Approve => !matches!(what, "denied" | "revoked"),
        Verdict::Deny => what != "executed",
    }
}

fn credential(proof: &Proof) -> &str {
    match &proof.shown_by {
        Shown::Passkey { credential, .. } => credential,
        Shown::Oidc { .. } => "",
    }
}

fn check(proof: &Proof, begun: &Begun, enrolled: Option<&Enrolled>, position: u64) -> Result<By, String> {
    let nonce = match &proof.shown_by {
        Shown::Passkey { nonce, .. } | Shown::Oidc { nonce, .. } => nonce,
    };
    if nonce_digest(nonce) != begun.nonce {
        return Err("the proof answers another challenge".to_owned());
    }
    match &proof.shown_by {
        Shown::Passkey { public_key, rp_id, authenticator_data, client_data, signature, .. } => {
            let enrolled = enrolled.ok_or("its passkey was never enrolled")?;
            let owner = format!("reviewer:{}", proof.reviewer);
            if enrolled.actor != owner || enrolled.key != json_digest(public_key) {
                return Err("its public key is not the one that this reviewer enrolled".to_owned());
            }
            if enrolled.gone.is_some_and(|gone| gone < position) {
                return Err("its passkey was removed before".to_owned());
            }
            let decode = |text: &String| BASE64.decode(text).map_err(|_| "the assertion is unreadable".to_owned());
            let (data, client) = (decode(authenticator_data)?, decode(client_data)?);
            check_said(&client, &data, rp_id, nonce)?;
            check_passkey(public_key, &data, &client, &decode(signature)?).map_err(|error| error.to_string())?;
            Ok(By::Passkey)
        }
        Shown::Oidc { issuer, subject, id_token, claims, key, .. } => {
            let (by, said) = if key.is_null() {
                let payload = id_token.split('.').nth(1).and_then(|part| BASE64.decode(part).ok());
                let payload = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
                (By::Unsigned, payload.ok_or("the provider's token is unreadable")?)
            } else {
                let said = check_token(key, id_token).map_err(|error| format!("the provider's token: {error}"))?;
                (By::Provider, said)
            };
            let holds = said == *claims
                && claims["nonce"].as_str() == Some(nonce)
                && claims["iss"].as_str() == Some(issuer)
                && claims["sub"].as_str() == Some(subject);
            if holds { Ok(by) } else { Err("the provider's token says something else".to_owned()) }
        }
    }
}

/// What the authenticator signed: an assertion for this challenge, on our own page, with the user verified.
fn check_said(client: &[u8], data: &[u8], rp_id: &str, nonce: &str) -> Result<(), String> {
    let said: Value = serde_json::from_slice(client).map_err(|_| "the assertion is unreadable")?;
    let origin = said["origin"].as_str().and_then(|origin| url::Url::parse(origin).ok());
    let host = origin.as_ref().and_then(url::Url::host_str).unwrap_or_default();
    let ours = host == rp_id || host.strip_suffix(rp_id).is_some_and(|sub| sub.ends_with('.'));
    let flags = data.get(32).copied().unwrap_or_default();
    let holds = [
        (said["challenge"].as_str() == Some(nonce), "the passkey signed another challenge"),
        (said["type"] == "webauthn.get", "the passkey did not sign an assertion"),
        (ours && said["crossOrigin"] != Value::Bool(true), "the passkey was used on another site"),
        (data.len() >= 37 && data[..32] == sha2::Sha256::digest(rp_id)[..], "the passkey was used on another site"),
        (flags & PRESENT_AND_VERIFIED == PRESENT_AND_VERIFIED, "the user was not verified"),
    ];
    holds.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, why)| Err(why.to_owned()))
}
