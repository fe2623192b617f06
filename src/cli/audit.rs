//! `oust audit …`: the trail as a file, and whether a file or the store is whole.
//!
//! A file is JSON lines: a head, then one record a line, exactly as it was written, and after a decision the proof that
//! was kept of it (`{"proof": …}`). The chain is computed from the records; signed checkpoints among them say what it was.

mod decisions;

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use self::decisions::{Decisions, Tally, named_by};
use super::store::{LOOK, failed, open};
use super::{Code, ConfigArg, Context, Failure};
use crate::domain::TaskId;
use crate::domain::chain::Tip;
use crate::engine::CHECKPOINT;
use crate::seal::{PublicKey, SigningKey};
use crate::store::Audit;
use crate::store::reviewers::Reviewers;

/// The first line of a file.
const HEAD: &str = r#"{"oust":"audit v1"}"#;
/// Records read from the store at once.
const MANY: u32 = 1_000;
/// A longer line is none of ours.
const LONGEST: u64 = 16 * 1024 * 1024;

/// `oust audit …`
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check that nothing was changed, left out or added, and that every vote is proved: of a file, or of the store.
    Verify {
        /// An exported file; the store without it.
        file: Option<PathBuf>,
        /// The public key that must have signed; without it the checkpoints' own keys are shown.
        #[arg(long)]
        key: Option<PublicKey>,
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Print a new signing key for `audit.key`, or the public half of the configured one.
    Key {
        #[arg(long)]
        new: bool,
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Write the trail as JSON lines.
    Export {
        /// Where to; standard output without it.
        #[arg(long)]
        out: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigArg,
    },
}

impl Command {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Verify { file: Some(file), key, .. } => verdict(context, &verify_file(&file, key.as_ref())?),
            Self::Verify { file: None, key, config } => {
                let store = open(context, &config, LOOK).await?;
                verdict(context, &verify_store(&*store, key.as_ref()).await?)
            }
            Self::Key { new: true, .. } => draw(context),
            Self::Key { new: false, config } => public(context, &config),
            Self::Export { out, config } => {
                let store = open(context, &config, LOOK).await?;
                export(context, &*store, out.as_deref()).await
            }
        }
    }
}

fn draw(context: &Context) -> Result<(), Failure> {
    let next = "try again; the machine's random source failed";
    let secret = SigningKey::draw().map_err(|error| Failure::of(Code::Problems, &error, next))?;
    let key = SigningKey::parse(&secret).map_err(|error| Failure::of(Code::Problems, &error, next))?;
    let (secret, public) = (secret.expose_secret().to_owned(), key.public().to_string());
    context.out.note(&format!(
        "public half: {public}\nkeep what follows in a file that only oust reads: audit: {{ key: {{ file: … }} }}"
    ));
    context.out.say(&json!({ "key": secret, "public": public }), || secret.clone());
    Ok(())
}

fn public(context: &Context, config: &ConfigArg) -> Result<(), Failure> {
    let config = context.load(config)?;
    let Some(key) = config.audit_key.as_ref().and_then(|text| SigningKey::parse(text).ok()) else {
        let next = "without `audit.key` the key is kept in the store; `oust audit verify` shows its public half";
        return Err(Failure::new(Code::Problems, "no audit.key is configured", next));
    };
    let public = key.public().to_string();
    context.out.say(&json!({ "public": public }), || public.clone());
    Ok(())
}

/// What following the chain showed.
#[derive(Debug, Default)]
struct Seen {
    tip: Option<Tip>,
    records: u64,
    checkpoints: u64,
    /// The last checkpoint that held.
    signed: Option<u64>,
    keys: Vec<String>,
    decisions: Decisions,
    proved: Tally,
    /// What does not hold, in order.
    wrong: Vec<String>,
}

/// A line of a file that is no record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    proof: Value,
}

/// What a checkpoint claims.
#[derive(Deserialize)]
struct Claim {
    #[serde(flatten)]
    tip: Tip,
    key: String,
    signature: String,
}

/// Enough to see what is wrong; a file of something else has a mistake in every line.
const MOST_WRONG: usize = 20;

impl Seen {
    /// Follows one record; gives back the proof that it names.
    fn follow(&mut self, record: &str, key: Option<&PublicKey>, past: &mut Vec<Tip>) -> Option<(String, TaskId)> {
        let tip = self.tip.unwrap_or(Tip::START).then(record);
        self.tip = Some(tip);
        self.records += 1;
        past.push(tip);
        match serde_json::from_str::<Audit>(record) {
            Ok(audit) if audit.verb == CHECKPOINT => self.judge(&audit.detail, key, past),
            Ok(audit) => {
                self.decisions.follow(tip.position, &audit);
                return named_by(&audit);
            }
            Err(error) => self.complain(format!("record {}: not an audit record: {error}", tip.position)),
        }
        None
    }

    /// Everything was read: do the proofs hold?
    fn end(mut self) -> Self {
        let (proved, wrong) = std::mem::take(&mut self.decisions).judge();
        self.proved = proved;
        for text in wrong {
            self.complain(text);
        }
        self
    }

    fn complain(&mut self, text: String) {
        if self.wrong.len() < MOST_WRONG {
            self.wrong.push(text);
        }
    }

    fn judge(&mut self, detail: &Value, key: Option<&PublicKey>, past: &[Tip]) {
        self.checkpoints += 1;
        let at = self.records;
        let Ok(claim) = serde_json::from_value::<Claim>(detail.clone()) else {
            return self.complain(format!("record {at}: an unreadable checkpoint"));
        };
        let signer: Result<PublicKey, _> = claim.key.parse();
        let Ok(signer) = signer else { return self.complain(format!("record {at}: a checkpoint without a key")) };
        if key.is_some_and(|key| *key != signer) {
            return self.complain(format!("record {at}: signed by {signer}, which is not the key you gave"));
        }
        if signer.check(&claim.tip.statement(), &claim.signature).is_err() {
            return self.complain(format!("record {at}: the checkpoint's signature does not hold"));
        }
        let place = usize::try_from(claim.tip.position).ok().and_then(|position| past.get(position.checked_sub(1)?));
        if place != Some(&claim.tip) {
            let position = claim.tip.position;
            return self
                .complain(format!("record {at}: the {position} records before it are not those that were signed"));
        }
        if !self.keys.contains(&claim.key) {
            self.keys.push(claim.key);
        }
        self.signed = Some(claim.tip.position);
    }
}

fn verify_file(file: &Path, key: Option<&PublicKey>) -> Result<Seen, Failure> {
    let cannot = |error: std::io::Error| Failure::of(Code::Unreachable, &error, "check the path");
    let mut lines = BufReader::new(File::open(file).map_err(cannot)?);
    let (mut seen, mut past, mut line) = (Seen::default(), Vec::new(), Vec::new());
    let mut number = 0_u64;
    loop {
        line.clear();
        let read = std::io::Read::take(&mut lines, LONGEST).read_until(b'\n', &mut line).map_err(cannot)?;
        if read == 0 {
            break;
        }
        number += 1;
        let text = std::str::from_utf8(line.strip_suffix(b"\n").unwrap_or(&line)).unwrap_or("\u{fffd}");
        if number == 1 {
            if text != HEAD {
                seen.complain("line 1: not an exported audit trail of this version".into());
                break;
            }
            continue;
        }
        if let Ok(Kept { proof }) = serde_json::from_str(text) {
            seen.decisions.proof(proof);
            continue;
        }
        match serde_json::from_str::<&RawValue>(text) {
            Ok(record) => drop(seen.follow(record.get(), key, &mut past)),
            Err(error) => seen.complain(format!("line {number}: half a record: {error}")),
        }
    }
    if number == 0 {
        seen.complain("the file is empty".into());
    }
    Ok(seen.end())
}

/// The proof that a record names, as it is kept.
async fn proof_of(store: &dyn Reviewers, named: &(String, TaskId)) -> Result<Option<Value>, Failure> {
    let (challenge, task) = named;
    let kept = store.proofs_of(*task).await.map_err(|error| failed(&error))?;
    let proof = kept.into_iter().find(|proof| proof.challenge == *challenge);
    Ok(proof.and_then(|proof| serde_json::to_value(proof).ok()))
}

async fn verify_store(store: &dyn Reviewers, key: Option<&PublicKey>) -> Result<Seen, Failure> {
    let (mut seen, mut past, mut after) = (Seen::default(), Vec::new(), None::<String>);
    loop {
        let rows = store.audit_in_order(after.as_deref(), MANY).await.map_err(|error| failed(&error))?;
        let Some(last) = rows.last() else { return Ok(seen.end()) };
        after = Some(last.cursor.clone());
        for row in &rows {
            if let Some(named) = seen.follow(&row.record, key, &mut past)
                && let Some(proof) = proof_of(store, &named).await?
            {
                seen.decisions.proof(proof);
            }
        }
    }
}

fn verdict(context: &Context, seen: &Seen) -> Result<(), Failure> {
    let whole = seen.wrong.is_empty();
    let tip = seen.tip.unwrap_or(Tip::START);
    let value = json!({
        "whole": whole, "records": seen.records, "checkpoints": seen.checkpoints, "signed_up_to": seen.signed,
        "hash": tip.hash, "keys": seen.keys, "problems": seen.wrong,
        "decisions": {
            "by_passkey": seen.proved.passkey, "by_provider": seen.proved.provider,
            "by_provider_without_key": seen.proved.unsigned,
        },
    });
    context.out.say(&value, || {
        if !whole {
            return seen.wrong.join("\n");
        }
        let signed = match seen.signed {
            Some(position) => format!("signed up to {position} by {}", seen.keys.join(", ")),
            None => "no checkpoint among them yet: nothing proves that none is missing".into(),
        };
        let votes = match seen.proved {
            Tally { passkey: 0, provider: 0, unsigned: 0 } => "no votes".to_owned(),
            Tally { passkey, provider: 0, unsigned: 0 } => format!("{passkey} votes, each signed by a passkey recorded for its reviewer"),
            Tally { passkey, provider, unsigned } => format!(
                "{passkey} votes signed by a passkey recorded for their reviewer, {} on the identity provider's word ({provider} tokens \
                 signed with its key, {unsigned} without)",
                provider + unsigned
            ),
        };
        format!("{} records, unbroken; {signed}; {votes}", seen.records)
    });
    if whole { Ok(()) } else { Err(Failure::shown()) }
}

async fn export(context: &Context, store: &dyn Reviewers, out: Option<&Path>) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::of(Code::Unreachable, &error, "check the path and the disk");
    let mut writer: Box<dyn Write + Send> = match out {
        Some(path) => Box::new(BufWriter::new(File::create_new(path).map_err(cannot)?)),
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    writeln!(writer, "{HEAD}").map_err(cannot)?;
    let (mut after, mut count) = (None::<String>, 0_u64);
    loop {
        let rows = store.audit_in_order(after.as_deref(), MANY).await.map_err(|error| failed(&error))?;
        let Some(last) = rows.last() else { break };
        after = Some(last.cursor.clone());
        for row in &rows {
            writeln!(writer, "{}", row.record).map_err(cannot)?;
            let named = serde_json::from_str::<Audit>(&row.record).ok().as_ref().and_then(named_by);
            if let Some(named) = named
                && let Some(proof) = proof_of(store, &named).await?
            {
                writeln!(writer, "{}", json!({ "proof": proof })).map_err(cannot)?;
            }
        }
        count += rows.len() as u64;
    }
    writer.flush().map_err(cannot)?;
    context.out.note(&format!("{count} records"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(verb: &str, detail: Value) -> String {
        let at = "2026-11-22T10:00:00Z".parse().expect("an instant");
        let record =
            Audit { at, actor: "worker".into(), verb: verb.into(), tenant: None, object_id: None, case: None, detail };
        serde_json::to_string(&record).expect("JSON")
    }

    /// Three deeds, a checkpoint over them, one more deed.
    fn trail(key: &SigningKey) -> Vec<String> {
        let mut records: Vec<String> = (1..=3).map(|n| audit("deed", json!({ "n": n }))).collect();
        let tip = records.iter().fold(Tip::START, |tip, record| tip.then(record));
        let (public, signature) = (key.public().to_string(), key.sign(&tip.statement()));
        let detail = json!({ "position": tip.position, "hash": tip.hash, "key": public, "signature": signature });
        records.push(audit(CHECKPOINT, detail));
        records.push(audit("deed", json!({ "n": 4 })));
        records
    }

    fn verified(records: &[String], key: Option<&PublicKey>) -> Seen {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("audit.jsonl");
        std::fs::write(&file, format!("{HEAD}\n{}\n", records.join("\n"))).expect("written");
        verify_file(&file, key).unwrap_or_else(|_| panic!("the file is there"))
    }

    #[test]
    fn a_whole_trail_holds_and_every_tampering_shows() {
        let key = SigningKey::parse(&SigningKey::draw().expect("a key")).expect("reads");
        let whole = trail(&key);
        let seen = verified(&whole, Some(&key.public()));
        assert_eq!((seen.wrong.len(), seen.records, seen.signed), (0, 5, Some(3)), "{seen:?}");
        let broken = |change: &dyn Fn(&mut Vec<String>)| {
            let mut records = whole.clone();
            change(&mut records);
            verified(&records, Some(&key.public())).wrong
        };
        assert!(!broken(&|records| records[1] = records[1].replace(":2", ":9")).is_empty(), "changed");
        assert!(!broken(&|records| drop(records.remove(0))).is_empty(), "left out");
        assert!(!broken(&|records| records.swap(0, 1)).is_empty(), "moved");
        assert!(!broken(&|records| records.insert(1, audit("deed", json!({})))).is_empty(), "added");
        assert!(!broken(&|records| records[3] = records[3].replace("\"position\":3", "\"position\":2")).is_empty());
        assert!(!broken(&|records| records[4].truncate(10)).is_empty(), "half-written");
        let other = SigningKey::parse(&SigningKey::draw().expect("a key")).expect("reads");
        assert!(!verified(&whole, Some(&other.public())).wrong.is_empty(), "another key");
    }

    #[test]
    fn rubbish_is_no_trail() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["", "hello", "{}\n", "\u{0}\u{1}", "[1,2]\n[3]"] {
            let file = folder.path().join("x");
            std::fs::write(&file, text).expect("written");
            let seen = verify_file(&file, None).unwrap_or_else(|_| panic!("the file is there"));
            assert!(!seen.wrong.is_empty(), "{text:?}");
        }
    }
}
