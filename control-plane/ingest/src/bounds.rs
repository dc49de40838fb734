//! Bounds for the numbers in records. Impossible values would overflow sums and break charts for as
//! long as the record is stored.

use opentracy_proto::v1;

/// One week; no call takes longer.
const MAX_MICROS: u64 = 7 * 24 * 3600 * 1_000_000;
/// Limit for one call.
const MAX_TOKENS: u64 = 1_000_000_000_000;
/// Limit for one call, in USD.
const MAX_COST: f64 = 1e9;
/// The largest three-digit number; a status has three digits.
const MAX_STATUS: u32 = 999;
const MAX_ATTEMPTS: u32 = 10_000;
/// The year 2100, in microseconds.
const MAX_TIME: u64 = 4_102_444_800_000_000;
const MAX_CLUSTER: u32 = i32::MAX as u32;

/// The error for a field whose number is out of range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{field}` is {value}, which is out of range; send at most {max}")]
pub struct OutOfRange {
    pub field: &'static str,
    value: String,
    max: String,
}

/// Removes the records with out-of-range numbers from a batch. Returns how many there were, and the
/// first error.
pub fn remove_out_of_range(request: &mut v1::IngestRequest) -> (u32, Option<OutOfRange>) {
    let mut removed = 0;
    let mut first = None;
    let mut keep = |checked: Result<(), OutOfRange>| match checked {
        Ok(()) => true,
        Err(why) => {
            removed += 1;
            first.get_or_insert(why);
            false
        }
    };
    request.traces.retain(|trace| keep(check_trace(trace)));
    request
        .attempts
        .retain(|attempt| keep(check_attempt(attempt)));
    (removed, first)
}

/// Returns an error for the first number of a trace that is out of range.
pub fn check_trace(trace: &v1::Trace) -> Result<(), OutOfRange> {
    at_most("status", trace.status.into(), MAX_STATUS.into())?;
    at_most("start_unix_micros", trace.start_unix_micros, MAX_TIME)?;
    at_most("latency_micros", trace.latency_micros, MAX_MICROS)?;
    let first = trace.time_to_first_token_micros.unwrap_or_default();
    at_most("time_to_first_token_micros", first, MAX_MICROS)?;
    at_most("routing_micros", trace.routing_micros, MAX_MICROS)?;
    let cluster = trace.cluster_id.unwrap_or_default();
    at_most("cluster_id", cluster.into(), MAX_CLUSTER.into())?;
    if let Some(usage) = &trace.usage {
        for (field, tokens) in [
            ("usage.input", usage.input),
            ("usage.output", usage.output),
            ("usage.cache_read", usage.cache_read),
            ("usage.cache_write", usage.cache_write),
            ("usage.reasoning", usage.reasoning),
        ] {
            at_most(field, tokens, MAX_TOKENS)?;
        }
    }
    if let Some(cost) = &trace.cost {
        for (field, usd) in [
            ("cost.input", cost.input),
            ("cost.output", cost.output),
            ("cost.cache_read", cost.cache_read),
            ("cost.cache_write", cost.cache_write),
            ("cost.total", cost.total),
        ] {
            within(field, usd, 0.0, MAX_COST)?;
        }
    }
    let error = trace.expected_error.unwrap_or_default();
    within("expected_error", error, -MAX_COST, MAX_COST)?;
    if let Some(decision) = &trace.decision {
        let score = decision.score.unwrap_or_default();
        within("decision.score", score, -MAX_COST, MAX_COST)?;
        let weight = decision.cost_weight.unwrap_or_default();
        within("decision.cost_weight", weight, 0.0, MAX_COST)?;
        at_most(
            "decision.embedding_micros",
            decision.embedding_micros,
            MAX_MICROS,
        )?;
    }
    Ok(())
}

/// Returns an error for the first number of an attempt that is out of range.
pub fn check_attempt(attempt: &v1::Attempt) -> Result<(), OutOfRange> {
    at_most(
        "attempts.number",
        attempt.number.into(),
        MAX_ATTEMPTS.into(),
    )?;
    at_most("attempts.status", attempt.status.into(), MAX_STATUS.into())?;
    at_most(
        "attempts.latency_micros",
        attempt.latency_micros,
        MAX_MICROS,
    )?;
    at_most(
        "attempts.start_unix_micros",
        attempt.start_unix_micros,
        MAX_TIME,
    )
}

fn at_most(field: &'static str, value: u64, max: u64) -> Result<(), OutOfRange> {
    if value <= max {
        return Ok(());
    }
    Err(OutOfRange {
        field,
        value: value.to_string(),
        max: max.to_string(),
    })
}

/// Rejects NaN, because it fails every comparison.
fn within(field: &'static str, value: f64, min: f64, max: f64) -> Result<(), OutOfRange> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(OutOfRange {
        field,
        value: value.to_string(),
        max: max.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates an ordinary trace with one change.
    fn trace(change: impl FnOnce(&mut v1::Trace)) -> v1::Trace {
        let mut trace = v1::Trace {
            status: 200,
            start_unix_micros: 1_764_000_000_000_000,
            latency_micros: 1_500_000,
            usage: Some(v1::Usage {
                input: 1_000_000,
                output: 128_000,
                ..v1::Usage::default()
            }),
            cost: Some(v1::Cost {
                total: 12.5,
                ..v1::Cost::default()
            }),
            expected_error: Some(0.25),
            ..v1::Trace::default()
        };
        change(&mut trace);
        trace
    }

    #[test]
    fn what_can_not_be_is_named() {
        assert_eq!(check_trace(&trace(|_| {})), Ok(()));
        assert_eq!(check_trace(&v1::Trace::default()), Ok(()));
        let usage = |input| {
            Some(v1::Usage {
                input,
                ..v1::Usage::default()
            })
        };
        let cost = |total| {
            Some(v1::Cost {
                total,
                ..v1::Cost::default()
            })
        };
        for (field, impossible) in [
            ("status", trace(|trace| trace.status = u32::MAX)),
            (
                "start_unix_micros",
                trace(|trace| trace.start_unix_micros = u64::MAX),
            ),
            (
                "latency_micros",
                trace(|trace| trace.latency_micros = u64::MAX),
            ),
            (
                "time_to_first_token_micros",
                trace(|trace| trace.time_to_first_token_micros = Some(u64::MAX)),
            ),
            (
                "routing_micros",
                trace(|trace| trace.routing_micros = u64::MAX),
            ),
            (
                "cluster_id",
                trace(|trace| trace.cluster_id = Some(u32::MAX)),
            ),
            ("usage.input", trace(|trace| trace.usage = usage(u64::MAX))),
            ("cost.total", trace(|trace| trace.cost = cost(f64::NAN))),
            ("cost.total", trace(|trace| trace.cost = cost(-1.0))),
            (
                "cost.total",
                trace(|trace| trace.cost = cost(f64::INFINITY)),
            ),
            ("cost.total", trace(|trace| trace.cost = cost(1e300))),
            (
                "expected_error",
                trace(|trace| trace.expected_error = Some(f64::NAN)),
            ),
        ] {
            assert_eq!(check_trace(&impossible).unwrap_err().field, field);
        }
    }

    #[test]
    fn one_record_that_can_not_be_costs_the_others_nothing() {
        let attempt = |status| v1::Attempt {
            number: 1,
            status,
            ..v1::Attempt::default()
        };
        let mut request = v1::IngestRequest {
            traces: vec![
                trace(|_| {}),
                trace(|trace| trace.status = u32::MAX),
                trace(|_| {}),
            ],
            attempts: vec![attempt(u32::MAX), attempt(200)],
        };
        let (removed, why) = remove_out_of_range(&mut request);
        assert_eq!((removed, why.unwrap().field), (2, "status"));
        assert_eq!((request.traces.len(), request.attempts.len()), (2, 1));
    }
}
