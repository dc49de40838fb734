//! Google access tokens: a service account's signed assertion, exchanged for a token, or Google's
//! default credentials chain.

use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use gcp_auth::{CustomServiceAccount, TokenProvider};

use crate::resolved::Resolved;
use opentracy_config::credential::Credential;

const SCOPES: &[&str] = &["https://www.googleapis.com/auth/cloud-platform"];

pub async fn resolve(file: Option<&Path>) -> anyhow::Result<Resolved> {
    let token = match file {
        Some(file) => {
            let account = CustomServiceAccount::from_file(file)
                .with_context(|| format!("{} is not a service account key", file.display()))?;
            account.token(SCOPES).await
        }
        None => {
            let provider = gcp_auth::provider()
                .await
                .context("set GOOGLE_APPLICATION_CREDENTIALS to a service account's file")?;
            provider.token(SCOPES).await
        }
    }
    .context("no token was returned")?;
    Ok(Resolved {
        expires: Some(SystemTime::from(token.expires_at())),
        credential: Credential::Token(token.as_str().to_owned()),
    })
}
