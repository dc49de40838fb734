//! Cached answers, reused for identical requests with the same key, for aliases that enable it.
//!
//! They are stored in Envoy's shared data, so all of its workers share them. Shared data evicts
//! nothing by itself, so the number of slots is fixed: each request maps to one slot, and a newer
//! answer overwrites an older one.

use opentracy_proto::v1;
use opentracy_translate::client::Api;
use opentracy_translate::hash;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::headers::{self, HeaderList};
use crate::host::Host;

/// The number of slots. With [`MAX_BYTES`] for each, an Envoy stores at most 64 MiB.
const PLACES: u128 = 512;
pub const MAX_BYTES: usize = 128 << 10;

/// The cache key of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheKey {
    place: String,
    digest: Vec<u8>,
    ttl_ms: u64,
}

/// An answer before call data was added, as the provider stage returned it.
#[derive(Debug, PartialEq, Eq)]
pub struct CachedAnswer {
    pub provider: String,
    pub model: String,
    pub is_event_stream: bool,
    pub body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    digest: Vec<u8>,
    until_ms: u64,
    provider: String,
    model: String,
    is_event_stream: bool,
}

/// Returns the cache key of a request; `None` if the cache is not used.
pub fn key(
    alias: &v1::Alias,
    key_name: &str,
    api: Api,
    body: &[u8],
    request: &HeaderList<'_>,
) -> Option<CacheKey> {
    let is_unwanted = request
        .get(headers::CACHE)
        .is_some_and(|wish| wish.trim().eq_ignore_ascii_case("no-cache"));
    if alias.cache_ttl_ms == 0 || is_unwanted {
        return None;
    }
    let mut hasher = Sha256::new();
    // The digest covers the caller's key, the alias, the API and the whole body.
    for part in [key_name, &alias.name, api.name()] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.update(body);
    let digest = hasher.finalize().to_vec();
    Some(CacheKey {
        place: format!("answer/{}", hash::fnv1a(&digest) % PLACES),
        digest,
        ttl_ms: alias.cache_ttl_ms,
    })
}

/// Returns the cached answer to a request.
pub fn find(host: &impl Host, key: &CacheKey) -> Option<CachedAnswer> {
    let entry = host.shared_data(&key.place)?;
    read(&entry.bytes, key, host.unix_millis())
}

/// Stores an answer, unless it is too long.
pub fn keep(host: &impl Host, key: &CacheKey, answer: CachedAnswer) {
    if answer.body.len() > MAX_BYTES {
        return;
    }
    let bytes = write(key, answer, host.unix_millis());
    host.set_shared_data(&key.place, Some(&bytes), None);
}

fn write(key: &CacheKey, answer: CachedAnswer, now_ms: u64) -> Vec<u8> {
    let head = Head {
        digest: key.digest.clone(),
        until_ms: now_ms.saturating_add(key.ttl_ms),
        provider: answer.provider,
        model: answer.model,
        is_event_stream: answer.is_event_stream,
    };
    let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend(answer.body);
    bytes
}

fn read(bytes: &[u8], key: &CacheKey, now_ms: u64) -> Option<CachedAnswer> {
    // One line of JSON, then the body.
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let head: Head = serde_json::from_slice(bytes.get(..end)?).ok()?;
    (head.digest == key.digest && now_ms < head.until_ms).then(|| CachedAnswer {
        provider: head.provider,
        model: head.model,
        is_event_stream: head.is_event_stream,
        body: bytes.get(end + 1..).unwrap_or_default().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_for_its_request_and_for_its_time() {
        let key = |digest: u8| CacheKey {
            place: "answer/1".to_owned(),
            digest: vec![digest],
            ttl_ms: 100,
        };
        let answer = || CachedAnswer {
            provider: "openai".to_owned(),
            model: "gpt-4o".to_owned(),
            is_event_stream: true,
            body: b"data: {}\n\n".to_vec(),
        };
        let bytes = write(&key(1), answer(), 1000);
        assert_eq!(read(&bytes, &key(1), 1099), Some(answer()));
        assert_eq!(read(&bytes, &key(1), 1100), None, "too old");
        assert_eq!(read(&bytes, &key(2), 1000), None, "another request's");
        assert_eq!(read(b"", &key(1), 0), None);
    }
}
