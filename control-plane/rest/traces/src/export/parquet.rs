//! Traces as a Parquet file: one column per scalar, JSON for structured values.

use std::sync::Arc;

use opentracy_trace::columns::{COLUMNS, Type};
use opentracy_trace::json;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::export::{Chunks, Pages};
use opentracy_store::{Micros, PicoUsd, Record, StoredTrace};

/// Traces per row group, all of which are held in memory.
const GROUP: usize = 5000;

/// Returns the names and types of the file's columns.
fn columns() -> impl Iterator<Item = (&'static str, Type)> {
    COLUMNS
        .iter()
        .filter_map(|column| Some((column.parquet?, column.value)))
}

/// The values of a column in a row group; `None` where a trace has none.
enum Values {
    Texts(Vec<Option<String>>),
    Integers(Vec<Option<i64>>),
    Numbers(Vec<Option<f64>>),
    Flags(Vec<Option<bool>>),
}

use Values::{Flags, Integers, Numbers, Texts};

/// Reads a column. Durations become milliseconds, money USD, and structured values JSON.
fn read(traces: &[StoredTrace], column: Type) -> Values {
    fn each<T>(traces: &[StoredTrace], read: impl Fn(&Record) -> Option<T>) -> Vec<Option<T>> {
        traces.iter().map(|trace| read(&trace.record)).collect()
    }
    match column {
        Type::Id(read) => Texts(each(traces, |record| Some(read(record).to_string()))),
        Type::Name(read) | Type::Text(read) => {
            Texts(each(traces, |record| read(record).map(str::to_owned)))
        }
        Type::Labels(read) => Texts(each(traces, |record| {
            serde_json::to_string(read(record)).ok()
        })),
        Type::Attempts => {
            let attempts = |trace: &StoredTrace| {
                let attempts = trace.attempts.iter().cloned();
                let attempts: Vec<json::Attempt> = attempts.map(Into::into).collect();
                serde_json::to_string(&attempts).ok()
            };
            Texts(traces.iter().map(attempts).collect())
        }
        Type::Time(read) => Integers(each(traces, |record| Some(read(record).0))),
        Type::Status(read) => Integers(each(traces, |record| Some(read(record).into()))),
        Type::Index(read) => Integers(each(traces, |record| read(record).map(i64::from))),
        Type::Count(read) => Integers(each(traces, |record| read(record).map(count))),
        Type::Duration(read) => Numbers(each(traces, |record| Some(read(record).millis()))),
        Type::OptionalDuration(read) => {
            Numbers(each(traces, |record| read(record).map(Micros::millis)))
        }
        Type::Money(read) => Numbers(each(traces, |record| read(record).map(PicoUsd::usd))),
        Type::Number(read) => Numbers(each(traces, read)),
        Type::Flag(read) => Flags(each(traces, |record| Some(read(record)))),
    }
}

/// Returns the column's declaration in the schema.
fn declaration(name: &str, column: Type) -> String {
    let (kind, meaning) = match column {
        Type::Id(_) | Type::Name(_) | Type::Text(_) | Type::Labels(_) | Type::Attempts => {
            ("BYTE_ARRAY", " (UTF8)")
        }
        Type::Time(_) => ("INT64", " (TIMESTAMP(MICROS, true))"),
        Type::Status(_) | Type::Index(_) | Type::Count(_) => ("INT64", ""),
        Type::Duration(_) | Type::OptionalDuration(_) | Type::Money(_) | Type::Number(_) => {
            ("DOUBLE", "")
        }
        Type::Flag(_) => ("BOOLEAN", ""),
    };
    format!("OPTIONAL {kind} {name}{meaning};\n")
}

/// Converts a token count, since Parquet's integers are signed.
fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

pub fn write(mut pages: Pages, file: &mut Chunks) -> anyhow::Result<()> {
    let fields: String = columns()
        .map(|(name, column)| declaration(name, column))
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
    traces: &[StoredTrace],
) -> anyhow::Result<()> {
    let mut group = writer.next_row_group()?;
    for (_, column) in columns() {
        let Some(mut writer) = group.next_column()? else {
            break;
        };
        match (read(traces, column), writer.untyped()) {
            (Texts(texts), ColumnWriter::ByteArrayColumnWriter(writer)) => {
                let texts = texts
                    .into_iter()
                    .map(|text| text.map(|text| ByteArray::from(text.into_bytes())));
                let (levels, texts) = split(texts);
                writer.write_batch(&texts, Some(&levels), None)?;
            }
            (Integers(values), ColumnWriter::Int64ColumnWriter(writer)) => {
                let (levels, values) = split(values);
                writer.write_batch(&values, Some(&levels), None)?;
            }
            (Numbers(values), ColumnWriter::DoubleColumnWriter(writer)) => {
                let (levels, values) = split(values);
                writer.write_batch(&values, Some(&levels), None)?;
            }
            (Flags(values), ColumnWriter::BoolColumnWriter(writer)) => {
                let (levels, values) = split(values);
                writer.write_batch(&values, Some(&levels), None)?;
            }
            // The declaration has the same type.
            _ => anyhow::bail!("a column's type does not match the schema"),
        }
        writer.close()?;
    }
    group.close()?;
    Ok(())
}

/// Returns definition levels (1 where there is a value), and the values.
fn split<T>(values: impl IntoIterator<Item = Option<T>>) -> (Vec<i16>, Vec<T>) {
    let mut present = Vec::new();
    let levels = values
        .into_iter()
        .map(|value| {
            let level = i16::from(value.is_some());
            present.extend(value);
            level
        })
        .collect();
    (levels, present)
}
