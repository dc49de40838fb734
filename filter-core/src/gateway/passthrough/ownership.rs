//! Ownership of the objects that a provider stores: checked before a request is sent, and recorded
//! from its answer.
//!
//! The control plane stores the owners. It is called only for these requests, and they are refused
//! if it doesn't answer.

use std::time::Duration;

use opentracy_proto::v1;
use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::error::ApiError;
use opentracy_translate::resources::ids::{RequestIds, StoredObject};
use opentracy_translate::resources::list::{ObjectPage, OwnList};
use opentracy_translate::resources::path::{self, ResourcePath};
use opentracy_translate::resources::{max_page, not_found};

use crate::gateway::owners::{self, ResourceOwner};
use crate::gateway::passthrough::target::PassthroughTarget;
use crate::host::Host;
use crate::{provider_keys, upstream};

/// The maximum number of pages that are read for one answer.
const MAX_PAGES: u32 = 100;

/// A call's use of stored objects.
#[derive(Debug)]
pub struct Ownership {
    owner: ResourceOwner,
    kind: Kind,
    /// The ids that the request names.
    ids: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
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

    /// Handles a provider's complete answer.
    pub fn read_answer(
        &self,
        host: &impl Host,
        target: &PassthroughTarget,
        body: Vec<u8>,
    ) -> HeldProgress {
        match &self.kind {
            Kind::List { query, .. } => {
                let Some(page) = ObjectPage::parse(&body) else {
                    return match self.owner.sees_all {
                        true => HeldProgress::Done(body),
                        false => HeldProgress::Failed(unreadable(target)),
                    };
                };
                let has_outputs = page
                    .items
                    .iter()
                    .any(|item| !item.object.outputs.is_empty());
                if self.owner.sees_all && !has_outputs {
                    return HeldProgress::Done(body);
                }
                let list = OwnList::new(body, path::page_size(query));
                self.ask_of_page(host, target, list, page, 1)
            }
            Kind::Create => {
                let Some(object) = StoredObject::parse(&body) else {
                    return HeldProgress::Failed(unreadable(target));
                };
                let Some(id) = object.id.clone() else {
                    return HeldProgress::Failed(unreadable(target));
                };
                let mut claims = vec![claim(&id, "")];
                claims.extend(outputs(&object));
                let asked = self
                    .owner
                    .resolve(host, &target.provider.name, claims, vec![id]);
                held(asked, |call| HeldAnswer::Object {
                    call,
                    body,
                    is_new: true,
                })
            }
            Kind::Object { .. } => {
                let object = StoredObject::parse(&body).unwrap_or_default();
                let claims: Vec<_> = outputs(&object).collect();
                if claims.is_empty() {
                    return HeldProgress::Done(body);
                }
                let asked = self
                    .owner
                    .resolve(host, &target.provider.name, claims, Vec::new());
                held(asked, |call| HeldAnswer::Object {
                    call,
                    body,
                    is_new: false,
                })
            }
            Kind::Proxied => HeldProgress::Done(body),
        }
    }

    fn ask_of_page(
        &self,
        host: &impl Host,
        target: &PassthroughTarget,
        list: OwnList,
        page: ObjectPage,
        pages: u32,
    ) -> HeldProgress {
        let claims = page.items.iter().flat_map(|item| outputs(&item.object));
        let claims: Vec<_> = claims.collect();
        let ids = page.ids().map(str::to_owned).collect();
        let asked = self.owner.resolve(host, &target.provider.name, claims, ids);
        held(asked, |call| HeldAnswer::Page {
            call,
            list,
            page,
            pages,
        })
    }

    /// Adds a page to a list once its owners are known, and fetches the next page if needed.
    fn on_page_owners(
        &self,
        host: &impl Host,
        target: &PassthroughTarget,
        mut list: OwnList,
        page: ObjectPage,
        pages: u32,
        owned: &[bool],
    ) -> HeldProgress {
        if self.owner.sees_all {
            let all = vec![true; page.items.len()];
            list.add(page, &all);
        } else {
            list.add(page, owned);
        }
        let Some(after) = list.next_cursor() else {
            return match list.to_body() {
                Some(body) => HeldProgress::Done(body),
                None => HeldProgress::Failed(unreadable(target)),
            };
        };
        if pages >= MAX_PAGES {
            let message = format!(
                "None of the {} objects that were searched is yours. Narrow the list, such as by `purpose`",
                MAX_PAGES as usize * max_page(self.endpoint())
            );
            let error = ApiError::new(503, message).with_code("list_too_long");
            return HeldProgress::Failed(error);
        }
        match self.fetch(host, target, after) {
            Some(call) => HeldProgress::Held(HeldAnswer::NextPage {
                call,
                list,
                pages: pages + 1,
            }),
            None => HeldProgress::Failed(unreachable(target)),
        }
    }

    fn endpoint(&self) -> Endpoint {
        match self.kind {
            Kind::List { endpoint, .. } => endpoint,
            _ => Endpoint::Files,
        }
    }

    /// Requests the page after an id from the provider.
    fn fetch(&self, host: &impl Host, target: &PassthroughTarget, after: &str) -> Option<u32> {
        let Kind::List { endpoint, query } = &self.kind else {
            return None;
        };
        let provider = &target.provider;
        let cursor = provider.format.facts().cursor;
        let base = target.path.split('?').next().unwrap_or_default();
        let next = path::next_query(query, cursor, after, max_page(*endpoint));
        let path = format!("{base}?{next}");
        let key = provider_keys::choose(host, provider);
        let mut headers = vec![
            (":method", "GET"),
            (":scheme", provider.scheme.as_str()),
            (":authority", provider.authority.as_str()),
            (":path", path.as_str()),
            ("accept", "application/json"),
            ("user-agent", upstream::USER_AGENT),
        ];
        headers.extend(provider.headers_with(key));
        let timeout = Duration::from_millis(provider.timeout_ms.into());
        host.call_http(&provider.envoy_cluster, headers, timeout)
    }
}

/// The state of a held answer.
pub enum HeldProgress {
    /// The body for the client.
    Done(Vec<u8>),
    Held(HeldAnswer),
    Failed(ApiError),
}

/// An answer that waits for its owners, or for a list's next page.
pub enum HeldAnswer {
    Object {
        call: u32,
        body: Vec<u8>,
        /// Set if the object has just been created.
        is_new: bool,
    },
    Page {
        call: u32,
        list: OwnList,
        page: ObjectPage,
        pages: u32,
    },
    NextPage {
        call: u32,
        list: OwnList,
        pages: u32,
    },
}

impl HeldAnswer {
    pub fn waits_for_grpc(&self, number: u32) -> bool {
        match self {
            Self::Object { call, .. } | Self::Page { call, .. } => *call == number,
            Self::NextPage { .. } => false,
        }
    }

    pub fn waits_for_http(&self, number: u32) -> bool {
        matches!(self, Self::NextPage { call, .. } if *call == number)
    }

    /// Resumes with the control plane's answer.
    pub fn on_owners(
        self,
        host: &impl Host,
        ownership: &Ownership,
        target: &PassthroughTarget,
        status: u32,
        size: usize,
    ) -> HeldProgress {
        let owned = match owners::read(host, status, size) {
            Ok(owned) => owned,
            Err(error) => return HeldProgress::Failed(error),
        };
        match self {
            Self::Object { body, is_new, .. } => {
                if is_new && owned.first() != Some(&true) {
                    let message = format!(
                        "{} created an object whose id belongs to another caller",
                        target.provider.name
                    );
                    let error = ApiError::new(502, message).with_code("invalid_upstream_response");
                    return HeldProgress::Failed(error);
                }
                HeldProgress::Done(body)
            }
            Self::Page {
                list, page, pages, ..
            } => ownership.on_page_owners(host, target, list, page, pages, &owned),
            Self::NextPage { .. } => HeldProgress::Held(self),
        }
    }

    /// Resumes with the provider's next page.
    pub fn on_next_page(
        self,
        host: &impl Host,
        ownership: &Ownership,
        target: &PassthroughTarget,
        size: usize,
    ) -> HeldProgress {
        let Self::NextPage { list, pages, .. } = self else {
            return HeldProgress::Held(self);
        };
        match host.http_response(size) {
            Some((200, body)) => match ObjectPage::parse(&body) {
                Some(page) => ownership.ask_of_page(host, target, list, page, pages),
                None => HeldProgress::Failed(unreadable(target)),
            },
            _ => HeldProgress::Failed(unreachable(target)),
        }
    }
}

fn held(asked: Result<u32, ApiError>, wait: impl FnOnce(u32) -> HeldAnswer) -> HeldProgress {
    match asked {
        Ok(call) => HeldProgress::Held(wait(call)),
        Err(error) => HeldProgress::Failed(error),
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

fn claim(id: &str, parent: &str) -> v1::ResourceClaim {
    v1::ResourceClaim {
        id: id.to_owned(),
        parent: parent.to_owned(),
    }
}

/// Returns the claims that give an object's outputs to its owner.
fn outputs(object: &StoredObject) -> impl Iterator<Item = v1::ResourceClaim> {
    let id = object.id.as_deref().unwrap_or_default();
    let outputs = object.outputs.iter().filter(move |_| !id.is_empty());
    outputs.map(move |output| claim(output, id))
}

fn unreadable(target: &PassthroughTarget) -> ApiError {
    let message = format!(
        "{} answered in a format that does not show which key an object belongs to",
        target.provider.name
    );
    ApiError::new(502, message).with_code("invalid_upstream_response")
}

fn unreachable(target: &PassthroughTarget) -> ApiError {
    let message = format!("{} did not answer with the next page", target.provider.name);
    ApiError::new(502, message).with_code("upstream_unreachable")
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
