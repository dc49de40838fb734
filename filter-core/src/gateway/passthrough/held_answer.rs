//! A provider's answer that is held back: until the owners of the objects in it are known, or, of a
//! new object, recorded.

use std::time::Duration;

use opentracy_proto::v1;
use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::error::ApiError;
use opentracy_translate::resources::ids::StoredObject;
use opentracy_translate::resources::list::{ObjectPage, OwnList};
use opentracy_translate::resources::max_page;
use opentracy_translate::resources::path;

use super::ownership::{Kind, Ownership};
use super::target::PassthroughTarget;
use crate::gateway::owners;
use crate::host::Host;
use crate::{provider_keys, upstream};

/// The maximum number of pages that are read for one answer.
const MAX_PAGES: u32 = 100;

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

impl Ownership {
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
