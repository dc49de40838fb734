//! Records that the store refuses for what they are, kept in a file so that they block no others.
//!
//! The file has a JSON object a line: the time, the error, and the record as `trace` (which `POST /v1/traces` takes), `attempt`,
//! or `payload` in base64 where it could not be decoded. It ends being told when it is moved away.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use crate::api::rest::trace;
use crate::health::{HealthCode, HealthRegistry};
use crate::store::{Attempt, Micros, Record};

/// The file's bound. What the store refuses beyond it waits in the journal, and all behind it.
const MAX_BYTES: u64 = 64 << 20;
pub const FILE: &str = "dead-letters.jsonl";

#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    health: HealthRegistry,
    count: Counter,
}

/// A refused record.
#[derive(Debug, Clone, Copy)]
pub enum Letter<'a> {
    Record(&'a Record),
    Attempt(&'a Attempt),
    /// A request of the filter that could not be decoded, or a part of one.
    Payload(&'a [u8]),
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<trace::Trace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<AttemptLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

#[derive(Serialize)]
struct AttemptLine {
    trace_id: uuid::Uuid,
    #[serde(flatten)]
    attempt: trace::Attempt,
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

    /// Keeps a record, on disk when this returns. An error for one too many.
    pub fn add(&self, letter: Letter<'_>, error: &str) -> io::Result<()> {
        let (mut trace, mut attempt, mut payload) = (None, None, None);
        match letter {
            Letter::Record(record) => trace = Some(trace::Trace::from(record.clone())),
            Letter::Attempt(refused) => {
                attempt = Some(AttemptLine {
                    trace_id: refused.trace_id,
                    attempt: refused.clone().into(),
                });
            }
            Letter::Payload(bytes) => payload = Some(STANDARD.encode(bytes)),
        }
        let at = Micros::now().timestamp();
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
                "{} holds {MAX_BYTES} bytes and takes no more; move it away",
                self.path.display()
            )));
        }
        let written = file.write_all(&line).and_then(|()| file.sync_all());
        if written.is_err() {
            // Half a line would spoil the next.
            let _ = file.set_len(before);
        }
        written?;
        self.count.inc();
        tracing::error!(
            event = "store_dead_letter",
            "the store refuses a record, which is put aside in {}: {error}",
            self.path.display()
        );
        self.refresh();
        Ok(())
    }

    /// Updates `/health`: a file that was moved away is no fault any more.
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
                "the store refused records ({since_start} since the start), which are kept in {FILE} in `journal.path`, {length} bytes: import them again when the cause is gone, and move the file away to end this"
            ),
        );
    }
}
