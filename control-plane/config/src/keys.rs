//! Lookup of API keys in the secrets file and the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use opentracy_translate::internal_auth::{Purpose, derive_secret};

use crate::secrets;
use opentracy_base::secure_fs;

/// The secrets set over REST and those of the secrets file, read once. The environment is read at
/// each lookup.
#[derive(Clone, Default)]
pub struct Keys {
    secrets: BTreeMap<String, String>,
    /// The root of the secrets with which the control plane and the filter authenticate to each
    /// other.
    internal_root: String,
}

/// Omits the keys, which must not be logged.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.secrets.keys()).finish()
    }
}

impl Keys {
    /// Reads the secrets of a state folder. Those set over REST take precedence over the secrets
    /// file.
    pub fn of(state: &Path) -> anyhow::Result<Self> {
        let mut keys = Self::read(&state.join("secrets.json"))?;
        keys.secrets
            .extend(secrets::read(state)?.unwrap_or_default());
        keys.internal_root = secrets::internal_token(state)?;
        Ok(keys)
    }

    /// Reads a secrets file: a JSON object such as `{"openai_api_key": "…"}`. A missing file holds
    /// no keys.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("{} can't be read", path.display()));
            }
        };
        secure_fs::ensure(path)?;
        // The parser's message could quote the file, so only the position is reported.
        let secrets = serde_json::from_str(&text).map_err(|error| {
            anyhow::anyhow!(
                "{}, line {}: write a JSON object of strings, such as {{\"openai_api_key\": \"…\"}}",
                path.display(),
                error.line()
            )
        })?;
        Ok(Self {
            secrets,
            ..Self::default()
        })
    }

    /// Returns the secret that the control plane and the filter share for a purpose.
    pub fn secret(&self, purpose: Purpose) -> String {
        derive_secret(&self.internal_root, purpose)
    }

    /// Returns the key for an environment variable; the secrets file has it in lower case. An empty
    /// key counts as missing.
    pub fn get(&self, variable: &str) -> Option<String> {
        self.secrets
            .get(&variable.to_ascii_lowercase())
            .cloned()
            .or_else(|| std::env::var(variable).ok())
            .map(|key| key.trim().to_owned())
            .filter(|key| !key.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_secrets_file_is_not_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"openai_api_key\": sk-very-secret}").unwrap();
        let error = format!("{:#}", Keys::read(file.path()).unwrap_err());
        assert!(
            error.contains("line 1") && !error.contains("sk-very"),
            "{error}"
        );
    }

    #[test]
    fn a_secrets_file_that_others_can_read_is_refused_with_what_to_run() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{}").unwrap();
        for mode in [0o644, 0o640, 0o604] {
            let open = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(file.path(), open).unwrap();
            let error = Keys::read(file.path()).unwrap_err().to_string();
            let command = format!("chmod 600 {}", file.path().display());
            assert!(error.contains(&command), "{error}");
        }
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"openai_api_key\": \"sk-very-secret\"}").unwrap();
        let keys = Keys::read(file.path()).unwrap();
        assert_eq!(
            keys.get("OPENAI_API_KEY").as_deref(),
            Some("sk-very-secret")
        );
        assert!(!format!("{keys:?}").contains("sk-very"));
    }
}
