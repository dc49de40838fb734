//! The trace policy: decides what of a call is recorded, before any content leaves the filter.

use opentracy_proto::v1;
use opentracy_translate::error::ApiError;

use crate::headers::{self, HeaderList};
use crate::snapshot::Snapshot;

/// The policy for the content of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub content: bool,
    pub redact: bool,
}

/// The content that a trace records.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RecordedContent {
    pub request: Vec<u8>,
    pub response: Vec<u8>,
    pub is_cut: bool,
}

/// Returns the bytes of a body that a trace can hold, plus one to detect truncation.
pub fn recorded_bytes(snapshot: Option<&Snapshot>) -> usize {
    let limit = snapshot.map_or(0, |snapshot| snapshot.traces.max_content_bytes);
    usize::try_from(limit).map_or(usize::MAX, |limit| limit.saturating_add(1))
}

impl Policy {
    /// Returns the policy that applies to a call.
    pub fn of(
        snapshot: &Snapshot,
        alias: Option<&str>,
        client: Option<&v1::ClientKey>,
        is_opted_out: bool,
    ) -> Self {
        let alias = alias.and_then(|name| snapshot.aliases.get(name));
        let overrides = [
            alias.and_then(|alias| alias.traces.as_ref()),
            client.and_then(|client| client.traces.as_ref()),
        ];
        Self::new(&snapshot.traces, overrides, is_opted_out)
    }

    /// Returns the policy for a call whose alias is unknown because its body could not be parsed:
    /// the strictest that any alias requires.
    pub fn of_unknown_alias(
        snapshot: &Snapshot,
        client: Option<&v1::ClientKey>,
        is_opted_out: bool,
    ) -> Self {
        let without_alias = Self::of(snapshot, None, client, is_opted_out);
        let aliases = snapshot.aliases.values();
        let overrides = aliases.filter_map(|alias| alias.traces.as_ref());
        overrides.fold(without_alias, |policy, own| Self {
            content: policy.content && own.content != Some(false),
            redact: policy.redact || own.redact == Some(true),
        })
    }

    /// Masks a text that is recorded in addition to the content.
    pub fn mask(self, snapshot: &Snapshot, text: String) -> String {
        if self.redact {
            snapshot.redactor().mask_text(&text).into_owned()
        } else {
            text
        }
    }

    /// Returns the parts of both bodies that the policy keeps.
    pub fn keep(
        self,
        snapshot: &Snapshot,
        mut request: Vec<u8>,
        mut response: Vec<u8>,
    ) -> RecordedContent {
        if !self.content {
            return RecordedContent::default();
        }
        let limit = usize::try_from(snapshot.traces.max_content_bytes).unwrap_or(usize::MAX);
        let is_cut = request.len() > limit || response.len() > limit;
        if self.redact {
            let redactor = snapshot.redactor();
            request = redactor.mask_body(&request, limit);
            response = redactor.mask_body(&response, limit);
        }
        request.truncate(limit);
        response.truncate(limit);
        RecordedContent {
            request,
            response,
            is_cut,
        }
    }

    /// Combines the default policy with the overrides of an alias, a key and the call. If overrides
    /// differ, the stricter applies, and a call can only be stricter.
    fn new(
        all: &v1::TracePolicy,
        overrides: [Option<&v1::TraceOverride>; 2],
        is_opted_out: bool,
    ) -> Self {
        let said = |of: fn(&v1::TraceOverride) -> Option<bool>| {
            overrides.into_iter().flatten().filter_map(of)
        };
        let content = said(|own| own.content).reduce(|a, b| a && b);
        let redact = said(|own| own.redact).reduce(|a, b| a || b);
        Self {
            content: content.unwrap_or(all.content) && !is_opted_out,
            redact: redact.unwrap_or(all.redact),
        }
    }
}

/// Returns whether the call's own header keeps its content out of the trace. An invalid value does
/// too: the call that [`check`] rejects still has a trace.
pub fn is_opted_out(request: &HeaderList<'_>) -> bool {
    !matches!(request.get(headers::CONTENT), None | Some("on"))
}

/// Rejects invalid values of the header: a call whose client misspells `off` must not be recorded.
pub fn check(request: &HeaderList<'_>) -> Result<(), ApiError> {
    match request.get(headers::CONTENT) {
        None | Some("off" | "on") => Ok(()),
        Some(_) => Err(ApiError::new(
            400,
            "The header X-OpenTracy-Content must be `off`, which keeps the content of this call out of its trace, or `on`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(content: Option<bool>, redact: Option<bool>) -> v1::TraceOverride {
        v1::TraceOverride { content, redact }
    }

    #[test]
    fn the_stricter_holds() {
        let all = v1::TracePolicy {
            content: true,
            ..v1::TracePolicy::default()
        };
        let policy = |alias: v1::TraceOverride, key: v1::TraceOverride, out| {
            let policy = Policy::new(&all, [Some(&alias), Some(&key)], out);
            (policy.content, policy.redact)
        };
        let none = own(None, None);
        assert_eq!(policy(none, none, false), (true, false));
        assert_eq!(policy(none, none, true), (false, false));
        assert_eq!(
            policy(own(Some(false), None), own(Some(true), None), false),
            (false, false)
        );
        assert_eq!(
            policy(own(None, Some(true)), own(None, Some(false)), false),
            (true, true)
        );
        let quiet = v1::TracePolicy::default();
        let loud = own(Some(true), None);
        assert!(Policy::new(&quiet, [Some(&loud), None], false).content);
        assert!(!Policy::new(&quiet, [Some(&loud), None], true).content);
    }
}
