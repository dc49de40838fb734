//! Credentials from a source.

use std::time::SystemTime;

use opentracy_config::credential::Credential;

pub struct Resolved {
    pub credential: Credential,
    pub expires: Option<SystemTime>,
}
