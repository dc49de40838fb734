//! Replays past calls: estimates what a pack would have chosen and what that would have cost.

use opentracy_proto::v1;
use opentracy_router::replay::{RecordedCall, Replay};
use opentracy_router::{Pack, Point, Weights};

use crate::candidates;
use crate::embed::{Embed, Urgency};
use crate::learn;
use opentracy_config::snapshot::ActiveConfig;
use opentracy_ingest::live::Live;
use opentracy_store::{Filter, Order, Query, Record, Store};

/// Page size when reading from the store.
const PAGE: u32 = 200;

/// Replays traces, newest first. Calls no models: costs and errors are expectations.
pub async fn run(
    store: &dyn Store,
    embedder: &dyn Embed,
    (pack, snapshot, live): (&Pack, &ActiveConfig, &Live),
    candidates: &[String],
    weights: &Weights,
    (filter, limit): (Filter, u64),
) -> anyhow::Result<Replay> {
    let mut replay = Replay::default();
    let mut after = None;
    loop {
        let page = store
            .list(Query {
                filter: filter.clone(),
                order: Order::NewestFirst,
                after,
                limit: PAGE,
            })
            .await?;
        let calls: Vec<(Record, String)> = page
            .traces
            .into_iter()
            .filter(|trace| trace.record.error.is_none())
            .filter_map(|trace| {
                let subject = learn::subject(&trace.record)?;
                Some((trace.record, subject))
            })
            .collect();
        let texts = calls.iter().map(|(_, subject)| subject.clone()).collect();
        let embeddings = embedder.embed(texts, Urgency::Job).await?;
        for ((record, subject), embedding) in calls.iter().zip(&embeddings) {
            if replay.calls >= limit {
                return Ok(replay);
            }
            let point = Point {
                embedding,
                text: Some(subject),
            };
            let Some(assessment) = pack.assess(&point) else {
                continue;
            };
            let body = record.request.as_ref().map_or(0, |body| body.get().len());
            let needs = v1::Needs {
                conversation_bytes: body as u64,
                ..v1::Needs::default()
            };
            let (named, _) = candidates::part(candidates, &needs, snapshot, pack, live);
            let named: Vec<_> = named
                .into_iter()
                .map(|named| (named.id, named.candidate))
                .collect();
            let answered = record.provider.as_ref().zip(record.model.as_ref());
            let answered = answered.map(|(provider, model)| format!("{provider}/{model}"));
            let call = RecordedCall {
                assessment: &assessment,
                actual: named
                    .iter()
                    .position(|(id, _)| Some(id) == answered.as_ref()),
                candidates: &named,
                actual_cost: record.cost.map_or(0.0, |cost| cost.total.usd()),
            };
            replay.add(&call, weights);
        }
        after = page.next;
        if after.is_none() {
            return Ok(replay);
        }
    }
}
