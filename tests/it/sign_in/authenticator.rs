//! An authenticator in software: ES256, attestation "none", and everything about it can be made wrong.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const ORIGIN: &str = "https://oust.contoso.example";
pub const RP_ID: &str = "oust.contoso.example";

pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

/// What a ceremony says; each field can be made wrong.
#[derive(Debug, Clone)]
pub struct Says {
    pub origin: String,
    pub kind: &'static str,
    pub rp_id: String,
    pub challenge: Option<String>,
    pub present: bool,
    pub verified: bool,
    pub backup_eligible: bool,
    pub backed_up: bool,
    pub cross_origin: Option<bool>,
    pub top_origin: Option<&'static str>,
    pub counter: Option<u32>,
    pub spoil_signature: bool,
    pub handle: Option<Vec<u8>>,
    pub without_handle: bool,
    pub resident: Option<bool>,
}

impl Says {
    fn new(kind: &'static str) -> Self {
        Self {
            origin: ORIGIN.into(),
            kind,
            rp_id: RP_ID.into(),
            challenge: None,
            present: true,
            verified: true,
            backup_eligible: false,
            backed_up: false,
            cross_origin: Some(false),
            top_origin: None,
            counter: None,
            spoil_signature: false,
            handle: None,
            without_handle: false,
            resident: Some(true),
        }
    }

    pub fn create() -> Self {
        Self::new("webauthn.create")
    }

    pub fn get() -> Self {
        Self::new("webauthn.get")
    }

    fn client_data(&self, challenge: &str) -> Vec<u8> {
        let mut data = json!({
            "type": self.kind, "challenge": self.challenge.as_deref().unwrap_or(challenge), "origin": self.origin,
        });
        if let Some(cross) = self.cross_origin {
            data["crossOrigin"] = json!(cross);
        }
        if let Some(top) = self.top_origin {
            data["topOrigin"] = json!(top);
        }
        data.to_string().into_bytes()
    }

    fn flags(&self, attested: bool) -> u8 {
        u8::from(self.present)
            | u8::from(self.verified) << 2
            | u8::from(self.backup_eligible) << 3
            | u8::from(self.backed_up) << 4
            | u8::from(attested) << 6
    }
}

/// One credential and its key.
pub struct Key {
    pub id: Vec<u8>,
    pair: EcdsaKeyPair,
    /// Counts, or always says 0.
    pub counter: u32,
    pub counts: bool,
    pub handle: Vec<u8>,
    pub backup_eligible: bool,
}

impl Key {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).expect("a key");
        let id = rand::random::<[u8; 32]>().to_vec();
        Self { id, pair, counter: 0, counts: true, handle: Vec::new(), backup_eligible: false }
    }

    /// The key's point, uncompressed.
    pub fn point(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// Answers `navigator.credentials.create`.
    pub fn create(&mut self, begun: &Value, says: &Says) -> Value {
        let options = &begun["publicKey"];
        self.handle = decode(options["user"]["id"].as_str().expect("a handle"));
        self.backup_eligible = says.backup_eligible;
        let client = says.client_data(options["challenge"].as_str().expect("a challenge"));
        let mut data = Sha256::digest(says.rp_id.as_bytes()).to_vec();
        data.push(says.flags(true));
        data.extend(says.counter.unwrap_or(self.counter).to_be_bytes());
        data.extend([0_u8; 16]);
        data.extend(u16::try_from(self.id.len()).expect("short").to_be_bytes());
        data.extend(&self.id);
        let point = self.point();
        data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend(&point[1..33]);
        data.extend([0x22, 0x58, 0x20]);
        data.extend(&point[33..65]);
        let mut object = vec![0xa3, 0x63];
        object.extend(b"fmt");
        object.push(0x64);
        object.extend(b"none");
        object.push(0x67);
        object.extend(b"attStmt");
        object.extend([0xa0, 0x68]);
        object.extend(b"authData");
        object.extend([0x58, u8::try_from(data.len()).expect("short")]);
        object.extend(data);
        let mut results = json!({});
        if let Some(resident) = says.resident {
            results["credProps"] = json!({ "rk": resident });
        }
        json!({
            "id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key", "clientExtensionResults": results,
            "response": { "attestationObject": encode(&object), "clientDataJSON": encode(&client), "transports": ["internal"] },
        })
    }

    /// Answers `navigator.credentials.get`.
    pub fn get(&mut self, begun: &Value, says: &Says) -> Value {
        let client = says.client_data(begun["publicKey"]["challenge"].as_str().expect("a challenge"));
        if self.counts && says.counter.is_none() {
            self.counter += 1;
        }
        let mut data = Sha256::digest(says.rp_id.as_bytes()).to_vec();
        data.push(says.flags(false));
        data.extend(says.counter.unwrap_or(self.counter).to_be_bytes());
        let mut signed = data.clone();
        signed.extend(Sha256::digest(&client));
        let signature = self.pair.sign(&SystemRandom::new(), &signed).expect("a signature");
        let mut signature = signature.as_ref().to_vec();
        if says.spoil_signature {
            let last = signature.len() - 1;
            signature[last] ^= 1;
        }
        let handle = says.handle.clone().unwrap_or_else(|| self.handle.clone());
        let handle = if says.without_handle { Value::Null } else { json!(encode(&handle)) };
        json!({
            "id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key", "clientExtensionResults": {},
            "response": {
                "authenticatorData": encode(&data), "clientDataJSON": encode(&client),
                "signature": encode(&signature), "userHandle": handle,
            },
        })
    }
}
