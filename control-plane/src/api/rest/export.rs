//! `GET /v1/traces/export`: traces as a file, made while it is sent.

mod parquet;

use std::io::Write;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};

use crate::api::rest::error::Error;
use crate::api::rest::params::{self, FilterParams};
use crate::api::rest::trace::Trace;
use crate::state::AppState;
use crate::store::{self, Filter, Order};

/// Traces that are read at once.
const PAGE: u32 = 500;
/// What is sent at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that wait for a slow reader.
const MAX_WAITING: usize = 4;

/// What kind of file.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ExportParams {
    #[param(inline)]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// A trace a line, as `GET /v1/traces/{id}` gives it; `POST /v1/traces` takes it.
    #[default]
    Jsonl,
    Parquet,
}

/// The traces that all filters fit, oldest first, as JSON lines or as a Parquet file.
#[utoipa::path(
    get,
    path = "/v1/traces/export",
    params(FilterParams, ExportParams),
    responses((status = OK, description = "The file", content_type = "application/x-ndjson"),
        (status = BAD_REQUEST, description = "A filter that can't be read"))
)]
pub async fn export(
    State(shared): State<AppState>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Error> {
    let (filter, ExportParams { format }) = params::read(pairs)?;
    let (sender, chunks) = mpsc::channel(MAX_WAITING);
    let pages = Pages::new(shared, filter);
    let (kind, name) = match format {
        Format::Jsonl => ("application/x-ndjson", "traces.jsonl"),
        Format::Parquet => ("application/vnd.apache.parquet", "traces.parquet"),
    };
    tokio::task::spawn_blocking(move || {
        let mut file = Chunks::new(sender.clone());
        let written = match format {
            Format::Jsonl => write_lines(pages, &mut file),
            Format::Parquet => parquet::write(pages, &mut file),
        };
        if let Err(error) = written.and_then(|()| Ok(file.flush()?)) {
            // The reader sees a file that breaks off, not one that ends early.
            tracing::warn!("an export ended early: {error:#}");
            let _ = sender.blocking_send(Err(std::io::Error::other("the export failed")));
        }
    });
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(chunks))).into_response())
}

/// The traces of an export, a page at a time.
struct Pages {
    shared: AppState,
    query: Option<store::Query>,
    runtime: tokio::runtime::Handle,
}

impl Pages {
    fn new(shared: AppState, filter: Filter) -> Self {
        let query = store::Query {
            filter,
            order: Order::OldestFirst,
            limit: PAGE,
            after: None,
        };
        Self {
            shared,
            query: Some(query),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// The next page; `None` after the last. Only where waiting holds up nobody.
    fn next(&mut self) -> anyhow::Result<Option<Vec<Trace>>> {
        let Some(query) = self.query.take() else {
            return Ok(None);
        };
        let page = self
            .runtime
            .block_on(self.shared.store.list(query.clone()))?;
        self.query = page.next.map(|after| store::Query {
            after: Some(after),
            ..query
        });
        Ok(Some(page.traces.into_iter().map(Trace::from).collect()))
    }
}

fn write_lines(mut pages: Pages, file: &mut Chunks) -> anyhow::Result<()> {
    while let Some(traces) = pages.next()? {
        for trace in traces {
            serde_json::to_writer(&mut *file, &trace)?;
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// A file whose reader is at the other end of a connection.
struct Chunks {
    buffer: Vec<u8>,
    sender: mpsc::Sender<std::io::Result<Bytes>>,
}

impl Chunks {
    fn new(sender: mpsc::Sender<std::io::Result<Bytes>>) -> Self {
        Self {
            buffer: Vec::new(),
            sender,
        }
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender
            .blocking_send(Ok(chunk))
            .map_err(|_| std::io::Error::other("the reader has gone"))
    }
}
