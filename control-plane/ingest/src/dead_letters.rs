//! The dead-letter file: records that the store rejects because of their content. It keeps them
//! from blocking the records behind them.
//!
//! Each line is a JSON object: the time, the error, and the record as `trace` (in the format of
//! `POST /v1/traces`), as `attempt`, or, if it could not be decoded, as `payload` in base64.
//! `/health` reports the file until it is moved away.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use opentracy_base::clock;
use opentracy_base::health::{HealthCode, HealthRegistry};
use opentracy_store::{Attempt, Record};
use opentracy_trace::json;

/// Size limit of the file. Once it is full, rejected records wait in the journal and block all
/// others.
const MAX_BYTES: u64 = 64 << 20;
pub const FILE: &str = "dead-letters.jsonl";

#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    health: HealthRegistry,
    count: Counter,
}

/// A rejected record.
#[derive(Debug, Clone, Copy)]
pub enum Letter<'a> {
    Record(&'a Record),
    Attempt(&'a Attempt),
    /// All or part of a request from the filter that could not be decoded.
    Payload(&'a [u8]),
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<json::Trace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<AttemptLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

#[derive(Serialize)]
struct AttemptLine {
    trace_id: uuid::Uuid,
    #[serde(flatten)]
    attempt: json::Attempt,
}

impl DeadLetters {
    pub fn new(folder: &Path, health: HealthRegistry, count: Counter) -> Self {
        let letters = Self {
            path: folder.join(FILE),
            health,
            count,
        };
        letters.refresh();
        letters
    }

    /// Appends a record, which is on disk on return. Returns an error if the file is full.
    pub fn add(&self, letter: Letter<'_>, error: &str) -> io::Result<()> {
        let (mut trace, mut attempt, mut payload) = (None, None, None);
        match letter {
            Letter::Record(record) => trace = Some(json::Trace::from(record.clone())),
            Letter::Attempt(refused) => {
                attempt = Some(AttemptLine {
                    trace_id: refused.trace_id,
                    attempt: refused.clone().into(),
                });
            }
            Letter::Payload(bytes) => payload = Some(STANDARD.encode(bytes)),
        }
        let at = clock::now().timestamp();
        let mut line = serde_json::to_vec(&Line {
            at,
            error,
            trace,
            attempt,
            payload,
        })?;
        line.push(b'\n');
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        let before = file.metadata()?.len();
        if before + line.len() as u64 > MAX_BYTES {
            return Err(io::Error::other(format!(
                "{} is at its limit of {MAX_BYTES} bytes; move it away",
                self.path.display()
            )));
        }
        let written = file.write_all(&line).and_then(|()| file.sync_all());
        if written.is_err() {
            // A partial line would corrupt the next one.
            let _ = file.set_len(before);
        }
        written?;
        self.count.inc();
        tracing::error!(
            event = "store_dead_letter",
            "the store rejected a record, which was moved to {}: {error}",
            self.path.display()
        );
        self.refresh();
        Ok(())
    }

    /// Updates `/health`: resolves the fault if the file was moved away.
    pub fn refresh(&self) {
        let length = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if length == 0 {
            self.health.resolve(HealthCode::StoreDeadLetters, "");
            return;
        }
        let since_start = self.count.get();
        self.health.report(
            HealthCode::StoreDeadLetters,
            "",
            format!(
                "the store rejected records ({since_start} since the start), which are kept in {FILE} in `journal.path`, {length} bytes: fix the cause, import them again, and move the file away to clear this"
            ),
        );
    }
}
