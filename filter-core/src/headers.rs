//! Headers that the stages exchange with each other and with Envoy, and headers that clients see.
//!
//! Each stage builds its outgoing headers from scratch, so a client's header passes only if it is
//! named here.

use std::borrow::Cow;
use std::ops::Range;

use opentracy_trace::user_agent;
use opentracy_translate::access;
use opentracy_translate::error::ApiError;
use opentracy_translate::redact::KeyMask;

/// The plan, from the gateway stage to the provider stage.
pub const PLAN: &str = "x-opentracy-plan";
/// The Envoy cluster to route to.
pub const CLUSTER: &str = "x-opentracy-cluster";
/// On a response: the attempt failed and the next candidate may be tried.
pub const RETRY: &str = "x-opentracy-retry";
/// On a response: the attempts so far.
pub const ATTEMPT_LOG: &str = "x-opentracy-attempt-log";

/// On a request: marks its reply as a stage's own, not Envoy's.
pub const OWN_REPLY: &str = "x-opentracy-reply";
/// On a response of the internal listener: marks a response that Envoy generated, with its response
/// code details.
pub const LOCAL_REPLY: &str = "x-opentracy-local-reply";
/// Envoy matches no route for a request without it, and removes it from the outgoing request.
pub const FORWARDED_PROTO: &str = "x-forwarded-proto";

pub const SELECTED_MODEL: &str = "x-opentracy-selected-model";
pub const CLUSTER_ID: &str = "x-opentracy-cluster-id";
pub const EXPECTED_ERROR: &str = "x-opentracy-expected-error";
pub const ROUTING_MS: &str = "x-opentracy-routing-ms";
pub const SESSION_ID: &str = "x-opentracy-session-id";
pub const TRACE_ID: &str = "x-opentracy-trace-id";
pub const ATTEMPTS: &str = "x-opentracy-attempts";

pub const ATTEMPT_COUNT: &str = "x-envoy-attempt-count";
pub const MAX_RETRIES: &str = "x-envoy-max-retries";
pub const PER_TRY_TIMEOUT: &str = "x-envoy-upstream-rq-per-try-timeout-ms";

/// On a request: the expected error that is worth the full cost of a call. On a response: how the
/// model was chosen.
pub const COST_WEIGHT: &str = "x-opentracy-cost-weight";
pub const ROUTING: &str = "x-opentracy-routing";

/// To the control plane: the host that the client addressed.
pub const FORWARDED_HOST: &str = "x-forwarded-host";

/// Between the control plane and the filter: the client key on whose behalf one calls the other.
pub const ON_BEHALF_OF: &str = access::ON_BEHALF_OF_HEADER;
/// To the control plane: proves that the filter sent the request and admitted the caller.
pub const TOKEN: &str = access::TOKEN_HEADER;
/// On a request: `no-cache` bypasses the answer cache. On a response: whether the answer came from
/// it.
pub const CACHE: &str = "x-opentracy-cache";
/// The provider for a request that names no model.
pub const PROVIDER: &str = "x-opentracy-provider";

pub const TIMEOUT: &str = "x-envoy-upstream-rq-timeout-ms";
pub const RETRY_ON: &str = "x-envoy-retry-on";
pub const RETRIABLE_STATUS_CODES: &str = "x-envoy-retriable-status-codes";
/// From the control plane: the candidate to try first.
pub const PREFER: &str = "x-opentracy-prefer";

/// Makes Envoy try the next candidate while the first one may still answer.
pub const HEDGE: &str = "x-envoy-hedge-on-per-try-timeout";

/// `off` keeps the content of a call out of its trace.
pub const CONTENT: &str = "x-opentracy-content";
/// On a response: a budget is over its soft limit.
pub const BUDGET: &str = "x-opentracy-budget";

/// W3C Trace Context. The gateway's own span replaces the client's.
pub const TRACEPARENT: &str = "traceparent";
/// The client's headers that are passed to providers: W3C Trace Context.
pub const PASSED_UPSTREAM: [&str; 2] = [TRACEPARENT, "tracestate"];
/// The beta features of Anthropic's API that a client requests. Not sent to other providers.
pub const ANTHROPIC_BETA: &str = "anthropic-beta";

pub const EVENT_STREAM: &str = "text/event-stream";
const AWS_EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// Returns the headers of a JSON reply that a stage generates.
pub fn json() -> HeaderList<'static> {
    let mut headers = HeaderList::default();
    headers.push("content-type", "application/json");
    headers
}

/// Returns whether a header controls Envoy or the stages. Clients may neither set nor see it.
pub fn is_internal(name: &str) -> bool {
    name.starts_with("x-opentracy-") || name.starts_with("x-envoy-")
}

/// Returns whether a provider's response header is withheld from the client because it describes
/// the connection to the provider or would set the provider's cookies.
pub fn is_providers_own(name: &str) -> bool {
    is_internal(name)
        || matches!(
            name,
            "content-length"
                | "transfer-encoding"
                | "connection"
                | "keep-alive"
                | "set-cookie"
                | "alt-svc"
                | "strict-transport-security"
                | "server"
        )
}

/// Returns whether a provider's response header is passed on with a body that stays as it is.
pub fn is_passed_on(name: &str) -> bool {
    name == "content-length" || !is_providers_own(name)
}

/// Returns the client's SDK and version, for its trace; empty if it sent none.
pub fn client<'a>(request: &'a HeaderList<'_>) -> &'a str {
    request
        .get("user-agent")
        .map_or("", user_agent::product_and_version)
}

/// A list of headers, as Envoy sent it or under construction. Borrows values that it only passes
/// on.
#[derive(Debug, Default, Clone)]
pub struct HeaderList<'a> {
    /// The names and values that Envoy sent, in one allocation.
    received: String,
    headers: Vec<Header<'a>>,
}

#[derive(Debug, Clone)]
enum Header<'a> {
    /// Ranges of the text that Envoy sent.
    Received {
        name: Range<usize>,
        value: Range<usize>,
    },
    Own(Cow<'a, str>, Cow<'a, [u8]>),
}

impl Header<'_> {
    fn name<'s>(&'s self, received: &'s str) -> &'s str {
        match self {
            Self::Received { name, .. } => received.get(name.clone()).unwrap_or_default(),
            Self::Own(name, _) => name,
        }
    }

    fn value<'s>(&'s self, received: &'s str) -> &'s [u8] {
        match self {
            Self::Received { value, .. } => {
                let value = received.get(value.clone());
                value.unwrap_or_default().as_bytes()
            }
            Self::Own(_, value) => value,
        }
    }

    /// Returns the value if it is UTF-8.
    fn text<'s>(&'s self, received: &'s str) -> Option<&'s str> {
        match self {
            Self::Received { value, .. } => received.get(value.clone()),
            Self::Own(_, value) => std::str::from_utf8(value).ok(),
        }
    }
}

impl<'a> HeaderList<'a> {
    pub fn from_pairs(pairs: Vec<(String, Vec<u8>)>) -> Self {
        let own = |(name, value): (String, Vec<u8>)| Header::Own(name.into(), value.into());
        Self {
            received: String::new(),
            headers: pairs.into_iter().map(own).collect(),
        }
    }

    /// Returns the headers at these ranges of a text, each a name and a value.
    pub fn from_ranges(
        text: String,
        ranges: impl Iterator<Item = (Range<usize>, Range<usize>)>,
    ) -> Self {
        Self {
            received: text,
            headers: ranges
                .map(|(name, value)| Header::Received { name, value })
                .collect(),
        }
    }

    /// Returns the same headers, without borrowing any.
    pub fn to_owned(&self) -> HeaderList<'static> {
        let own = |(name, value): (&str, &[u8])| (name.to_owned(), value.to_owned());
        HeaderList::from_pairs(self.iter().map(own).collect())
    }

    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            received: String::new(),
            headers: Vec::with_capacity(capacity),
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let header = headers.find(|own| own.name(&self.received) == name)?;
        header.text(&self.received)
    }

    /// Returns a request's path, without the query.
    pub fn path(&self) -> &str {
        let path = self.get(":path").unwrap_or_default();
        path.split('?').next().unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers
            .iter()
            .map(|header| (header.name(&self.received), header.value(&self.received)))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .map(|header| header.name(&self.received))
    }

    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let value = match value.into() {
            Cow::Borrowed(value) => Cow::Borrowed(value.as_bytes()),
            Cow::Owned(value) => Cow::Owned(value.into_bytes()),
        };
        self.headers.push(Header::Own(name.into(), value));
    }

    /// Replaces all headers of this name with one.
    pub fn set(&mut self, name: &'a str, value: impl Into<Cow<'a, str>>) {
        self.retain(|own| own != name);
        self.push(name, value);
    }

    /// Makes these the headers of a response with an error.
    pub fn set_error(&mut self, error: &ApiError) {
        self.set(":status", error.status.to_string());
        self.set("content-type", "application/json");
        if let Some(seconds) = error.retry_after {
            self.set("retry-after", seconds.to_string());
        }
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let received = &self.received;
        self.headers.retain(|header| keep(header.name(received)));
    }

    /// Masks the provider's credentials in the values. In an error's headers, also masks anything
    /// that looks like a key.
    pub fn mask(&mut self, keys: &KeyMask, is_error: bool) {
        for header in &mut self.headers {
            let text = String::from_utf8_lossy(header.value(&self.received));
            let masked = if is_error {
                keys.mask(&text)
            } else {
                keys.mask_values(&text)
            };
            if let Cow::Owned(masked) = masked {
                let name = header.name(&self.received).to_owned();
                *header = Header::Own(name.into(), masked.into_bytes().into());
            }
        }
    }

    pub fn copy(&mut self, from: &'a HeaderList<'_>, name: &'a str) {
        if let Some(value) = from.get(name) {
            self.push(name, value);
        }
    }

    pub fn pairs(&self) -> Vec<(&str, &[u8])> {
        self.iter().collect()
    }

    pub fn status(&self) -> u16 {
        self.get(":status")
            .and_then(|status| status.parse().ok())
            .unwrap_or(0)
    }

    /// Returns the seconds to wait, if the header gives seconds.
    pub fn retry_after(&self) -> Option<u64> {
        self.get("retry-after")?.trim().parse().ok()
    }

    pub fn is_event_stream(&self) -> bool {
        self.get("content-type").is_some_and(|kind| {
            let kind = kind.trim_start();
            kind.starts_with(EVENT_STREAM) || kind.starts_with(AWS_EVENT_STREAM)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_headers_are_read_and_changed_like_own_ones() {
        let text = ":status200x-envoy-a1servertext/5";
        let ranges = [(0..7, 7..10), (10..19, 19..20), (20..26, 26..32)];
        let mut list = HeaderList::from_ranges(text.to_owned(), ranges.into_iter());
        assert_eq!((list.status(), list.get("x-envoy-a")), (200, Some("1")));
        list.retain(|name| !is_internal(name));
        list.set("server", "other");
        list.push("a", "b");
        let pairs: Vec<(&str, &[u8])> =
            vec![(":status", b"200"), ("server", b"other"), ("a", b"b")];
        assert_eq!(list.pairs(), pairs);
    }

    #[test]
    fn a_key_in_a_received_header_is_masked() {
        let text = "x-debugBearer 0123456789abcdefxyzdateMon".to_owned();
        let end = text.len();
        let ranges = [(0..7, 7..end - 7), (end - 7..end - 3, end - 3..end)];
        let mut list = HeaderList::from_ranges(text, ranges.into_iter());
        list.mask(&KeyMask::new(["Bearer 0123456789abcdefxyz"]), false);
        assert_eq!(list.get("x-debug"), Some("Bearer [SECRET]"));
        assert_eq!(list.get("date"), Some("Mon"));
    }
}
