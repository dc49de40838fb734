//! Client keys created by OpenTracy, in a file of the state folder. Stores a salted digest of each
//! key, never the key itself.

pub mod command;
mod terms;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use opentracy_translate::access::{self, Role};
use opentracy_translate::model;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::access_latch::AccessLatch;
use crate::{Budget, ClientKey, GeneratedKey, Limits, unplaced};
use opentracy_base::secure_fs;

const SALT_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const ID_BYTES: usize = 6;

/// The terms of a client key: its role, restrictions and limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = Terms)]
pub struct KeyPolicy {
    #[schema(value_type = String, example = "user")]
    pub role: Role,
    /// Patterns of aliases and of `provider/model`, such as `openai/*`. Empty: every model.
    pub models: Vec<String>,
    /// Patterns of paths, optionally after a method, such as `POST /v1/chat/*`. Empty: every path.
    pub endpoints: Vec<String>,
    /// RFC 3339. Unset: the key never expires.
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<jiff::Timestamp>,
    pub disabled: bool,
    /// For information only.
    pub owner: Option<String>,
    /// For information only; read by people and their tools.
    pub metadata: BTreeMap<String, String>,
    pub limits: Limits,
    #[schema(value_type = Option<Object>)]
    pub budget: Option<Budget>,
}

/// A key as stored in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(expecting = "struct Entry")]
pub struct KeyEntry {
    pub name: String,
    pub made: GeneratedKey,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; `None` if the key was never rotated.
    pub rotated_at: Option<String>,
    pub terms: KeyPolicy,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    keys: Vec<KeyEntry>,
}

/// A key operation that failed because of the caller's input.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("unknown key \"{0}\"")]
    NotFound(String),
    #[error("the key \"{0}\" already exists")]
    Exists(String),
    #[error("{0}")]
    KeyPolicy(String),
}

pub struct ClientKeys {
    path: PathBuf,
}

/// Returns the path of the key file in a state folder.
pub fn path(state: &Path) -> PathBuf {
    state.join("keys.json")
}

impl ClientKeys {
    pub fn of(state: &Path) -> Self {
        Self { path: path(state) }
    }

    pub fn list(&self) -> anyhow::Result<Vec<KeyEntry>> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{} can't be read", self.path.display()));
            }
        };
        secure_fs::ensure(&self.path)?;
        let file: File = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} can't be read", self.path.display()))?;
        Ok(file.keys)
    }

    /// Creates a key. Returns the secret too, which is not stored.
    pub fn create(&self, name: &str, terms: KeyPolicy) -> anyhow::Result<(KeyEntry, String)> {
        check(name, &terms)?;
        if let Some(state) = self.path.parent() {
            AccessLatch::of_state(state).set()?;
        }
        self.change(|keys| {
            if keys.iter().any(|entry| entry.name == name) {
                bail!(KeyError::Exists(name.to_owned()));
            }
            let (made, secret) = make()?;
            let entry = KeyEntry {
                name: name.to_owned(),
                made,
                created_at: jiff::Timestamp::now().to_string(),
                rotated_at: None,
                terms,
            };
            keys.push(entry.clone());
            Ok((entry, secret))
        })
    }

    /// Replaces a key's secret, keeping its terms.
    pub fn rotate(&self, name: &str) -> anyhow::Result<(KeyEntry, String)> {
        self.change(|keys| {
            let entry = find(keys, name)?;
            let (made, secret) = make()?;
            entry.made = made;
            entry.rotated_at = Some(jiff::Timestamp::now().to_string());
            Ok((entry.clone(), secret))
        })
    }

    /// Replaces the terms of a key. Fails if the new terms omit a current restriction, which would
    /// widen the key unnoticed.
    pub fn replace_terms(
        &self,
        name: &str,
        terms: &Map<String, Value>,
    ) -> anyhow::Result<KeyEntry> {
        self.change_terms(name, |before| {
            if let Some(field) = terms::left_out(before, terms) {
                let message = format!(
                    "`{field}` restricts the key \"{name}\" and is missing; include it, or change single fields with PATCH"
                );
                return Err(KeyError::KeyPolicy(message));
            }
            terms::parse(terms.clone().into())
        })
    }

    /// Applies a JSON Merge Patch (RFC 7396) to the terms of a key; `null` resets a term.
    pub fn patch_terms(&self, name: &str, patch: &Map<String, Value>) -> anyhow::Result<KeyEntry> {
        self.change_terms(name, |before| terms::patched(before, patch))
    }

    fn change_terms(
        &self,
        name: &str,
        change: impl FnOnce(&KeyPolicy) -> Result<KeyPolicy, KeyError>,
    ) -> anyhow::Result<KeyEntry> {
        self.change(|keys| {
            let entry = find(keys, name)?;
            let terms = change(&entry.terms)?;
            check(name, &terms)?;
            entry.terms = terms;
            Ok(entry.clone())
        })
    }

    pub fn revoke(&self, name: &str) -> anyhow::Result<()> {
        self.change(|keys| {
            find(keys, name)?;
            keys.retain(|entry| entry.name != name);
            Ok(())
        })
    }

    /// Reads, changes and writes the file under a lock that excludes other processes.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<KeyEntry>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        if let Some(folder) = self.path.parent() {
            secure_fs::create_dir(folder)?;
        }
        let lock = secure_fs::lock_file(&self.path.with_extension("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut keys = self.list()?;
        let changed = change(&mut keys)?;
        secure_fs::replace(&self.path, &serde_json::to_vec_pretty(&File { keys })?)?;
        Ok(changed)
    }
}

fn find<'a>(keys: &'a mut [KeyEntry], name: &str) -> anyhow::Result<&'a mut KeyEntry> {
    let found = keys.iter_mut().find(|entry| entry.name == name);
    found.ok_or_else(|| KeyError::NotFound(name.to_owned()).into())
}

fn check(name: &str, terms: &KeyPolicy) -> anyhow::Result<()> {
    let is_name = model::is_plausible_name(name) && !name.contains('/');
    let words = "A key's name must be a word of at most 200 characters, without spaces or slashes";
    ensure!(is_name, KeyError::KeyPolicy(words.to_owned()));
    for pattern in &terms.endpoints {
        let path = pattern
            .split_once(' ')
            .map_or(pattern.as_str(), |(_, path)| path);
        let words = format!(
            "\"{pattern}\" in `endpoints` is not a path; write one such as `POST /v1/chat/*`"
        );
        ensure!(
            path.starts_with('/') || path == "*",
            KeyError::KeyPolicy(words)
        );
    }
    if let Some(problem) = terms.budget.and_then(|budget| budget.problem()) {
        bail!(KeyError::KeyPolicy(format!("`budget` {problem}")));
    }
    Ok(())
}

fn make() -> anyhow::Result<(GeneratedKey, String)> {
    let id: [u8; ID_BYTES] = secure_fs::random()?;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let random: [u8; SECRET_BYTES] = secure_fs::random()?;
    let secret = access::secret(&id, &URL_SAFE_NO_PAD.encode(random));
    let salt: [u8; SALT_BYTES] = secure_fs::random()?;
    let made = GeneratedKey {
        id,
        salt: BASE64.encode(salt),
        digest: BASE64.encode(access::digest(&salt, &secret)),
    };
    Ok((made, secret))
}

impl From<KeyEntry> for ClientKey {
    fn from(KeyEntry { made, terms, .. }: KeyEntry) -> Self {
        Self {
            role: terms.role,
            models: terms.models,
            endpoints: terms.endpoints,
            expires_at: terms.expires_at,
            disabled: terms.disabled,
            limits: terms.limits,
            budget: terms.budget.map(unplaced),
            made: Some(made),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_rotated_and_revoked_and_is_not_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ClientKeys::of(folder.path());
        assert!(keys.list().unwrap().is_empty());
        let (_, secret) = keys.create("team-a", KeyPolicy::default()).unwrap();
        let kept = |secret: &str| {
            let entries = keys.list().unwrap().into_iter();
            let all = entries.filter_map(|entry| {
                let name = entry.name.clone();
                ClientKey::from(entry).to_key(&name)
            });
            let keyring: access::Keyring = all.collect();
            keyring.check(Some(secret), 0).is_ok()
        };
        assert!(kept(&secret));
        assert!(keys.create("team-a", KeyPolicy::default()).is_err());
        let (_, next) = keys.rotate("team-a").unwrap();
        assert!(kept(&next) && !kept(&secret));
        let file = std::fs::read_to_string(path(folder.path())).unwrap();
        // The random part may contain an underscore.
        let random = next.splitn(3, '_').last().unwrap();
        assert!(!file.contains(random), "only a digest is kept");
        keys.revoke("team-a").unwrap();
        assert!(!kept(&next));
        assert!(keys.revoke("team-a").is_err());
    }

    #[test]
    fn terms_that_mean_nothing_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ClientKeys::of(folder.path());
        let terms = |json: &str| serde_json::from_str::<KeyPolicy>(json).unwrap();
        for (name, terms) in [
            ("a b", KeyPolicy::default()),
            ("a", terms(r#"{"endpoints": ["POST v1"]}"#)),
            ("a", terms(r#"{"budget": {"soft": 2, "hard": 1}}"#)),
        ] {
            let error = keys.create(name, terms).unwrap_err();
            assert!(error.downcast_ref::<KeyError>().is_some(), "{error}");
        }
    }
}
