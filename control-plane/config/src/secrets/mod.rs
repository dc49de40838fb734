//! Provider keys that were set over REST: encrypted at rest, never shown.
//!
//! Each secret is encrypted separately with XChaCha20-Poly1305, with its name as associated data,
//! so that one can't be put in another's place.

mod internal_token;

pub use internal_token::internal_token;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use opentracy_base::secure_fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The variable with the master key, 32 bytes in base64. If it isn't set, the key is in a file.
pub const MASTER_KEY: &str = "OPENTRACY_MASTER_KEY";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// The encrypted secrets and their file.
pub struct Vault {
    path: PathBuf,
    key: [u8; KEY_BYTES],
}

/// The content of the file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    secrets: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    nonce: String,
    ciphertext: String,
    /// RFC 3339.
    updated_at: String,
    /// Lets an owner check that a secret is the one they have; reveals nothing else of it.
    fingerprint: String,
}

/// The public description of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretDescription {
    pub name: String,
    pub fingerprint: String,
    pub updated_at: String,
}

/// Returns the path of the encrypted secrets in a state folder.
pub fn path(state: &Path) -> PathBuf {
    state.join("secrets.sealed.json")
}

/// Returns the secrets of a state folder, or `None` if none were ever set.
pub fn read(state: &Path) -> anyhow::Result<Option<BTreeMap<String, String>>> {
    if !path(state).exists() {
        return Ok(None);
    }
    Vault::open(state)?.all().map(Some)
}

impl Vault {
    /// Opens the vault of a state folder. The first time, generates a master key unless the
    /// environment has one.
    pub fn open(state: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            path: path(state),
            key: master_key(state)?,
        })
    }

    pub fn all(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let sealed = self.load()?;
        let entries = sealed.secrets.iter();
        entries
            .map(|(name, entry)| Ok((name.clone(), self.unseal(name, entry)?)))
            .collect()
    }

    pub fn list(&self) -> anyhow::Result<Vec<SecretDescription>> {
        let entries = self.load()?.secrets.into_iter();
        Ok(entries
            .map(|(name, entry)| describe(&name, &entry))
            .collect())
    }

    pub fn set(&self, name: &str, value: &str) -> anyhow::Result<SecretDescription> {
        let mut sealed = self.load()?;
        let entry = self.seal(name, value)?;
        let description = describe(name, &entry);
        sealed.secrets.insert(name.to_owned(), entry);
        self.save(&sealed)?;
        Ok(description)
    }

    /// Returns true if there was one.
    pub fn remove(&self, name: &str) -> anyhow::Result<bool> {
        let mut sealed = self.load()?;
        let was_there = sealed.secrets.remove(name).is_some();
        if was_there {
            self.save(&sealed)?;
        }
        Ok(was_there)
    }

    fn load(&self) -> anyhow::Result<Sealed> {
        match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} can't be read", self.path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Sealed::default()),
            Err(error) => {
                Err(error).with_context(|| format!("{} can't be read", self.path.display()))
            }
        }
    }

    fn save(&self, sealed: &Sealed) -> anyhow::Result<()> {
        secure_fs::replace(&self.path, &serde_json::to_vec_pretty(sealed)?)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.key.into())
    }

    fn seal(&self, name: &str, value: &str) -> anyhow::Result<Entry> {
        let nonce: [u8; NONCE_BYTES] = secure_fs::random()?;
        let payload = Payload {
            msg: value.as_bytes(),
            aad: name.as_bytes(),
        };
        let sealed = self.cipher().encrypt(&nonce.into(), payload);
        let ciphertext = sealed.map_err(|_| anyhow::anyhow!("the secret can't be encrypted"))?;
        Ok(Entry {
            nonce: BASE64.encode(nonce),
            ciphertext: BASE64.encode(ciphertext),
            updated_at: jiff::Timestamp::now().to_string(),
            fingerprint: self.fingerprint(value),
        })
    }

    fn unseal(&self, name: &str, entry: &Entry) -> anyhow::Result<String> {
        let open = || {
            let nonce: [u8; NONCE_BYTES] = BASE64.decode(&entry.nonce).ok()?.try_into().ok()?;
            let ciphertext = BASE64.decode(&entry.ciphertext).ok()?;
            let payload = Payload {
                msg: &ciphertext,
                aad: name.as_bytes(),
            };
            let value = self.cipher().decrypt(&nonce.into(), payload).ok()?;
            String::from_utf8(value).ok()
        };
        open().with_context(|| {
            format!(
                "the secret \"{name}\" in {} can't be decrypted with this master key; set {MASTER_KEY} to the one it was encrypted with, or set the secret again",
                self.path.display()
            )
        })
    }

    /// Returns a fingerprint keyed with the master key, so that nobody can test guesses without it.
    fn fingerprint(&self, value: &str) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        hasher.update(value.as_bytes());
        let digest = hasher.finalize();
        digest
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

fn describe(name: &str, entry: &Entry) -> SecretDescription {
    SecretDescription {
        name: name.to_owned(),
        fingerprint: entry.fingerprint.clone(),
        updated_at: entry.updated_at.clone(),
    }
}

fn master_key(state: &Path) -> anyhow::Result<[u8; KEY_BYTES]> {
    if let Ok(text) = std::env::var(MASTER_KEY) {
        return parse_key(&text).with_context(|| {
            format!("{MASTER_KEY} must be 32 bytes in base64; `openssl rand -base64 32` prints such a key")
        });
    }
    let path = state.join("master.key");
    if !path.exists() {
        secure_fs::create_dir(state)?;
        let key: [u8; KEY_BYTES] = secure_fs::random()?;
        secure_fs::create_once(&path, BASE64.encode(key).as_bytes())?;
        tracing::info!("generated a master key: {}; keep a copy", path.display());
    }
    secure_fs::ensure(&path)?;
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} can't be read", path.display()))?;
    parse_key(&text).with_context(|| format!("{} must be 32 bytes in base64", path.display()))
}

fn parse_key(text: &str) -> anyhow::Result<[u8; KEY_BYTES]> {
    let bytes = BASE64.decode(text.trim())?;
    let length = bytes.len();
    bytes
        .try_into()
        .map_err(|_| anyhow::anyhow!("it is {length} bytes long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_kept_and_are_not_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_none());
        let vault = Vault::open(folder.path()).unwrap();
        let described = vault.set("openai_api_key", "sk-very-secret").unwrap();
        vault.set("groq_api_key", "gsk-other").unwrap();
        let file = std::fs::read_to_string(path(folder.path())).unwrap();
        assert!(file.contains("openai_api_key") && !file.contains("sk-very"));
        let all = read(folder.path()).unwrap().unwrap();
        assert_eq!(all["openai_api_key"], "sk-very-secret");
        assert_eq!(vault.list().unwrap()[1], described);
        assert!(vault.remove("groq_api_key").unwrap());
        assert!(!vault.remove("groq_api_key").unwrap());
        assert_eq!(vault.list().unwrap().len(), 1);
    }

    #[test]
    fn one_secret_is_not_taken_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path()).unwrap();
        vault.set("a", "first-value").unwrap();
        vault.set("b", "second-value").unwrap();
        let mut sealed = vault.load().unwrap();
        let (a, b) = (sealed.secrets.remove("a"), sealed.secrets.remove("b"));
        sealed
            .secrets
            .extend([("a".to_owned(), b.unwrap()), ("b".to_owned(), a.unwrap())]);
        vault.save(&sealed).unwrap();
        let error = format!("{:#}", vault.all().unwrap_err());
        assert!(
            error.contains("master key") && !error.contains("-value"),
            "{error}"
        );
    }

    #[test]
    fn files_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        Vault::open(folder.path()).unwrap().set("a", "one").unwrap();
        for name in ["master.key", "secrets.sealed.json"] {
            let mode = std::fs::metadata(folder.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(folder.path().join("master.key"), open).unwrap();
        let error = Vault::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
