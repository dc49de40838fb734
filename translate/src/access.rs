//! Who may call what: keys, their rights, and why a call is denied.
//!
//! A key that OpenTracy makes is `otk_ID_SECRET`: by its id it is found, and what is kept of it is a salted digest. An operator's own
//! key is found by its plain digest.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::ApiError;

/// The header with the token that the filter and the control plane know each other's requests by.
pub const TOKEN_HEADER: &str = "x-opentracy-token";
/// The header with the name of the key for whose owner one of them calls the other.
pub const ON_BEHALF_OF_HEADER: &str = "x-opentracy-on-behalf-of";

/// What keys of ours begin with.
const PREFIX: &str = "otk_";

/// What somebody may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Call models, and ask what there is.
    #[default]
    User,
    /// Look, at everything, and change nothing.
    ReadOnly,
}

/// What a key is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    pub role: Role,
    /// Patterns of aliases and of `provider/model`; every one where it is empty.
    pub models: Vec<String>,
    /// Patterns of paths, each after a method where it is for one only; every one where it is empty.
    pub endpoints: Vec<String>,
    pub expires_unix_seconds: Option<u64>,
    pub enabled: bool,
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            role: Role::default(),
            models: Vec::new(),
            endpoints: Vec::new(),
            expires_unix_seconds: None,
            enabled: true,
        }
    }
}

/// A key as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub name: String,
    /// Of a key of ours; empty for an operator's own.
    pub id: String,
    pub salt: Vec<u8>,
    /// SHA-256 of the salt and the key.
    pub digest: Vec<u8>,
    pub rights: Rights,
}

/// Digests are not for logs.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish()
    }
}

/// Why somebody does not get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    Missing,
    Unknown,
    Disabled { key: String },
    Expired { key: String },
    Role { role: Role },
    Endpoint { key: String, endpoint: String },
    Model { key: String, model: String },
}

impl Denial {
    /// Every word there is, for counters.
    pub const WORDS: [&str; 7] = [
        "missing_api_key",
        "invalid_api_key",
        "api_key_disabled",
        "api_key_expired",
        "role_not_allowed",
        "endpoint_not_allowed",
        "model_not_allowed",
    ];

    pub fn word(&self) -> &'static str {
        let [missing, unknown, disabled, expired, role, endpoint, model] = Self::WORDS;
        match self {
            Self::Missing => missing,
            Self::Unknown => unknown,
            Self::Disabled { .. } => disabled,
            Self::Expired { .. } => expired,
            Self::Role { .. } => role,
            Self::Endpoint { .. } => endpoint,
            Self::Model { .. } => model,
        }
    }

    pub fn status(&self) -> u16 {
        match self {
            Self::Missing | Self::Unknown | Self::Disabled { .. } | Self::Expired { .. } => 401,
            Self::Role { .. } | Self::Endpoint { .. } | Self::Model { .. } => 403,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(
                f,
                "No API key was sent. Send one as `Authorization: Bearer KEY`; an administrator of the gateway makes them"
            ),
            Self::Unknown => write!(
                f,
                "The API key is not known here. Check that all of it was sent"
            ),
            Self::Disabled { key } => write!(f, "The API key \"{key}\" is disabled"),
            Self::Expired { key } => write!(f, "The API key \"{key}\" has expired"),
            Self::Role { role } => {
                write!(f, "A key with the role `{}` may not do this", role.name())
            }
            Self::Endpoint { key, endpoint } => {
                write!(f, "The API key \"{key}\" is not for {endpoint}")
            }
            Self::Model { key, model } => {
                write!(f, "The API key \"{key}\" is not for the model \"{model}\"")
            }
        }
    }
}

impl From<Denial> for ApiError {
    fn from(denial: Denial) -> Self {
        Self::new(denial.status(), denial.to_string()).with_code(denial.word())
    }
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Admin, Self::User, Self::ReadOnly];

    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
            Self::ReadOnly => "read-only",
        }
    }
}

impl Rights {
    /// Whether a key is still good.
    pub fn check_state(&self, key: &str, now_unix_seconds: u64) -> Result<(), Denial> {
        let key = key.to_owned();
        match self.expires_unix_seconds {
            _ if !self.enabled => Err(Denial::Disabled { key }),
            Some(end) if end <= now_unix_seconds => Err(Denial::Expired { key }),
            _ => Ok(()),
        }
    }

    /// Whether a request may be made to the gateway.
    pub fn check_endpoint(&self, key: &str, method: &str, path: &str) -> Result<(), Denial> {
        if self.role == Role::ReadOnly && !matches!(method, "GET" | "HEAD") {
            return Err(Denial::Role { role: self.role });
        }
        let matches = |pattern: &String| match pattern.split_once(' ') {
            Some((of, pattern)) => of.eq_ignore_ascii_case(method) && is_like(pattern.trim(), path),
            None => is_like(pattern, path),
        };
        if self.endpoints.is_empty() || self.endpoints.iter().any(matches) {
            return Ok(());
        }
        Err(Denial::Endpoint {
            key: key.to_owned(),
            endpoint: format!("{method} {path}"),
        })
    }

    /// Whether a name is among the models of the key: an alias, or `provider/model`.
    pub fn has_model(&self, name: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| is_like(pattern, name))
    }
}

/// All keys, by what they are found by.
#[derive(Debug, Default)]
pub struct Keyring(HashMap<Vec<u8>, Arc<Key>>);

impl FromIterator<Key> for Keyring {
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Self {
        let handle = |key: &Key| match key.id.as_str() {
            "" => key.digest.clone(),
            id => id.as_bytes().to_vec(),
        };
        let keys = keys.into_iter();
        Self(keys.map(|key| (handle(&key), Arc::new(key))).collect())
    }
}

impl Keyring {
    /// Without keys nobody is asked for one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `true` if any key may be used now.
    pub fn is_usable(&self, now_unix_seconds: u64) -> bool {
        let mut keys = self.0.values();
        keys.any(|key| key.rights.check_state(&key.name, now_unix_seconds).is_ok())
    }

    /// The key of a name.
    pub fn named(&self, name: &str) -> Option<&Arc<Key>> {
        self.0.values().find(|key| key.name == name)
    }

    /// Whose secret this is, whatever has become of the key since.
    pub fn find(&self, secret: &str) -> Option<&Arc<Key>> {
        let plain;
        let handle = match id_of(secret) {
            Some(id) => id.as_bytes(),
            None => {
                plain = Sha256::digest(secret.as_bytes());
                plain.as_slice()
            }
        };
        let key = self.0.get(handle)?;
        let is_it = bool::from(digest(&key.salt, secret).ct_eq(&key.digest));
        is_it.then_some(key)
    }

    /// The key of a secret, if it may be used now.
    pub fn check(&self, secret: Option<&str>, now_unix_seconds: u64) -> Result<&Arc<Key>, Denial> {
        let secret = secret.filter(|secret| !secret.is_empty());
        let key = self.find(secret.ok_or(Denial::Missing)?);
        let key = key.ok_or(Denial::Unknown)?;
        key.rights.check_state(&key.name, now_unix_seconds)?;
        Ok(key)
    }
}

/// Compares without telling by the time it takes where two differ.
pub fn is_same(expected: &str, found: &str) -> bool {
    expected.as_bytes().ct_eq(found.as_bytes()).into()
}

/// A key of ours, from its parts.
pub fn secret(id: &str, random: &str) -> String {
    format!("{PREFIX}{id}_{random}")
}

pub fn digest(salt: &[u8], secret: &str) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(secret.as_bytes());
    hasher.finalize().to_vec()
}

fn id_of(secret: &str) -> Option<&str> {
    let (id, _) = secret.strip_prefix(PREFIX)?.split_once('_')?;
    Some(id)
}

/// What a client sent as its key: OpenAI's SDKs put it in one place, Anthropic's in another.
pub fn sent<'a>(authorization: Option<&'a str>, x_api_key: Option<&'a str>) -> Option<&'a str> {
    let bearer = authorization.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    bearer.or(x_api_key).map(str::trim)
}

/// Reports if a text matches a glob pattern, in which `*` stands for any text. Takes time linear in both.
pub fn is_like(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let between = text
        .strip_prefix(head)
        .and_then(|text| text.strip_suffix(tail));
    let Some(mut between) = between.map(str::as_bytes) else {
        return false;
    };
    // The first place where a piece fits leaves the most for those after it, so none is looked for twice.
    middle.split('*').all(|piece| {
        let found = memchr::memmem::find(between, piece.as_bytes());
        found
            .and_then(|at| between.get(at + piece.len()..))
            .map(|rest| between = rest)
            .is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, rights: Rights) -> Key {
        let salt = b"salt".to_vec();
        Key {
            name: name.to_owned(),
            id: name.to_owned(),
            digest: digest(&salt, &secret(name, "s3cret")),
            salt,
            rights,
        }
    }

    #[test]
    fn a_key_is_found_by_all_of_its_secret() {
        let own = Key {
            id: String::new(),
            salt: Vec::new(),
            digest: digest(&[], "sk-my-own"),
            ..key("own", Rights::default())
        };
        let keyring: Keyring = [key("a", Rights::default()), own].into_iter().collect();
        let name = |secret: &str| keyring.check(Some(secret), 0).map(|key| key.name.clone());
        assert_eq!(name("otk_a_s3cret"), Ok("a".to_owned()));
        assert_eq!(name("sk-my-own"), Ok("own".to_owned()));
        for wrong in [
            "otk_a_s3creT",
            "otk_b_s3cret",
            "otk_a_",
            "otk_a",
            "sk-my-owN",
            "a",
        ] {
            assert_eq!(name(wrong), Err(Denial::Unknown), "{wrong}");
        }
        assert_eq!(keyring.check(None, 0), Err(Denial::Missing));
        assert_eq!(keyring.check(Some(""), 0), Err(Denial::Missing));
    }

    #[test]
    fn a_key_ends_with_its_time_or_when_it_is_disabled() {
        let ending = Rights {
            expires_unix_seconds: Some(100),
            ..Rights::default()
        };
        let off = Rights {
            enabled: false,
            ..Rights::default()
        };
        let keyring: Keyring = [key("a", ending), key("b", off)].into_iter().collect();
        assert!(keyring.check(Some("otk_a_s3cret"), 99).is_ok());
        let word = |secret, now| keyring.check(Some(secret), now).unwrap_err().word();
        assert_eq!(word("otk_a_s3cret", 100), "api_key_expired");
        assert_eq!(word("otk_b_s3cret", 0), "api_key_disabled");
    }

    #[test]
    fn endpoints_and_models_are_patterns() {
        let rights = Rights {
            endpoints: vec!["POST /v1/chat/*".into(), "/v1/models*".into()],
            models: vec!["smart".into(), "openai/gpt-4o*".into()],
            ..Rights::default()
        };
        let may = |method, path| rights.check_endpoint("k", method, path).is_ok();
        assert!(may("POST", "/v1/chat/completions") && may("GET", "/v1/models"));
        assert!(!may("GET", "/v1/chat/completions") && !may("POST", "/v1/embeddings"));
        assert!(rights.has_model("smart") && rights.has_model("openai/gpt-4o-mini"));
        assert!(!rights.has_model("smarter") && !rights.has_model("x/openai/gpt-4o"));
        let looks = Rights {
            role: Role::ReadOnly,
            ..Rights::default()
        };
        assert!(looks.check_endpoint("k", "GET", "/v1/models").is_ok());
        assert!(looks.check_endpoint("k", "POST", "/v1/messages").is_err());
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("*b*", "abc", true),
            ("a", "ab", false),
            ("é*", "éa", true),
            ("a*a", "a", false),
            ("a**a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*bc*bc", "abc", false),
            ("a*bc*bc", "abcbc", true),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_one() {
        // Trying every place for every star would not end within a lifetime.
        let pattern = format!("{}b", "*a".repeat(50));
        assert!(!is_like(&pattern, &"a".repeat(100_000)));
        assert!(is_like(&pattern, &format!("{}b", "a".repeat(100_000))));
    }
}
