//! The secret that callers of the gRPC services must present, since snapshots hold provider keys.

use opentracy_translate::access;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use opentracy_config::snapshot::ActiveConfig;

/// Admits callers that present the secret, which stays the same for the life of the process.
#[derive(Clone)]
pub struct CallCredential {
    secret: String,
}

impl CallCredential {
    pub fn new(snapshot: &ActiveConfig) -> Self {
        Self {
            secret: snapshot.grpc_secret().to_owned(),
        }
    }
}

impl Interceptor for CallCredential {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let token = request.metadata().get(access::TOKEN_HEADER);
        let token = token.and_then(|token| token.to_str().ok());
        if !self.secret.is_empty()
            && token.is_some_and(|token| access::is_same(&self.secret, token))
        {
            return Ok(request);
        }
        tracing::warn!(
            event = "grpc_caller_refused",
            "denied a caller without the gRPC token; regenerate Envoy's configuration with `opentracy envoy-config`, for the same state folder"
        );
        Err(Status::unauthenticated(
            "the gRPC token is missing or wrong; regenerate Envoy's configuration with `opentracy envoy-config`",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_is_admitted() {
        let mut credential = CallCredential {
            secret: "s".to_owned(),
        };
        let mut admits = |token: Option<&str>| {
            let mut request = Request::new(());
            if let Some(token) = token {
                let token = token.parse().unwrap();
                request.metadata_mut().insert(access::TOKEN_HEADER, token);
            }
            credential.call(request).is_ok()
        };
        assert!(admits(Some("s")));
        assert!(!admits(None) && !admits(Some("")) && !admits(Some("other")));
        let mut unset = CallCredential {
            secret: String::new(),
        };
        assert!(unset.call(Request::new(())).is_err());
    }
}
