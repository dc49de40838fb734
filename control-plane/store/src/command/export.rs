//! Runs `opentracy store export`: writes traces in the format of `GET /v1/traces/export`.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use uuid::Uuid;

use crate::command::{DAMAGED, file};
use crate::sqlite::{inspect, salvage};
use crate::traces::sqlite::read;
use crate::traces::sqlite::rescue::{self, Row};
use crate::{Attempt, Filter, Order, Query, StoreError, StoredTrace, TraceStore as _, open};
use opentracy_config as config;
use opentracy_trace::json;

/// Traces in one read.
const PAGE: u32 = 500;

pub async fn run(config: &config::StoreConfig, output: Option<&Path>) -> anyhow::Result<ExitCode> {
    let mut lines = Lines::new(output)?;
    let code = match &config.clickhouse {
        None => from_file(&file(config)?, &mut lines)?,
        Some(clickhouse) => {
            let store = open::server(config, &clickhouse.value)?;
            let mut query = Some(first_page());
            while let Some(asked) = query.take() {
                let page = store.list(asked.clone()).await?;
                lines.write_all(page.traces)?;
                query = page.next.map(|next| Query {
                    after: Some(next),
                    ..asked
                });
            }
            ExitCode::SUCCESS
        }
    };
    lines.finish()?;
    eprintln!("Wrote {} traces.", lines.written.len());
    Ok(code)
}

fn first_page() -> Query {
    Query {
        filter: Filter::default(),
        order: Order::OldestFirst,
        limit: PAGE,
        after: None,
    }
}

/// Reads page by page until a read fails, then salvages the remaining readable traces.
fn from_file(path: &Path, lines: &mut Lines) -> anyhow::Result<ExitCode> {
    let Err(error) = in_order(path, lines)? else {
        return Ok(ExitCode::SUCCESS);
    };
    eprintln!(
        "opentracy: {} is damaged, so the remaining traces are unordered: {error}",
        path.display()
    );
    let mut attempts: HashMap<Uuid, Vec<Attempt>> = HashMap::new();
    salvage::rows(path, |values| {
        if let Some(Row::Attempt(attempt)) = rescue::recognize(&values) {
            attempts.entry(attempt.trace_id).or_default().push(attempt);
        }
        Ok(())
    })?;
    let pages = salvage::rows(path, |values| {
        let Some(Row::Trace(record)) = rescue::recognize(&values) else {
            return Ok(());
        };
        let mut attempts = attempts.remove(&record.id).unwrap_or_default();
        attempts.sort_by_key(|attempt| attempt.number);
        let record = *record;
        lines.write_all([StoredTrace { record, attempts }])
    })?;
    eprintln!(
        "opentracy: of {} pages, {} were not fully readable",
        pages.total, pages.damaged
    );
    Ok(ExitCode::from(DAMAGED))
}

/// Exports in order. The inner error is the store's, the outer one the output's.
fn in_order(path: &Path, lines: &mut Lines) -> anyhow::Result<Result<(), StoreError>> {
    let connection = match inspect::open(path) {
        Ok(connection) => connection,
        Err(error) => return Ok(Err(error.into())),
    };
    let mut query = Some(first_page());
    while let Some(asked) = query.take() {
        let page = match read::list(&connection, &asked) {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        lines.write_all(page.traces)?;
        query = page.next.map(|next| Query {
            after: Some(next),
            ..asked
        });
    }
    Ok(Ok(()))
}

/// The output. Each trace is written once.
struct Lines {
    output: BufWriter<Box<dyn Write>>,
    written: HashSet<Uuid>,
}

impl Lines {
    fn new(output: Option<&Path>) -> anyhow::Result<Self> {
        let output: Box<dyn Write> = match output {
            None => Box::new(std::io::stdout()),
            Some(path) => {
                let mut options = OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o600).open(path);
                Box::new(file.with_context(|| format!("{} can't be written", path.display()))?)
            }
        };
        Ok(Self {
            output: BufWriter::new(output),
            written: HashSet::new(),
        })
    }

    fn write_all(&mut self, traces: impl IntoIterator<Item = StoredTrace>) -> anyhow::Result<()> {
        for trace in traces {
            if self.written.insert(trace.record.id) {
                serde_json::to_writer(&mut self.output, &json::Trace::from(trace))?;
                self.output.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(self.output.flush()?)
    }
}
