//! `keys` and `access`: who may call.

use opentracy_translate::access::{self, Rights, Role};
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use sha2::{Digest as _, Sha256};

use crate::config::{Budget, Limits, TraceOverride};

/// A key that a client sends, and what goes for its calls.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientKey {
    /// In hexadecimal.
    pub sha256: Option<Spanned<String>>,
    /// The environment variable with the key itself.
    pub key_env: Option<String>,
    pub role: Role,
    /// Patterns of aliases and of `provider/model`; every one where it is empty.
    pub models: Vec<String>,
    /// Patterns of paths, after a method where they are for one only; every one where it is empty.
    pub endpoints: Vec<String>,
    pub expires_at: Option<jiff::Timestamp>,
    pub disabled: bool,
    pub limits: Limits,
    pub traces: TraceOverride,
    pub budget: Option<Spanned<Budget>>,
    /// Set where OpenTracy made the key.
    #[serde(skip)]
    pub made: Option<Made>,
}

/// What is kept of a key that OpenTracy made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    pub id: String,
    /// In base64.
    pub salt: String,
    /// SHA-256 of the salt and the key, in base64.
    pub digest: String,
}

/// Who may call besides those with a key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Denies callers without a key though there is none (`true`), or lets everybody in while there is none (`false`). Where it is not
    /// written, everybody gets in until the first key or token exists.
    pub required: Option<bool>,
    pub jwt: Option<Spanned<Jwt>>,
    /// Names by which 8080 and 8000 may be called in a browser besides an address and `localhost`.
    pub hosts: Vec<String>,
    /// Set if a key or a token has existed: [`crate::reload::access_latch`].
    #[serde(skip)]
    pub is_latched: bool,
}

impl Access {
    /// Returns `true` if callers without a key are denied even though no key can be used. `has_keys` tells whether any is
    /// configured: one whose variable is not set closes too.
    pub fn is_closed(&self, has_keys: bool) -> bool {
        has_keys || self.jwt.is_some() || self.required.unwrap_or(self.is_latched)
    }
}

/// A JSON Web Token, which Envoy's jwt_authn checks before the filter sees the request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    pub issuer: String,
    #[serde(default)]
    pub audiences: Vec<String>,
    /// The keys that tokens are signed with: a file with a JSON Web Key Set.
    pub jwks_file: Option<std::path::PathBuf>,
    /// Where the set is to be fetched instead.
    pub jwks_url: Option<url::Url>,
    /// The claim that names the caller.
    #[serde(default = "subject")]
    pub subject_claim: String,
    /// The claim that names an entry of `keys`, whose rights, limits and budget go for the caller.
    #[serde(default = "key_claim")]
    pub key_claim: String,
    /// Takes tokens without `exp`, which are good for ever.
    #[serde(default)]
    pub allow_without_expiry: bool,
}

fn subject() -> String {
    "sub".to_owned()
}

fn key_claim() -> String {
    "opentracy_key".to_owned()
}

impl ClientKey {
    /// The key's digest; `None` where neither it nor the key is to be had.
    fn digest(&self) -> Option<Vec<u8>> {
        if let Some(text) = &self.sha256 {
            let bytes = text.value.as_bytes().chunks(2);
            let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            return bytes.map(byte).collect();
        }
        let key = std::env::var(self.key_env.as_ref()?).ok()?;
        Some(Sha256::digest(key.trim().as_bytes()).to_vec())
    }

    /// What the key is known by, and what it is good for.
    pub fn to_key(&self, name: &str) -> Option<access::Key> {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD as BASE64;
        let expires = self.expires_at.map(jiff::Timestamp::as_second);
        let rights = Rights {
            role: self.role,
            models: self.models.clone(),
            endpoints: self.endpoints.clone(),
            expires_unix_seconds: expires.map(|seconds| u64::try_from(seconds).unwrap_or_default()),
            enabled: !self.disabled,
        };
        let (id, salt, digest) = match &self.made {
            Some(made) => (
                made.id.clone(),
                BASE64.decode(&made.salt).ok()?,
                BASE64.decode(&made.digest).ok()?,
            ),
            None => (String::new(), Vec::new(), self.digest()?),
        };
        Some(access::Key {
            name: name.to_owned(),
            id,
            salt,
            digest,
            rights,
        })
    }
}
