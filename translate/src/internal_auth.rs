//! Credentials that authenticate the control plane and the filter to each other.
//!
//! The root secret is never sent. Each purpose has a secret derived from it, so that a leaked one
//! gives no access to anything else. A request to the management interface carries a signature of
//! that one request instead of a secret.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// Maximum clock skew and lifetime of a signature, in seconds.
const MAX_AGE_SECONDS: u64 = 60;

/// A purpose of a derived secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The filter calls the control plane over gRPC.
    Grpc,
    /// The control plane calls models through the gateway, for a caller that it has admitted.
    Gateway,
    /// The gateway calls agents on the control plane.
    Agents,
    /// The filter signs requests that it forwards to the management interface.
    Management,
    /// Name of the header in which Envoy stores a verified token's payload.
    JwtHeader,
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Gateway => "gateway",
            Self::Agents => "agents",
            Self::Management => "management",
            Self::JwtHeader => "jwt header",
        }
    }
}

/// Derives the secret of a purpose from the root secret: HMAC-SHA256 in hexadecimal. Empty if the
/// root secret is empty.
pub fn derive_secret(root: &str, purpose: Purpose) -> String {
    if root.is_empty() {
        return String::new();
    }
    mac(root, &["opentracy", purpose.label()])
}

/// The signed parts of a request to the management interface.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    pub method: &'a str,
    /// Includes the query.
    pub path: &'a str,
    /// Name of the key on whose behalf the call is made; empty for a caller without one.
    pub on_behalf_of: &'a str,
}

impl SignedRequest<'_> {
    /// Returns the token for this request: the time and a signature, `SECONDS.HEX`.
    pub fn sign(&self, secret: &str, now_unix_seconds: u64) -> String {
        format!("{now_unix_seconds}.{}", self.mac(secret, now_unix_seconds))
    }

    /// Returns true if a token is for this request and recent.
    pub fn verify(&self, secret: &str, token: &str, now_unix_seconds: u64) -> bool {
        let Some((seconds, signature)) = token.split_once('.') else {
            return false;
        };
        let Ok(seconds) = seconds.parse::<u64>() else {
            return false;
        };
        !secret.is_empty()
            && seconds.abs_diff(now_unix_seconds) <= MAX_AGE_SECONDS
            && bool::from(
                self.mac(secret, seconds)
                    .as_bytes()
                    .ct_eq(signature.as_bytes()),
            )
    }

    fn mac(&self, secret: &str, unix_seconds: u64) -> String {
        let time = unix_seconds.to_string();
        mac(secret, &[self.method, self.path, self.on_behalf_of, &time])
    }
}

/// Returns an HMAC-SHA256 over parts, each prefixed with its length, so that different lists of
/// parts never collide.
fn mac(key: &str, parts: &[&str]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else {
        return String::new();
    };
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    let digest = mac.finalize().into_bytes();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: SignedRequest<'_> = SignedRequest {
        method: "GET",
        path: "/statsz?a=b",
        on_behalf_of: "team",
    };

    #[test]
    fn each_purpose_has_a_secret_of_its_own() {
        let purposes = [
            Purpose::Grpc,
            Purpose::Gateway,
            Purpose::Agents,
            Purpose::Management,
            Purpose::JwtHeader,
        ];
        let mut secrets: Vec<_> = purposes.map(|each| derive_secret("root", each)).to_vec();
        secrets.sort();
        secrets.dedup();
        assert_eq!(secrets.len(), purposes.len());
        assert_eq!(derive_secret("", Purpose::Grpc), "");
    }

    #[test]
    fn a_token_is_for_one_request_and_one_minute() {
        let token = REQUEST.sign("s", 1000);
        assert!(REQUEST.verify("s", &token, 1000));
        assert!(REQUEST.verify("s", &token, 1060));
        assert!(!REQUEST.verify("s", &token, 1061));
        assert!(!REQUEST.verify("other", &token, 1000));
        assert!(!REQUEST.verify("", &REQUEST.sign("", 1000), 1000));
        for other in [
            SignedRequest {
                method: "POST",
                ..REQUEST
            },
            SignedRequest {
                path: "/v1/keys",
                ..REQUEST
            },
            SignedRequest {
                on_behalf_of: "admin",
                ..REQUEST
            },
        ] {
            assert!(!other.verify("s", &token, 1000), "{other:?}");
        }
        for broken in ["", ".", "1000.", "x.y", "1000"] {
            assert!(!REQUEST.verify("s", broken, 1000), "{broken}");
        }
    }
}
