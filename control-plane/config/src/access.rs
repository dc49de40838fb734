//! `keys` and `access`: authentication of clients.

use opentracy_translate::access::{self, Rights, Role};
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use sha2::{Digest as _, Sha256};

use crate::{Budget, Limits, TraceOverride};

/// A client key with its rights, limits and budget.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientKey {
    /// In hexadecimal.
    pub sha256: Option<Spanned<String>>,
    /// The environment variable that holds the key.
    pub key_env: Option<String>,
    pub role: Role,
    /// Patterns of aliases and of `provider/model`; empty means all.
    pub models: Vec<String>,
    /// Patterns of paths, with a method in front if only that one is allowed; empty means all.
    pub endpoints: Vec<String>,
    pub expires_at: Option<jiff::Timestamp>,
    pub disabled: bool,
    pub limits: Limits,
    pub traces: TraceOverride,
    pub budget: Option<Spanned<Budget>>,
    /// Present if OpenTracy generated the key.
    #[serde(skip)]
    pub made: Option<GeneratedKey>,
}

/// The stored part of a key that OpenTracy generated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratedKey {
    pub id: String,
    /// In base64.
    pub salt: String,
    /// SHA-256 of the salt and the key, in base64.
    pub digest: String,
}

/// Access of callers without a key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Refuses callers without a key even if no key exists (`true`), or admits everybody as long as
    /// no key exists (`false`). If not set, everybody is admitted until the first key or token
    /// exists.
    pub required: Option<bool>,
    pub jwt: Option<Spanned<Jwt>>,
    /// Host names, beside IP addresses and `localhost`, under which a browser may call ports 8080
    /// and 8000.
    pub hosts: Vec<String>,
    /// Set once a key or a token has existed: [`crate::access_latch`].
    #[serde(skip)]
    pub is_latched: bool,
}

impl Access {
    /// Returns `true` if callers without a key are refused even though no key can be used.
    /// `has_keys` is true if any key is configured, even one whose variable is not set.
    pub fn is_closed(&self, has_keys: bool) -> bool {
        has_keys || self.jwt.is_some() || self.required.unwrap_or(self.is_latched)
    }
}

/// A JSON Web Token, which Envoy's jwt_authn filter checks before our filter sees the request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    pub issuer: String,
    #[serde(default)]
    pub audiences: Vec<String>,
    /// A file with a JSON Web Key Set: the keys that tokens are signed with.
    pub jwks_file: Option<std::path::PathBuf>,
    /// The URL to fetch the key set from instead.
    pub jwks_url: Option<url::Url>,
    /// The claim that names the caller.
    #[serde(default = "subject")]
    pub subject_claim: String,
    /// The claim that names an entry of `keys`, whose rights, limits and budget apply to the
    /// caller.
    #[serde(default = "key_claim")]
    pub key_claim: String,
    /// Accepts tokens without `exp`, which never expire.
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
    /// Returns the key's digest, or `None` if neither the digest nor the key is available.
    fn digest(&self) -> Option<Vec<u8>> {
        if let Some(text) = &self.sha256 {
            let bytes = text.value.as_bytes().chunks(2);
            let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            return bytes.map(byte).collect();
        }
        let key = std::env::var(self.key_env.as_ref()?).ok()?;
        Some(Sha256::digest(key.trim().as_bytes()).to_vec())
    }

    /// Returns the key in the form that the filter checks: its digest and its rights.
    pub fn to_key(&self, name: &str) -> Option<access::StoredKey> {
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
        Some(access::StoredKey {
            name: name.to_owned(),
            id,
            salt,
            digest,
            rights,
        })
    }
}
