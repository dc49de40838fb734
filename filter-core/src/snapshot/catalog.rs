//! The catalog's data.

use opentracy_proto::v1;
use opentracy_translate::cost::{Pricing, Usd};
use opentracy_translate::model_list::Capabilities;

/// The catalog's data on a model.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CatalogEntry {
    pub pricing: Option<Pricing>,
    pub max_output_tokens: Option<u64>,
    /// The maximum length of a conversation, including the answer.
    pub context_tokens: Option<u64>,
    pub limits: v1::Limits,
    pub(super) capabilities: Capabilities,
    /// Set if the catalog lists it.
    pub(super) is_listed: bool,
}

pub(super) fn pricing(wire: &v1::Pricing) -> Pricing {
    Pricing {
        input: wire.input.map(Usd),
        output: wire.output.map(Usd),
        cache_read: wire.cache_read.map(Usd),
        cache_write: wire.cache_write.map(Usd),
        reasoning: wire.reasoning.map(Usd),
    }
}
