//! The sources of credentials that expire, and the credentials in hand.

use std::collections::BTreeMap;
use std::path::PathBuf;

use opentracy_translate::aws::sigv4;

/// Where a provider's credentials come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// AWS's chain: environment, profiles, web identity, containers, instance metadata.
    Aws { profile: Option<String> },
    /// A service account's file, or Google's chain where there is none.
    Google { file: Option<PathBuf> },
}

/// Credentials in hand. They are not for logs, so there is no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    Aws(sigv4::Credentials),
    /// For `Authorization: Bearer`.
    Token(String),
}

/// By source.
pub type Credentials = BTreeMap<Source, Credential>;

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Aws { profile: None } => f.write_str("AWS"),
            Self::Aws {
                profile: Some(profile),
            } => write!(f, "AWS (profile {profile})"),
            Self::Google { file: None } => f.write_str("Google"),
            Self::Google { file: Some(file) } => write!(f, "Google ({})", file.display()),
        }
    }
}
