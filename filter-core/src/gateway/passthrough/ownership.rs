//! Ownership of the stored objects that a request names, checked before it is sent.
//!
//! The control plane stores the owners. It is called only for these requests, and they are refused
//! if it doesn't answer.

use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::error::ApiError;
use opentracy_translate::resources::ids::RequestIds;
use opentracy_translate::resources::not_found;
use opentracy_translate::resources::path::{self, ResourcePath};

use crate::gateway::owners::{self, ResourceOwner};
use crate::host::Host;

/// A call's use of stored objects.
#[derive(Debug)]
pub struct Ownership {
    pub(super) owner: ResourceOwner,
    pub(super) kind: Kind,
    /// The ids that the request names.
    ids: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    List {
        endpoint: Endpoint,
        query: String,
    },
    Create,
    /// Reads or changes one object. Only a batch's answer names others.
    Object {
        is_batch: bool,
    },
    /// A provider's own API.
    Proxied,
}

impl Ownership {
    /// Parses a request to `/v1/files` or `/v1/batches`. Returns `None` if its body is needed
    /// first.
    pub fn of_resource(
        endpoint: Endpoint,
        owner: ResourceOwner,
        method: &str,
        target: &str,
        body: Option<&[u8]>,
    ) -> Result<Option<Self>, ApiError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut ids = path::cursors(query);
        let kind = match (ResourcePath::parse(endpoint, path)?, method) {
            (ResourcePath::Collection, "GET") => Kind::List {
                endpoint,
                query: query.to_owned(),
            },
            (ResourcePath::Collection, "POST") => {
                // A file is streamed and names no other files.
                if endpoint == Endpoint::Batches {
                    let Some(body) = body else {
                        return Ok(None);
                    };
                    ids.extend(named_by(body, &owner)?);
                }
                Kind::Create
            }
            (ResourcePath::Collection, _) => {
                let message = format!("{path} takes GET and POST requests only");
                return Err(ApiError::new(405, message).with_code("method_not_allowed"));
            }
            (ResourcePath::Object { id, action }, _) => {
                ids.push(id.to_owned());
                Kind::Object {
                    is_batch: endpoint == Endpoint::Batches && action.is_none_or(|a| a == "cancel"),
                }
            }
        };
        Ok(Some(Self { owner, kind, ids }))
    }

    /// Reads the objects that a request to a provider's own API names, for a caller that may not
    /// see all objects.
    pub fn of_proxied(owner: ResourceOwner, body: &[u8]) -> Result<Self, ApiError> {
        Ok(Self {
            ids: named_by(body, &owner)?,
            kind: Kind::Proxied,
            owner,
        })
    }

    /// Returns whether the control plane must be asked before the request is sent. This includes
    /// requests that create an object, because without a stored owner it would belong to no key.
    pub fn asks_first(&self) -> bool {
        self.kind == Kind::Create || (!self.owner.sees_all && !self.ids.is_empty())
    }

    /// Asks whether the caller owns the ids.
    pub fn ask(&self, host: &impl Host, provider: &str) -> Result<u32, ApiError> {
        let ids = match self.owner.sees_all {
            true => Vec::new(),
            false => self.ids.clone(),
        };
        self.owner.resolve(host, provider, Vec::new(), ids)
    }

    /// Reads the control plane's answer to [`Self::ask`].
    pub fn check(&self, host: &impl Host, status: u32, size: usize) -> Result<(), ApiError> {
        let owned = owners::read(host, status, size)?;
        if self.owner.sees_all {
            return Ok(());
        }
        let mut ids = self.ids.iter().enumerate();
        match ids.find(|(index, _)| owned.get(*index) != Some(&true)) {
            Some((_, id)) => Err(not_found(id)),
            None => Ok(()),
        }
    }

    /// Returns whether the answer must be complete before the client gets any of it.
    pub fn reads_answer(&self) -> bool {
        match self.kind {
            Kind::List { .. } | Kind::Create => true,
            Kind::Object { is_batch } => is_batch,
            Kind::Proxied => false,
        }
    }
}

/// Returns the ids that a body names. Ids of objects whose owners aren't recorded count as not
/// found.
fn named_by(body: &[u8], owner: &ResourceOwner) -> Result<Vec<String>, ApiError> {
    let named = RequestIds::find(body);
    match named.others.first() {
        Some(id) if !owner.sees_all => Err(not_found(id)),
        _ => Ok(named.files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(sees_all: bool) -> ResourceOwner {
        ResourceOwner {
            name: "key:a".to_owned(),
            sees_all,
        }
    }

    fn of(endpoint: Endpoint, method: &str, target: &str, body: Option<&[u8]>) -> Ownership {
        let found = Ownership::of_resource(endpoint, owner(false), method, target, body);
        found.unwrap().unwrap()
    }

    #[test]
    fn every_id_of_a_request_is_checked() {
        let content = of(Endpoint::Files, "GET", "/v1/files/file-1/content", None);
        assert_eq!(content.ids, ["file-1"]);
        assert!(content.asks_first() && !content.reads_answer());
        let list = of(Endpoint::Files, "GET", "/v1/files?after=file-2", None);
        assert_eq!(list.ids, ["file-2"]);
        assert!(list.asks_first() && list.reads_answer());
        let body = br#"{"input_file_id":"file-3"}"#;
        let batch = of(Endpoint::Batches, "POST", "/v1/batches", Some(body));
        assert_eq!(batch.ids, ["file-3"]);
        let cancel = of(Endpoint::Batches, "POST", "/v1/batches/b/cancel", None);
        assert_eq!(cancel.ids, ["b"]);
        assert!(cancel.reads_answer(), "it may name the batch's output");
    }

    #[test]
    fn a_batch_waits_for_its_body_and_a_file_does_not() {
        let of =
            |endpoint, path| Ownership::of_resource(endpoint, owner(false), "POST", path, None);
        assert!(of(Endpoint::Batches, "/v1/batches").unwrap().is_none());
        let file = of(Endpoint::Files, "/v1/files").unwrap().unwrap();
        assert!(file.asks_first(), "no file without an owner");
    }

    #[test]
    fn an_administrator_needs_no_owner_to_be_known() {
        let of = |method: &str, path: &str| {
            let found =
                Ownership::of_resource(Endpoint::Files, owner(true), method, path, None).unwrap();
            found.unwrap().asks_first()
        };
        assert!(!of("GET", "/v1/files") && !of("DELETE", "/v1/files/file-1"));
        assert!(of("POST", "/v1/files"), "but what it creates is its own");
    }

    #[test]
    fn a_collection_is_listed_or_added_to_and_nothing_else() {
        for method in ["DELETE", "PUT", "HEAD", "get"] {
            let found =
                Ownership::of_resource(Endpoint::Files, owner(false), method, "/v1/files", None);
            assert_eq!(found.unwrap_err().status, 405, "{method}");
        }
    }

    #[test]
    fn a_proxied_body_names_no_object_of_unknown_owner() {
        let body = br#"{"previous_response_id":"resp_1"}"#;
        let error = Ownership::of_proxied(owner(false), body).unwrap_err();
        assert_eq!(error.status, 404);
        let own = Ownership::of_proxied(owner(false), br#"{"file_id":"file-1"}"#).unwrap();
        assert!(own.asks_first() && !own.reads_answer());
        let none = Ownership::of_proxied(owner(false), b"{}").unwrap();
        assert!(!none.asks_first());
    }
}
