//! The sources of credentials that expire, and fetched credentials.

use std::collections::BTreeMap;
use std::path::PathBuf;

use opentracy_translate::aws::sigv4;

/// The source of a provider's credentials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// AWS's chain: environment, profiles, web identity, containers, instance metadata.
    Aws { profile: Option<String> },
    /// A service account's file, or Google's default chain without one.
    Google { file: Option<PathBuf> },
}

/// A fetched credential. It must not be logged, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    Aws(sigv4::AwsCredentials),
    /// For `Authorization: Bearer`.
    Token(String),
}

/// Credentials by source.
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
