//! Pages of a provider's list, reduced to what the caller owns.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json;
use crate::object::Object;
use crate::resources::ids::StoredObject;

/// A page as the provider sent it.
#[derive(Debug)]
pub struct ObjectPage {
    pub items: Vec<Item>,
    pub has_more: bool,
}

/// An entry of a page.
#[derive(Debug)]
pub struct Item {
    pub object: StoredObject,
    raw: Box<RawValue>,
}

impl ObjectPage {
    /// Parses a page. Returns `None` if it is not a list, or if an entry has no id and so can't be
    /// identified.
    pub fn parse(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Wire {
            data: Vec<Box<RawValue>>,
            has_more: Option<bool>,
        }
        let wire: Wire = json::from_bytes(body).ok()?;
        let item = |raw: Box<RawValue>| {
            let object = StoredObject::parse(raw.get().as_bytes())?;
            object.id.is_some().then_some(Item { object, raw })
        };
        Some(Self {
            items: wire.data.into_iter().map(item).collect::<Option<_>>()?,
            has_more: wire.has_more.unwrap_or(false),
        })
    }

    /// Returns the ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.items
            .iter()
            .filter_map(|item| item.object.id.as_deref())
    }
}

/// The caller's part of a list, collected from one or more pages.
///
/// A client requests the page after the last entry it received, and takes an empty page for the
/// end. A page without any of the caller's entries is therefore followed by the next, until there
/// is an entry or no more pages.
#[derive(Debug)]
pub struct OwnList {
    /// The first page's body; its other members are kept.
    first_page: Vec<u8>,
    /// Maximum number of entries for the client; the first page's length if it set no limit.
    limit: usize,
    items: Vec<Item>,
    has_more: bool,
    last_seen: Option<String>,
}

impl OwnList {
    pub fn new(first_page: Vec<u8>, limit: Option<usize>) -> Self {
        Self {
            first_page,
            limit: limit.unwrap_or(0),
            items: Vec::new(),
            has_more: false,
            last_seen: None,
        }
    }

    /// Adds the caller's entries of a page. `owned` has one value per entry.
    pub fn add(&mut self, page: ObjectPage, owned: &[bool]) {
        self.limit = self.limit.max(if self.last_seen.is_none() {
            page.items.len()
        } else {
            0
        });
        self.has_more = page.has_more;
        let last = page.items.last().and_then(|item| item.object.id.clone());
        // A page that ends where the previous one did makes no progress.
        if last.is_none() || last == self.last_seen {
            self.has_more = false;
        }
        self.last_seen = last;
        let own = page.items.into_iter().zip(owned);
        self.items
            .extend(own.filter(|(_, owned)| **owned).map(|(item, _)| item));
        if self.items.len() > self.limit {
            self.items.truncate(self.limit);
            self.has_more = true;
        }
    }

    /// Returns the id after which the next page begins, if another page is needed.
    pub fn next_cursor(&self) -> Option<&str> {
        let is_needed = self.items.is_empty() && self.has_more;
        self.last_seen.as_deref().filter(|_| is_needed)
    }

    /// Returns the body for the client; `None` if the first page can't be parsed.
    pub fn to_body(&self) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(&self.first_page).ok()?;
        let mut object = Object::parse(text).ok()?;
        let data: Vec<&RawValue> = self.items.iter().map(|item| &*item.raw).collect();
        let id = |item: Option<&Item>| item.and_then(|item| item.object.id.clone());
        let (first, last) = (id(self.items.first()), id(self.items.last()));
        object.set("data", &data);
        for (name, value) in [("first_id", first), ("last_id", last)] {
            if object.get(name).is_some() {
                object.set(name, &value);
            }
        }
        if object.get("has_more").is_some() {
            object.set("has_more", &self.has_more);
        }
        // These would include other callers' objects.
        object.retain(|name| !matches!(name, "total" | "total_count"));
        Some(object.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ids: &[&str], has_more: bool) -> Vec<u8> {
        let data: Vec<String> = ids.iter().map(|id| format!(r#"{{"id":"{id}"}}"#)).collect();
        let quoted = |id: Option<&&str>| id.map_or("null".to_owned(), |id| format!("\"{id}\""));
        format!(
            r#"{{"object":"list","data":[{}],"first_id":{},"last_id":{},"has_more":{has_more},"total":99}}"#,
            data.join(","),
            quoted(ids.first()),
            quoted(ids.last()),
        )
        .into_bytes()
    }

    fn owned(page: &ObjectPage) -> Vec<bool> {
        page.ids().map(|id| id.starts_with("my-")).collect()
    }

    fn read(pages: &[(&[&str], bool)], limit: Option<usize>) -> (String, Option<String>) {
        let mut pages = pages.iter().map(|(ids, more)| page(ids, *more));
        let first = pages.next().unwrap();
        let mut list = OwnList::new(first.clone(), limit);
        for body in std::iter::once(first).chain(pages) {
            let page = ObjectPage::parse(&body).unwrap();
            let owned = owned(&page);
            list.add(page, &owned);
        }
        let body = String::from_utf8(list.to_body().unwrap()).unwrap();
        (body, list.next_cursor().map(str::to_owned))
    }

    #[test]
    fn a_page_keeps_the_callers_entries_alone() {
        let (body, next) = read(&[(&["a", "my-1", "b", "my-2", "c"], true)], None);
        assert_eq!(
            body,
            r#"{"object":"list","data":[{"id":"my-1"},{"id":"my-2"}],"first_id":"my-1","last_id":"my-2","has_more":true}"#
        );
        assert_eq!(next, None, "the client asks for what comes after my-2");
    }

    #[test]
    fn a_page_without_any_leads_to_the_next() {
        let (_, next) = read(&[(&["a", "b"], true)], None);
        assert_eq!(next.as_deref(), Some("b"));
        let (body, next) = read(&[(&["a", "b"], true), (&["c", "my-1"], false)], None);
        assert_eq!(
            body,
            r#"{"object":"list","data":[{"id":"my-1"}],"first_id":"my-1","last_id":"my-1","has_more":false}"#
        );
        assert_eq!(next, None);
        let (body, next) = read(&[(&["a"], true), (&["b"], false)], None);
        assert_eq!(
            body,
            r#"{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}"#
        );
        assert_eq!(next, None);
    }

    #[test]
    fn a_later_page_may_be_longer_than_the_client_asked_for() {
        let more: &[&str] = &["my-1", "my-2", "my-3"];
        let (body, _) = read(&[(&["a"], true), (more, false)], Some(2));
        assert!(
            body.contains(r#""last_id":"my-2","has_more":true"#),
            "{body}"
        );
        let (body, _) = read(&[(&["a"], true), (more, false)], None);
        assert!(
            body.contains(r#""last_id":"my-1","has_more":true"#),
            "{body}"
        );
    }

    #[test]
    fn a_provider_that_repeats_a_page_is_not_asked_for_ever() {
        let (_, next) = read(&[(&["a"], true), (&["a"], true)], None);
        assert_eq!(next, None);
        let (_, next) = read(&[(&[], true)], None);
        assert_eq!(next, None);
    }

    #[test]
    fn what_can_not_be_told_apart_is_no_page() {
        for body in [
            "",
            "[]",
            r#"{"files":[{"name":"files/1"}]}"#,
            r#"{"data":[{"name":"x"}]}"#,
            r#"{"data":[{"id":""}]}"#,
            r#"{"data":[],"data":[{"id":"a"}]}"#,
        ] {
            assert!(ObjectPage::parse(body.as_bytes()).is_none(), "{body}");
        }
    }
}
