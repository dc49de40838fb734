//! Exports calls as OpenTelemetry spans over OTLP.
//!
//! A call is a span, whose parent is the client's span if it sent a `traceparent`; each attempt is
//! a child span. Span ids are derived from the call's id, the same way as the filter derives the
//! ids that it sends to providers. Attributes follow the semantic conventions for generative AI
//! (`gen_ai.*`, 1.38). Spans never contain prompts or completions.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use opentracy_proto::v1;
use opentracy_trace::Record;
use opentracy_trace::columns::{COLUMNS, Type};
use opentracy_translate::trace_context::{TraceContext, span_id};
use tokio::sync::mpsc;
use uuid::Uuid;

use opentracy_config as config;
use opentracy_ingest::Observer;

/// Capacity of the queue of spans. If the collector is too slow, further spans are dropped with a
/// warning.
const MAX_WAITING: usize = 8192;
const MAX_BATCH: usize = 512;
/// Maximum time that a span waits for a batch to fill.
const SEND_EVERY: Duration = Duration::from_secs(1);
const SAMPLED: u8 = 1;

/// Builds spans of calls and queues them for export.
pub struct Otlp {
    spans: mpsc::Sender<SpanData>,
}

impl Otlp {
    /// Starts the exporter. Returns `None` if no endpoint is configured.
    pub fn start(config: &config::Telemetry) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &config.otlp_endpoint else {
            return Ok(None);
        };
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.as_str())
            .with_timeout(Duration::from_secs(10))
            .build()
            .with_context(|| format!("`telemetry.otlp_endpoint` {endpoint} can't be used"))?;
        let resource = Resource::builder()
            .with_service_name("opentracy")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        exporter.set_resource(&resource);
        let (spans, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(export(exporter, waiting));
        Ok(Some(Self { spans }))
    }

    fn hand_on(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            tracing::warn!("a span was dropped because the OTLP collector is too slow");
        }
    }
}

async fn export(exporter: SpanExporter, mut spans: mpsc::Receiver<SpanData>) {
    let mut is_failing = false;
    let mut batch = Vec::new();
    while spans.recv_many(&mut batch, MAX_BATCH).await > 0 {
        if batch.len() < MAX_BATCH {
            tokio::time::sleep(SEND_EVERY).await;
            while batch.len() < MAX_BATCH
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
        }
        let sent = exporter.export(std::mem::take(&mut batch)).await;
        match &sent {
            Err(error) if !is_failing => {
                tracing::warn!("spans can't be exported over OTLP: {error}");
            }
            Ok(()) if is_failing => tracing::info!("spans are exported over OTLP again"),
            _ => {}
        }
        is_failing = sent.is_err();
    }
}

impl Observer for Otlp {
    fn on_taken(&self, request: &v1::IngestRequest) {
        let calls = request.traces.iter().filter_map(call);
        let attempts = request.attempts.iter().filter_map(attempt);
        calls.chain(attempts).for_each(|span| self.hand_on(span));
    }
}

/// Returns the trace context of a call's spans, or `None` if the client's trace is not sampled.
fn context(call: &str, traceparent: &str) -> Option<TraceContext> {
    let own = || {
        Some(TraceContext {
            trace_id: Uuid::try_parse(call).ok()?.as_u128(),
            parent: 0,
            flags: SAMPLED,
        })
    };
    let context = TraceContext::parse(traceparent).or_else(own)?;
    (context.flags & SAMPLED != 0).then_some(context)
}

fn call(trace: &v1::Trace) -> Option<SpanData> {
    let context = context(&trace.id, &trace.traceparent)?;
    let record = Record::from_message(trace)?;
    let mut attributes = vec![
        KeyValue::new("gen_ai.operation.name", "chat"),
        KeyValue::new("opentracy.trace.id", trace.id.clone()),
    ];
    attributes.extend(COLUMNS.iter().filter_map(|column| {
        let value = attribute(column.value, &record)?;
        Some(KeyValue::new(column.attribute?, value))
    }));
    let status = match &trace.error {
        Some(error) => Status::error(error.message.clone()),
        None => Status::Unset,
    };
    Some(span(Span {
        context,
        id: span_id(&trace.id, 0),
        parent: context.parent,
        is_remote: context.parent != 0,
        name: format!("chat {}", trace.requested_model),
        kind: SpanKind::Server,
        start_micros: trace.start_unix_micros,
        micros: trace.latency_micros,
        attributes,
        status,
    }))
}

/// Returns a column's value as an attribute: durations in milliseconds, money in USD. `None` if the
/// call has no such value, or if it is structured.
fn attribute(column: Type, record: &Record) -> Option<Value> {
    Some(match column {
        Type::Id(read) => read(record).to_string().into(),
        Type::Name(read) | Type::Text(read) => read(record)?.to_owned().into(),
        Type::Flag(read) => read(record).into(),
        Type::Status(read) => i64::from(read(record)).into(),
        Type::Index(read) => i64::from(read(record)?).into(),
        Type::Count(read) => i64::try_from(read(record)?).unwrap_or(i64::MAX).into(),
        Type::Number(read) => read(record)?.into(),
        Type::Time(read) => read(record).0.into(),
        Type::Duration(read) => read(record).millis().into(),
        Type::OptionalDuration(read) => read(record)?.millis().into(),
        Type::Money(read) => read(record)?.usd().into(),
        Type::Labels(_) | Type::Attempts => return None,
    })
}

fn attempt(attempt: &v1::Attempt) -> Option<SpanData> {
    let context = context(&attempt.trace_id, &attempt.traceparent)?;
    let mut attributes = vec![
        KeyValue::new("gen_ai.operation.name", "chat"),
        KeyValue::new("gen_ai.provider.name", attempt.provider.clone()),
        KeyValue::new("gen_ai.request.model", attempt.model.clone()),
        KeyValue::new("opentracy.attempt", i64::from(attempt.number)),
    ];
    if attempt.status != 0 {
        attributes.push(KeyValue::new(
            "http.response.status_code",
            i64::from(attempt.status),
        ));
    }
    let status = if attempt.error.is_empty() {
        Status::Unset
    } else {
        attributes.push(KeyValue::new("error.type", attempt.error.clone()));
        Status::error(attempt.error.clone())
    };
    Some(span(Span {
        context,
        id: span_id(&attempt.trace_id, attempt.number),
        parent: span_id(&attempt.trace_id, 0),
        is_remote: false,
        name: format!("chat {}", attempt.model),
        kind: SpanKind::Client,
        start_micros: attempt.start_unix_micros,
        micros: attempt.latency_micros,
        attributes,
        status,
    }))
}

/// The fields that differ between spans.
struct Span {
    context: TraceContext,
    id: u64,
    /// 0 if the span has no parent.
    parent: u64,
    is_remote: bool,
    name: String,
    kind: SpanKind,
    start_micros: u64,
    micros: u64,
    attributes: Vec<KeyValue>,
    status: Status,
}

fn span(span: Span) -> SpanData {
    let start_time = SystemTime::UNIX_EPOCH + Duration::from_micros(span.start_micros);
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(span.context.trace_id.to_be_bytes()),
            SpanId::from_bytes(span.id.to_be_bytes()),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::from_bytes(span.parent.to_be_bytes()),
        parent_span_is_remote: span.is_remote,
        span_kind: span.kind,
        name: span.name.into(),
        start_time,
        end_time: start_time + Duration::from_micros(span.micros),
        attributes: span.attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.status,
        instrumentation_scope: InstrumentationScope::builder("opentracy").build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "01a1fede-33dc-7249-bda0-d8a15d4676d0";
    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn trace(traceparent: &str) -> v1::Trace {
        v1::Trace {
            id: CALL.to_owned(),
            requested_model: "smart".to_owned(),
            traceparent: traceparent.to_owned(),
            ..v1::Trace::default()
        }
    }

    #[test]
    fn a_call_is_under_its_client_and_an_attempt_under_its_call() {
        let call = call(&trace(HEADER)).unwrap();
        assert_eq!(
            call.span_context.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(call.parent_span_id.to_string(), "b7ad6b7169203331");
        let attempt = attempt(&v1::Attempt {
            trace_id: CALL.to_owned(),
            number: 2,
            traceparent: HEADER.to_owned(),
            ..v1::Attempt::default()
        })
        .unwrap();
        assert_eq!(attempt.parent_span_id, call.span_context.span_id());
        assert_eq!(
            attempt.span_context.trace_id(),
            call.span_context.trace_id()
        );
    }

    #[test]
    fn a_call_without_a_client_is_a_trace_of_its_own() {
        let call = call(&trace("")).unwrap();
        assert_eq!(
            call.span_context.trace_id().to_string(),
            CALL.replace('-', "")
        );
        assert_eq!(call.parent_span_id, SpanId::INVALID);
    }

    #[test]
    fn what_a_client_does_not_want_sampled_is_not_sent() {
        assert!(call(&trace(&HEADER.replace("-01", "-00"))).is_none());
    }
}
