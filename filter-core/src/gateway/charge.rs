//! The charges of a request against limits.

use opentracy_proto::v1::{self, Owner, Unit};

use crate::snapshot::Snapshot;

/// The estimate for an answer whose length the request doesn't limit.
const ANSWER_TOKENS: u64 = 256;
/// The estimated bytes of a request per token.
const BYTES_PER_TOKEN: u64 = 4;

/// One of an owner's limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket {
    pub owner: Owner,
    pub name: String,
    pub unit: Unit,
}

/// The units that a request takes from a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub bucket: Bucket,
    pub units: u64,
    /// The configured limit.
    pub limit: u64,
}

impl From<&Bucket> for v1::Bucket {
    fn from(bucket: &Bucket) -> Self {
        Self {
            owner: bucket.owner.into(),
            name: bucket.name.clone(),
            unit: bucket.unit.into(),
        }
    }
}

/// Estimates the tokens that a request will use.
pub fn estimate_tokens(body_bytes: usize, max_tokens: Option<u64>) -> u64 {
    let asked = u64::try_from(body_bytes).unwrap_or(u64::MAX) / BYTES_PER_TOKEN;
    asked
        .saturating_add(max_tokens.unwrap_or(ANSWER_TOKENS))
        .max(1)
}

/// Returns the charges of a request against the limits of one owner.
pub fn charges(owner: Owner, name: &str, limits: &v1::Limits, tokens: u64) -> Vec<Charge> {
    let of = |unit, limit: Option<u64>, units| {
        limit.map(|limit| Charge {
            bucket: Bucket {
                owner,
                name: name.to_owned(),
                unit,
            },
            units,
            limit,
        })
    };
    [
        of(Unit::Requests, limits.requests_per_minute, 1),
        of(Unit::Tokens, limits.tokens_per_minute, tokens),
        of(Unit::Concurrent, limits.concurrent_requests, 1),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns the charges of a request against the limits of a model.
pub fn charges_of_model(
    snapshot: &Snapshot,
    provider: &str,
    model: &str,
    tokens: u64,
) -> Vec<Charge> {
    let own = snapshot.model(provider, model).limits;
    charges(Owner::Model, &format!("{provider}/{model}"), &own, tokens)
}
