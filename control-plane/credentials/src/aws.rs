//! AWS credentials from the default chain of its SDK.

use anyhow::Context as _;
use aws_config::BehaviorVersion;
use aws_credential_types::provider::ProvideCredentials as _;
use opentracy_translate::aws::sigv4;

use crate::resolved::Resolved;
use opentracy_config::credential::Credential;

pub async fn resolve(profile: Option<&str>) -> anyhow::Result<Resolved> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
    }
    let config = loader.load().await;
    let credentials = config
        .credentials_provider()
        .context("AWS's SDK has no credentials provider")?
        .provide_credentials()
        .await
        .context("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or AWS_BEARER_TOKEN_BEDROCK")?;
    Ok(Resolved {
        expires: credentials.expiry(),
        credential: Credential::Aws(sigv4::AwsCredentials {
            access_key_id: credentials.access_key_id().to_owned(),
            secret_access_key: credentials.secret_access_key().to_owned(),
            session_token: credentials.session_token().map(str::to_owned),
        }),
    })
}
