//! `GET /v1/traces/export`: streams traces as a file.

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
use utoipa_axum::routes;

use opentracy_rest::endpoints::{Callers, Endpoints};
use opentracy_rest::error::Error;
use opentracy_rest::params::{self, FilterParams};
use opentracy_state::AppState;
use opentracy_store::{self as store, Filter, Order};
use opentracy_trace::json::Trace;

/// Registers the endpoints of this file.
pub fn endpoints() -> Endpoints {
    Endpoints::of(Callers::Admins).routes(routes!(export))
}

/// Page size when reading from the store.
const PAGE: u32 = 500;
/// Size of the chunks that are sent.
const CHUNK_BYTES: usize = 64 << 10;
/// Maximum number of chunks that are buffered for a slow reader.
const MAX_WAITING: usize = 4;

/// The file format of an export.
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
    /// One trace per line, as in `GET /v1/traces/{id}`; `POST /v1/traces` accepts it.
    #[default]
    Jsonl,
    Parquet,
}

/// Exports the traces that match all filters, oldest first, as JSON Lines or Parquet.
#[utoipa::path(
    get,
    path = "/v1/traces/export",
    params(FilterParams, ExportParams),
    responses((status = OK, description = "The file", content_type = "application/x-ndjson"),
        (status = BAD_REQUEST, description = "An invalid filter"))
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
            // Breaks the connection, so that the reader can't mistake the file for a complete one.
            tracing::warn!("an export failed: {error:#}");
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

/// The traces of an export, page by page.
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

    /// Returns the next page, or `None` after the last. Blocks, so call it on a blocking thread.
    fn next(&mut self) -> anyhow::Result<Option<Vec<store::StoredTrace>>> {
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
        Ok(Some(page.traces))
    }
}

fn write_lines(mut pages: Pages, file: &mut Chunks) -> anyhow::Result<()> {
    while let Some(traces) = pages.next()? {
        for trace in traces {
            serde_json::to_writer(&mut *file, &Trace::from(trace))?;
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// A writer that sends chunks to the response body.
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
            .map_err(|_| std::io::Error::other("the client disconnected"))
    }
}
