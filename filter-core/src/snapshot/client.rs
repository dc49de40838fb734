//! A client's key.

use opentracy_proto::v1;
use opentracy_translate::access::{Denial, Rights, Role, StoredKey};

/// A client key, with its rights and limits.
#[derive(Debug)]
pub struct Client {
    pub wire: v1::ClientKey,
    pub rights: Rights,
}

impl Client {
    pub fn check_state(&self, now_unix_seconds: u64) -> Result<(), Denial> {
        self.rights.check_state(&self.wire.name, now_unix_seconds)
    }
}

/// Returns the key that requests are checked against.
pub(super) fn key(wire: &v1::ClientKey) -> StoredKey {
    StoredKey {
        name: wire.name.clone(),
        id: wire.id.clone(),
        salt: wire.salt.clone(),
        digest: wire.sha256.clone(),
        rights: Rights {
            role: match wire.role() {
                v1::Role::Admin => Role::Admin,
                v1::Role::User => Role::User,
                v1::Role::ReadOnly => Role::ReadOnly,
            },
            models: wire.models.clone(),
            endpoints: wire.endpoints.clone(),
            expires_unix_seconds: wire.expires_unix_seconds,
            enabled: !wire.disabled,
        },
    }
}
