//! Traces as a Parquet file: one column per scalar, JSON for structured values.

use std::sync::Arc;

use opentracy_trace::json::Trace;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::api::rest::export::{Chunks, Pages};

/// Traces per row group, all of which are held in memory.
const GROUP: usize = 5000;

/// A column's name and a function that reads its value from a trace.
type Column = (&'static str, Values);

enum Values {
    Text(fn(&Trace) -> Option<String>),
    Integer(fn(&Trace) -> Option<i64>),
    /// Microseconds since the epoch.
    Time(fn(&Trace) -> Option<i64>),
    Number(fn(&Trace) -> Option<f64>),
    Flag(fn(&Trace) -> Option<bool>),
}

use Values::{Flag, Integer, Number, Text, Time};

const COLUMNS: [Column; 36] = [
    ("id", Text(|trace| Some(trace.id.to_string()))),
    ("started_at", Time(started_at)),
    ("api", Text(|trace| Some(trace.api.name().to_owned()))),
    (
        "requested_model",
        Text(|trace| Some(trace.requested_model.clone())),
    ),
    ("alias", Text(|trace| trace.alias.clone())),
    ("provider", Text(|trace| trace.provider.clone())),
    ("model", Text(|trace| trace.model.clone())),
    ("key", Text(|trace| trace.key.clone())),
    ("stream", Flag(|trace| Some(trace.stream))),
    ("status", Integer(|trace| Some(trace.status.into()))),
    (
        "outcome",
        Text(|trace| Some(trace.outcome.name().to_owned())),
    ),
    (
        "error_type",
        Text(|trace| trace.error.as_ref().map(|error| error.r#type.clone())),
    ),
    (
        "error_code",
        Text(|trace| trace.error.as_ref()?.code.clone()),
    ),
    (
        "error_message",
        Text(|trace| trace.error.as_ref().map(|error| error.message.clone())),
    ),
    ("latency_ms", Number(|trace| Some(trace.latency_ms))),
    (
        "time_to_first_token_ms",
        Number(|trace| trace.time_to_first_token_ms),
    ),
    ("routing_ms", Number(|trace| Some(trace.routing_ms))),
    (
        "tokens_input",
        Integer(|trace| trace.tokens.map(|tokens| count(tokens.input))),
    ),
    (
        "tokens_output",
        Integer(|trace| trace.tokens.map(|tokens| count(tokens.output))),
    ),
    (
        "tokens_cache_read",
        Integer(|trace| trace.tokens.map(|tokens| count(tokens.cache_read))),
    ),
    (
        "tokens_cache_write",
        Integer(|trace| trace.tokens.map(|tokens| count(tokens.cache_write))),
    ),
    (
        "tokens_reasoning",
        Integer(|trace| trace.tokens.map(|tokens| count(tokens.reasoning))),
    ),
    (
        "cost_input",
        Number(|trace| trace.cost.map(|cost| cost.input)),
    ),
    (
        "cost_output",
        Number(|trace| trace.cost.map(|cost| cost.output)),
    ),
    (
        "cost_total",
        Number(|trace| trace.cost.map(|cost| cost.total)),
    ),
    ("session_id", Text(|trace| trace.session_id.clone())),
    (
        "cluster_id",
        Integer(|trace| trace.cluster_id.map(i64::from)),
    ),
    ("expected_error", Number(|trace| trace.expected_error)),
    (
        "routing_outcome",
        Text(|trace| {
            trace
                .decision
                .as_ref()
                .map(|decision| decision.outcome.clone())
        }),
    ),
    ("user", Text(|trace| trace.user.clone())),
    ("traceparent", Text(|trace| trace.traceparent.clone())),
    (
        "metadata",
        Text(|trace| serde_json::to_string(&trace.metadata).ok()),
    ),
    (
        "attempts",
        Text(|trace| serde_json::to_string(&trace.attempts).ok()),
    ),
    (
        "request",
        Text(|trace| trace.request.as_ref().map(|json| json.get().to_owned())),
    ),
    (
        "response",
        Text(|trace| trace.response.as_ref().map(|json| json.get().to_owned())),
    ),
    (
        "content_truncated",
        Flag(|trace| Some(trace.content_truncated)),
    ),
];

fn started_at(trace: &Trace) -> Option<i64> {
    let time: jiff::Timestamp = trace.started_at.parse().ok()?;
    Some(time.as_microsecond())
}

/// Converts a token count, since Parquet's integers are signed.
fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

pub fn write(mut pages: Pages, file: &mut Chunks) -> anyhow::Result<()> {
    let fields: String = COLUMNS
        .iter()
        .map(|(name, values)| {
            let (kind, meaning) = match values {
                Text(_) => ("BYTE_ARRAY", " (UTF8)"),
                Integer(_) => ("INT64", ""),
                Time(_) => ("INT64", " (TIMESTAMP(MICROS, true))"),
                Number(_) => ("DOUBLE", ""),
                Flag(_) => ("BOOLEAN", ""),
            };
            format!("OPTIONAL {kind} {name}{meaning};\n")
        })
        .collect();
    let schema = parse_message_type(&format!("message traces {{\n{fields}}}"))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
    let mut group = Vec::new();
    while let Some(traces) = pages.next()? {
        group.extend(traces);
        if group.len() >= GROUP {
            write_group(&mut writer, &group)?;
            group.clear();
        }
    }
    if !group.is_empty() {
        write_group(&mut writer, &group)?;
    }
    writer.close()?;
    Ok(())
}

fn write_group(
    writer: &mut SerializedFileWriter<&mut Chunks>,
    traces: &[Trace],
) -> anyhow::Result<()> {
    let mut group = writer.next_row_group()?;
    for (_, values) in &COLUMNS {
        let Some(mut column) = group.next_column()? else {
            break;
        };
        match (values, column.untyped()) {
            (Text(of), ColumnWriter::ByteArrayColumnWriter(column)) => {
                let (levels, texts) = split(traces, of);
                let texts: Vec<ByteArray> = texts
                    .iter()
                    .map(|text| ByteArray::from(text.as_str()))
                    .collect();
                column.write_batch(&texts, Some(&levels), None)?;
            }
            (Integer(of) | Time(of), ColumnWriter::Int64ColumnWriter(column)) => {
                let (levels, values) = split(traces, of);
                column.write_batch(&values, Some(&levels), None)?;
            }
            (Number(of), ColumnWriter::DoubleColumnWriter(column)) => {
                let (levels, values) = split(traces, of);
                column.write_batch(&values, Some(&levels), None)?;
            }
            (Flag(of), ColumnWriter::BoolColumnWriter(column)) => {
                let (levels, values) = split(traces, of);
                column.write_batch(&values, Some(&levels), None)?;
            }
            // The schema comes from the same table.
            _ => anyhow::bail!("a column's type does not match the schema"),
        }
        column.close()?;
    }
    group.close()?;
    Ok(())
}

/// Returns definition levels (1 if the trace has a value), and the values.
fn split<T>(traces: &[Trace], of: &fn(&Trace) -> Option<T>) -> (Vec<i16>, Vec<T>) {
    let values: Vec<Option<T>> = traces.iter().map(of).collect();
    let levels = values
        .iter()
        .map(|value| i16::from(value.is_some()))
        .collect();
    (levels, values.into_iter().flatten().collect())
}
