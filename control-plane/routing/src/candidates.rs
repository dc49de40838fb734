//! Facts about the models that the router may choose from.

use opentracy_proto::v1;
use opentracy_router::{Pack, decide};

use opentracy_config::catalog;
use opentracy_config::snapshot::ActiveConfig;
use opentracy_ingest::live::Live;

/// Average bytes of JSON per token, rounded down so that a conversation's length is overestimated.
const BYTES_PER_TOKEN: u64 = 3;
/// Expected output tokens of a model without observations.
const OUTPUT_TOKENS: f64 = 300.0;

/// A candidate that is eligible, `provider/model`.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub id: String,
    pub candidate: decide::Candidate,
}

/// A candidate that is not eligible, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    pub id: String,
    pub why: &'static str,
}

/// Splits the ids into candidates that meet the needs and ones that don't. A model missing from the
/// catalog counts as capable.
///
/// If none is eligible, all are: the provider's own error is more precise than ours.
pub fn part(
    ids: &[String],
    needs: &v1::Needs,
    snapshot: &ActiveConfig,
    pack: &Pack,
    live: &Live,
) -> (Vec<Named>, Vec<Excluded>) {
    let (mut able, mut unable) = (Vec::new(), Vec::new());
    for id in ids {
        match obstacle(id, needs, snapshot) {
            None => able.push(named(id, needs, snapshot, pack, live)),
            Some(why) => unable.push(Excluded {
                id: id.clone(),
                why,
            }),
        }
    }
    if able.is_empty() {
        let all = ids.iter().map(|id| named(id, needs, snapshot, pack, live));
        return (all.collect(), Vec::new());
    }
    (able, unable)
}

fn obstacle(id: &str, needs: &v1::Needs, snapshot: &ActiveConfig) -> Option<&'static str> {
    let (provider, name) = id.split_once('/')?;
    if !snapshot.is_callable(provider) {
        return Some("its provider has no key");
    }
    let known = catalog::find(provider, name)?;
    let can = |what: &str| {
        known.capabilities.is_empty() || known.capabilities.iter().any(|own| own == what)
    };
    let tokens = needs.conversation_bytes / BYTES_PER_TOKEN;
    if known
        .context_window
        .is_some_and(|window| tokens > u64::from(window))
    {
        Some("the conversation exceeds its context window")
    } else if needs.tools && !can("tools") {
        Some("it does not support tools")
    } else if needs.images && !can("images") {
        Some("it does not support images")
    } else {
        None
    }
}

fn named(id: &str, needs: &v1::Needs, snapshot: &ActiveConfig, pack: &Pack, live: &Live) -> Named {
    let profile = pack.profile_of(id);
    let output_tokens = profile
        .and_then(|profile| pack.profiles.get(profile)?.output_tokens)
        .unwrap_or(OUTPUT_TOKENS);
    let input_tokens = needs.conversation_bytes as f64 / BYTES_PER_TOKEN as f64;
    let pricing = snapshot.pricing(id);
    let cost = pricing.and_then(|pricing| {
        Some(pricing.input?.0 * input_tokens + pricing.output?.0 * output_tokens)
    });
    Named {
        id: id.to_owned(),
        candidate: decide::Candidate {
            profile,
            cost,
            latency: live.expected_seconds(id),
        },
    }
}
