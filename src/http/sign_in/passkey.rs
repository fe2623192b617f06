//! Passkeys: WebAuthn ceremonies with user verification and a discoverable credential, always.
//!
//! The library checks type, challenge, origin, relying party, presence, verification, signature, backup flags and
//! counter. Beside it we refuse an assertion made in somebody else's frame (`crossOrigin`, `topOrigin`), which it does
//! only at registration, and ask for a resident key. No store, no clock: rows come in and go out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use webauthn_rs::prelude::{
    CreationChallengeResponse, DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, RequestChallengeResponse, Webauthn, WebauthnBuilder, WebauthnError,
};

use super::site::Site;
use crate::domain::reviewer::{Account, Shown, json_digest};
use crate::domain::task::Digest;
use crate::store::reviewers::Credential;

/// How many passkeys somebody may have.
pub const MOST: usize = 20;

/// Why a ceremony came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the answer is not one of a passkey: {0}")]
    Malformed(#[source] serde_json::Error),
    #[error("the answer was made in another site's frame")]
    CrossOrigin,
    /// The library's word for it.
    #[error("the passkey was refused: {0}")]
    Refused(WebauthnError),
    /// The counter went back: there may be a copy of the authenticator.
    #[error("the passkey's counter went back: there may be a copy of it, so it is disabled")]
    Cloned,
    #[error("the passkey was made without being kept on the device: choose another place to save it")]
    NotResident,
    #[error("passkeys need a host name in public_url, not an address")]
    NoHostName,
    #[error("a stored passkey or ceremony is unreadable")]
    Unreadable(#[source] serde_json::Error),
}

impl From<WebauthnError> for Error {
    fn from(error: WebauthnError) -> Self {
        match error {
            WebauthnError::CredentialPossibleCompromise => Self::Cloned,
            WebauthnError::CredentialCrossOrigin => Self::CrossOrigin,
            other => Self::Refused(other),
        }
    }
}

/// The relying party.
#[derive(Debug, Clone)]
pub struct Passkeys {
    webauthn: Webauthn,
    rp_id: String,
}

/// A ceremony as it goes out: options for the browser, state for the row, and the random value.
#[derive(Debug)]
pub struct Begun {
    pub options: Value,
    pub state: Value,
}

/// An assertion that holds.
#[derive(Debug)]
pub struct Asserted {
    pub counter: u32,
    /// The credential as it is to be kept now.
    pub passkey: Value,
    pub shown: Shown,
}

/// A credential that was made.
#[derive(Debug)]
pub struct Made {
    pub id: String,
    /// SHA-256 of the public key: the audit trail says whose it is from here on.
    pub key: Digest,
    pub passkey: Value,
    pub counter: u32,
    /// May be synchronised between devices.
    pub synced: bool,
}

/// The parts of a stored passkey that we read ourselves.
#[derive(Deserialize)]
struct Inside {
    cred: Fields,
}

#[derive(Deserialize)]
struct Fields {
    cred: Value,
    counter: u32,
    backup_eligible: bool,
}

impl Passkeys {
    /// For a site; its host is the relying party's id, for ever: passkeys do not move to another.
    ///
    /// # Errors
    /// The host is an address, not a name.
    pub fn new(site: &Site) -> Result<Self, Error> {
        let rp_id = site.host().to_owned();
        let builder = WebauthnBuilder::new(&rp_id, site.origin()).map_err(|_| Error::NoHostName)?;
        let webauthn = builder.rp_name("oust").build().map_err(|_| Error::NoHostName)?;
        Ok(Self { webauthn, rp_id })
    }

    /// Options for a new passkey of `account`; `known` are not made a second time.
    ///
    /// # Errors
    /// The library refuses the account's names.
    pub fn begin_making(&self, account: &Account, known: &[Credential]) -> Result<Begun, Error> {
        let exclude: Vec<_> = known.iter().filter_map(|one| URL_SAFE_NO_PAD.decode(&one.id).ok()).collect();
        let (options, state): (CreationChallengeResponse, PasskeyRegistration) = self
            .webauthn
            .start_passkey_registration(account.handle, account.id.as_str(), &account.display_name, Some(exclude))?;
        let mut options = serde_json::to_value(options).map_err(Error::Unreadable)?;
        let selection = &mut options["publicKey"]["authenticatorSelection"];
        selection["residentKey"] = json!("required");
        selection["requireResidentKey"] = json!(true);
        selection["userVerification"] = json!("required");
        Ok(Begun { options, state: serde_json::to_value(state).map_err(Error::Unreadable)? })
    }

    /// Checks a new passkey.
    ///
    /// # Errors
    /// It is not what was asked for.
    pub fn finish_making(&self, answer: Value, state: &Value) -> Result<Made, Error> {
        let resident = answer["extensions"]["credProps"]["rk"].as_bool();
        let resident = resident.or_else(|| answer["clientExtensionResults"]["credProps"]["rk"].as_bool());
        let answer: RegisterPublicKeyCredential = serde_json::from_value(answer).map_err(Error::Malformed)?;
        let state: PasskeyRegistration = serde_json::from_value(state.clone()).map_err(Error::Unreadable)?;
        check_frame(answer.response.client_data_json.as_slice())?;
        let passkey = self.webauthn.finish_passkey_registration(&answer, &state)?;
        if resident == Some(false) {
            return Err(Error::NotResident);
        }
        let id = URL_SAFE_NO_PAD.encode(passkey.cred_id().as_slice());
        let passkey = serde_json::to_value(passkey).map_err(Error::Unreadable)?;
        let inside: Inside = Inside::deserialize(&passkey).map_err(Error::Unreadable)?;
        let key = json_digest(&inside.cred.cred);
        Ok(Made { id, key, counter: inside.cred.counter, synced: inside.cred.backup_eligible, passkey })
    }

    /// Options for an assertion: by anybody, or by one of `these`.
    ///
    /// # Errors
    /// The library cannot make a challenge.
    pub fn begin(&self, these: &[Credential]) -> Result<Begun, Error> {
        let (mut options, state): (RequestChallengeResponse, DiscoverableAuthentication) =
            self.webauthn.start_discoverable_authentication()?;
        // It is asked for by a button, not offered in a text field.
        options.mediation = None;
        let mut options = serde_json::to_value(options).map_err(Error::Unreadable)?;
        let allowed = these.iter().map(|one| json!({ "type": "public-key", "id": one.id }));
        options["publicKey"]["allowCredentials"] = allowed.collect();
        Ok(Begun { options, state: serde_json::to_value(state).map_err(Error::Unreadable)? })
    }

    /// Checks an assertion against the credential it names.
    ///
    /// # Errors
    /// It does not hold; `Cloned` only after everything else did.
    pub fn finish(&self, answer: &Answer, state: &Value, known: &Credential) -> Result<Asserted, Error> {
        let nonce = state["ast"]["challenge"].clone();
        let state: DiscoverableAuthentication = serde_json::from_value(state.clone()).map_err(Error::Unreadable)?;
        let mut passkey: Passkey = serde_json::from_value(known.passkey.clone()).map_err(Error::Unreadable)?;
        let response = &answer.0.response;
        check_frame(response.client_data_json.as_slice())?;
        let result = self.webauthn.finish_discoverable_authentication_v2(&answer.0, state, &passkey)?;
        let inside = Inside::deserialize(&known.passkey).map_err(Error::Unreadable)?;
        if result.backup_eligible() != inside.cred.backup_eligible {
            return Err(WebauthnError::CredentialBackupEligibilityInconsistent.into());
        }
        if !result.user_verified() {
            return Err(WebauthnError::UserNotVerified.into());
        }
        passkey.update_credential(&result);
        let said: Value = serde_json::from_slice(response.client_data_json.as_slice()).map_err(Error::Malformed)?;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let shown = Shown::Passkey {
            credential: known.id.clone(),
            public_key: inside.cred.cred,
            nonce: nonce.as_str().or(said["challenge"].as_str()).unwrap_or_default().to_owned(),
            rp_id: self.rp_id.clone(),
            authenticator_data: encode(response.authenticator_data.as_slice()),
            client_data: encode(response.client_data_json.as_slice()),
            signature: encode(response.signature.as_slice()),
        };
        let passkey = serde_json::to_value(passkey).map_err(Error::Unreadable)?;
        Ok(Asserted { counter: result.counter(), passkey, shown })
    }
}

/// An assertion as the browser sent it.
#[derive(Debug)]
pub struct Answer(PublicKeyCredential);

impl Answer {
    /// Reads one.
    ///
    /// # Errors
    /// It is not one.
    pub fn read(value: Value) -> Result<Self, Error> {
        serde_json::from_value(value).map(Self).map_err(Error::Malformed)
    }

    /// The credential's id, base64url.
    pub fn credential(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.get_credential_id())
    }

    /// The user's handle, if the authenticator gave one.
    pub fn handle(&self) -> Option<&[u8]> {
        self.0.get_user_unique_id()
    }
}

fn check_frame(client_data: &[u8]) -> Result<(), Error> {
    let said: Value = serde_json::from_slice(client_data).map_err(Error::Malformed)?;
    let framed = said["crossOrigin"].as_bool().unwrap_or(false) || !said["topOrigin"].is_null();
    if framed { Err(Error::CrossOrigin) } else { Ok(()) }
}
