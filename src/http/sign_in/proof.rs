//! Signatures under decisions, checked later with nothing but what was kept: a passkey's assertion and an identity
//! token. Says only that a signature holds; what it was given for is the audit trail's to say.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::JsonWebKey as _;
use openidconnect::core::{CoreJsonWebKey, CoreJwsSigningAlgorithm as Alg};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use webauthn_rs::prelude::COSEKey;

/// A provider's token is at most this long.
const LONGEST_TOKEN: usize = 64 * 1024;

/// Why a signature proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    #[error("the public key is unreadable")]
    Key,
    #[error("the token is unreadable")]
    Token,
    #[error("the signature does not hold")]
    Signature,
}

/// Checks a passkey's assertion: over the authenticator's data and the SHA-256 of the client's (W3C WebAuthn §7.2).
/// `key` is the COSE key as it was kept.
///
/// # Errors
/// The key is none, or did not sign this.
pub fn check_passkey(
    key: &Value,
    authenticator_data: &[u8],
    client_data: &[u8],
    signature: &[u8],
) -> Result<(), NotSigned> {
    let key = COSEKey::deserialize(key).map_err(|_| NotSigned::Key)?;
    let mut signed = authenticator_data.to_vec();
    signed.extend_from_slice(&Sha256::digest(client_data));
    match key.verify_signature(signature, &signed) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(NotSigned::Signature),
    }
}

/// The part of a token's head that says how it was signed.
#[derive(Deserialize)]
struct Head {
    alg: Alg,
}

/// Checks an identity token's signature with a key (JWK) of its provider, and gives its claims back. Algorithms without a
/// public key are none.
///
/// # Errors
/// The key or the token is none, or the key did not sign it.
pub fn check_token(key: &Value, token: &str) -> Result<Value, NotSigned> {
    let key = CoreJsonWebKey::deserialize(key).map_err(|_| NotSigned::Key)?;
    let mut parts = token.split('.');
    let (Some(head), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(NotSigned::Token);
    };
    if token.len() > LONGEST_TOKEN {
        return Err(NotSigned::Token);
    }
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| NotSigned::Token);
    let told: Head = serde_json::from_slice(&decode(head)?).map_err(|_| NotSigned::Token)?;
    let public = matches!(
        told.alg,
        Alg::RsaSsaPkcs1V15Sha256 | Alg::RsaSsaPssSha256 | Alg::EcdsaP256Sha256 | Alg::EcdsaP384Sha384 | Alg::EdDsa
    );
    if !public {
        return Err(NotSigned::Signature);
    }
    let signed = format!("{head}.{payload}");
    key.verify_signature(&told.alg, signed.as_bytes(), &decode(signature)?).map_err(|_| NotSigned::Signature)?;
    serde_json::from_slice(&decode(payload)?).map_err(|_| NotSigned::Token)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    };
    use serde_json::json;

    use super::*;

    fn pair(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).expect("a key");
        EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).expect("a key")
    }

    fn coordinates(pair: &EcdsaKeyPair) -> (String, String) {
        let point = pair.public_key().as_ref();
        (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]))
    }

    #[test]
    fn an_assertion_holds_for_its_bytes_and_key_and_no_bit_may_differ() {
        let pair = pair(&ECDSA_P256_SHA256_ASN1_SIGNING);
        let (x, y) = coordinates(&pair);
        let key = json!({ "type_": "ES256", "key": { "EC_EC2": { "curve": "SECP256R1", "x": x, "y": y } } });
        let (data, client) = (vec![7_u8; 37], br#"{"type":"webauthn.get"}"#.to_vec());
        let signed = [data.clone(), Sha256::digest(&client).to_vec()].concat();
        let signature = pair.sign(&SystemRandom::new(), &signed).expect("signed").as_ref().to_vec();
        assert_eq!(check_passkey(&key, &data, &client, &signature), Ok(()));
        for place in 0..data.len() {
            let mut other = data.clone();
            other[place] ^= 1;
            assert_eq!(check_passkey(&key, &other, &client, &signature), Err(NotSigned::Signature), "{place}");
        }
        for place in 0..client.len() {
            let mut other = client.clone();
            other[place] ^= 0x80;
            assert_eq!(check_passkey(&key, &data, &other, &signature), Err(NotSigned::Signature), "{place}");
        }
        for place in 0..signature.len() {
            let mut other = signature.clone();
            other[place] ^= 1;
            assert!(check_passkey(&key, &data, &client, &other).is_err(), "{place}");
        }
        for bad in [json!(null), json!({}), json!("ES256"), json!({ "type_": "ES256", "key": { "EC_EC2": {} } })] {
            assert_eq!(check_passkey(&bad, &data, &client, &signature), Err(NotSigned::Key), "{bad}");
        }
        for rubbish in [&[] as &[u8], &[0; 3], &[0xff; 5_000]] {
            assert_eq!(check_passkey(&key, &data, &client, rubbish), Err(NotSigned::Signature));
        }
    }

    #[test]
    fn a_token_holds_for_its_key_and_nothing_unsigned_does() {
        let pair = pair(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let (x, y) = coordinates(&pair);
        let key = json!({ "kty": "EC", "crv": "P-256", "use": "sig", "x": x, "y": y });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({ "sub": "7", "nonce": "n" });
        let sign = |head: &Value, claims: &Value| {
            let signed = format!("{}.{}", part(head), part(claims));
            let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
        };
        let token = sign(&json!({ "alg": "ES256" }), &claims);
        assert_eq!(check_token(&key, &token), Ok(claims.clone()));
        let other = token.replace(&part(&claims), &part(&json!({ "sub": "8", "nonce": "n" })));
        assert_eq!(check_token(&key, &other), Err(NotSigned::Signature));
        for alg in ["none", "HS256"] {
            assert!(check_token(&key, &sign(&json!({ "alg": alg }), &claims)).is_err(), "{alg}");
        }
        for rubbish in ["", "a.b", "a.b.c", "a.b.c.d", &"x".repeat(100_000)] {
            assert!(check_token(&key, rubbish).is_err());
        }
        assert_eq!(check_token(&json!({}), &token), Err(NotSigned::Key));
    }
}
