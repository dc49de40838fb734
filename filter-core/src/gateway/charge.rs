//! The charges of a request against limits.

use opentracy_proto::bucket::Bucket;
use opentracy_proto::limit_kinds::{LimitKind, Measure};
use opentracy_proto::v1::{self, Owner};
use opentracy_translate::cost::Usage;
use opentracy_translate::model;

use crate::snapshot::Snapshot;

/// The estimate for an answer whose length the request doesn't limit.
const ANSWER_TOKENS: u64 = 256;
/// The estimated bytes of a request per token.
const BYTES_PER_TOKEN: u64 = 4;

/// The units that a request takes from a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub bucket: Bucket,
    pub units: u64,
    /// The configured limit.
    pub limit: u64,
}

/// The quantities of one request that limits count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Consumption {
    pub tokens: u64,
}

impl Consumption {
    /// Estimates the consumption of a request that has arrived.
    pub fn estimate(body_bytes: usize, max_tokens: Option<u64>) -> Self {
        let asked = u64::try_from(body_bytes).unwrap_or(u64::MAX) / BYTES_PER_TOKEN;
        let tokens = asked.saturating_add(max_tokens.unwrap_or(ANSWER_TOKENS));
        Self {
            tokens: tokens.max(1),
        }
    }

    /// Returns the consumption of a request that has ended, by the provider's count.
    pub fn actual(usage: Option<Usage>) -> Self {
        Self {
            tokens: usage.map_or(0, |usage| usage.input.saturating_add(usage.output)),
        }
    }

    /// Returns the units that a limit counts.
    pub const fn units(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Requests => 1,
            Measure::Tokens => self.tokens,
        }
    }
}

/// Returns the charges of a request against the limits of one owner.
pub fn charges(
    owner: Owner,
    name: &str,
    limits: &v1::Limits,
    consumption: &Consumption,
) -> Vec<Charge> {
    let charge = |kind: &LimitKind| {
        Some(Charge {
            limit: kind.limit(limits)?,
            bucket: Bucket {
                owner,
                name: name.to_owned(),
                unit: kind.unit,
            },
            units: consumption.units(kind.measure),
        })
    };
    LimitKind::all().filter_map(charge).collect()
}

/// Returns the charges of a request against the limits of a model.
pub fn charges_of_model(
    snapshot: &Snapshot,
    provider: &str,
    name: &str,
    consumption: &Consumption,
) -> Vec<Charge> {
    let own = snapshot.model(provider, name).limits;
    if own == v1::Limits::default() {
        return Vec::new();
    }
    charges(
        Owner::Model,
        &model::id_of(provider, name),
        &own,
        consumption,
    )
}
