//! Records on their way to the control plane: a bounded in-memory outbox with at-least-once
//! delivery.
//!
//! A record stays until the control plane has acknowledged it. If the control plane is away until
//! the outbox fills up, new records first lose their content, and later are dropped and counted.

use std::collections::{HashMap, VecDeque};

use opentracy_proto::v1;
use prost::Message;

/// The maximum size of the outbox, in bytes.
const MAX_BYTES: usize = 64 << 20;
/// The size above which new records lose their content, in bytes.
const MAX_CONTENT_BYTES: usize = 56 << 20;
/// The maximum size of a batch, in bytes: few enough for a worker to copy without delaying its
/// requests.
const MAX_BATCH_BYTES: usize = 256 << 10;
/// The bytes that a record counts beyond its own size.
const OVERHEAD: usize = 64;
/// The maximum number of batches in flight.
const MAX_IN_FLIGHT: usize = 4;

/// Records in the batches in which they are sent.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Batch>,
    in_flight: HashMap<u32, Batch>,
    bytes: usize,
    /// The part of `bytes` that is in `waiting`.
    waiting_bytes: usize,
}

/// Encoded records. Each is an `IngestRequest` with one record; concatenated, such messages decode
/// as one request with all of the records.
#[derive(Debug, Default)]
struct Batch {
    message: Vec<u8>,
    count: usize,
}

impl Batch {
    /// Returns the bytes that the batch counts.
    fn size(&self) -> usize {
        self.message.len() + self.count * OVERHEAD
    }
}

/// An error: the outbox was full, and the record is lost.
#[derive(Debug, PartialEq, Eq)]
pub struct OutboxFull;

impl Outbox {
    pub fn push(&mut self, mut record: v1::IngestRequest) -> Result<(), OutboxFull> {
        let mut batch = self.waiting.pop_back().unwrap_or_default();
        let start = batch.message.len();
        let mut size = append(&record, &mut batch.message);
        if self.bytes + size > MAX_CONTENT_BYTES {
            batch.message.truncate(start);
            remove_content(&mut record);
            size = append(&record, &mut batch.message);
        }
        let is_full = self.bytes + size > MAX_BYTES;
        if is_full {
            batch.message.truncate(start);
        } else if batch.count > 0 && batch.message.len() > MAX_BATCH_BYTES {
            let message = batch.message.split_off(start);
            batch.message.shrink_to_fit();
            self.waiting.push_back(batch);
            batch = Batch { message, count: 1 };
        } else {
            batch.count += 1;
        }
        if batch.count > 0 {
            self.waiting.push_back(batch);
        }
        if is_full {
            return Err(OutboxFull);
        }
        self.bytes += size;
        self.waiting_bytes += size;
        Ok(())
    }

    /// Returns the bytes of records that are not acknowledged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether the waiting records fill a batch. Fewer can wait a moment for more to join
    /// them.
    pub fn is_full_batch_waiting(&self) -> bool {
        self.waiting_bytes >= MAX_BATCH_BYTES
    }

    /// Sends the next batch with `dispatch`, which returns the id of the call. Returns `false` if
    /// nothing was sent.
    pub fn send_batch(&mut self, dispatch: impl FnOnce(&[u8]) -> Option<u32>) -> bool {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return false;
        }
        let Some(batch) = self.waiting.front() else {
            return false;
        };
        let Some(call) = dispatch(&batch.message) else {
            return false;
        };
        if let Some(batch) = self.waiting.pop_front() {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(batch.size());
            self.in_flight.insert(call, batch);
        }
        true
    }

    /// Handles the answer to a delivery: removes its records, or queues them again. Returns `false`
    /// if the call isn't a delivery.
    pub fn on_answer(&mut self, call: u32, is_acknowledged: bool) -> bool {
        let Some(batch) = self.in_flight.remove(&call) else {
            return false;
        };
        if is_acknowledged {
            self.bytes = self.bytes.saturating_sub(batch.size());
        } else {
            self.waiting_bytes += batch.size();
            self.waiting.push_front(batch);
        }
        true
    }
}

fn remove_content(record: &mut v1::IngestRequest) {
    for trace in &mut record.traces {
        trace.content_truncated |= !trace.request.is_empty() || !trace.response.is_empty();
        trace.request = Vec::new();
        trace.response = Vec::new();
    }
}

/// Appends a record to a message. Returns the bytes that it counts.
fn append(record: &v1::IngestRequest, message: &mut Vec<u8>) -> usize {
    let start = message.len();
    // Fails only if the buffer is full, and a `Vec` never is.
    if let Err(error) = record.encode(message) {
        log::error!("could not encode a record: {error}");
    }
    message.len().saturating_sub(start) + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(id: &str, content: usize) -> v1::IngestRequest {
        v1::IngestRequest {
            traces: vec![v1::Trace {
                id: id.to_owned(),
                request: vec![b'x'; content],
                ..v1::Trace::default()
            }],
            attempts: Vec::new(),
        }
    }

    fn ids(message: &[u8]) -> Vec<String> {
        let request = v1::IngestRequest::decode(message).unwrap();
        request.traces.into_iter().map(|trace| trace.id).collect()
    }

    fn last_batch(outbox: &Outbox) -> &[u8] {
        &outbox.waiting.back().unwrap().message
    }

    #[test]
    fn a_batch_that_was_not_acknowledged_is_sent_again() {
        let mut outbox = Outbox::default();
        outbox.push(trace("a", 1)).unwrap();
        outbox.push(trace("b", 1)).unwrap();
        assert!(outbox.send_batch(|_| Some(7)));
        assert!(!outbox.send_batch(|_| Some(8)), "nothing is left to send");
        assert!(!outbox.on_answer(9, true), "another call");
        assert!(outbox.on_answer(7, false));
        let mut sent = Vec::new();
        outbox.send_batch(|message| {
            sent = ids(message);
            Some(8)
        });
        assert_eq!(sent, ["a", "b"]);
        outbox.on_answer(8, true);
        assert_eq!(outbox.bytes, 0);
    }

    #[test]
    fn content_goes_first_where_there_is_no_room_and_the_record_last() {
        let mut outbox = Outbox::default();
        outbox.push(trace("a", MAX_CONTENT_BYTES - 200)).unwrap();
        outbox.push(trace("b", 200)).unwrap();
        let without = |id: &str| v1::IngestRequest {
            traces: vec![v1::Trace {
                id: id.to_owned(),
                content_truncated: true,
                ..v1::Trace::default()
            }],
            attempts: Vec::new(),
        };
        assert_eq!(last_batch(&outbox), without("b").encode_to_vec());
        while outbox.push(trace("c", 1 << 20)).is_ok() {}
        assert!(outbox.bytes <= MAX_BYTES && outbox.bytes > MAX_BYTES - 200);
        outbox.send_batch(|_| Some(1));
        outbox.on_answer(1, true);
        assert_eq!(outbox.push(trace("d", 200)), Ok(()));
        let with_content = trace("d", 200).encode_to_vec();
        assert!(last_batch(&outbox).ends_with(&with_content));
    }

    #[test]
    fn a_failed_dispatch_loses_nothing() {
        let mut outbox = Outbox::default();
        outbox.push(trace("a", 1)).unwrap();
        assert!(!outbox.send_batch(|_| None));
        assert!(outbox.send_batch(|message| {
            assert_eq!(ids(message), ["a"]);
            Some(1)
        }));
    }

    #[test]
    fn large_records_travel_in_batches_of_their_own() {
        let mut outbox = Outbox::default();
        for id in ["a", "b"] {
            outbox.push(trace(id, MAX_BATCH_BYTES)).unwrap();
        }
        let mut batches = Vec::new();
        while outbox.send_batch(|message| {
            batches.push(ids(message));
            Some(batches.len() as u32)
        }) {}
        assert_eq!(batches, [["a"], ["b"]]);
    }

    #[test]
    fn a_record_that_is_lost_leaves_the_batch_as_it_was() {
        let mut outbox = Outbox::default();
        outbox.push(trace("a", MAX_CONTENT_BYTES)).unwrap();
        while outbox.push(trace("b", 0)).is_ok() {}
        let (bytes, batches) = (outbox.bytes, outbox.waiting.len());
        assert_eq!(outbox.push(trace("c", 1000)), Err(OutboxFull));
        assert_eq!((outbox.bytes, outbox.waiting.len()), (bytes, batches));
        let mut sent = Vec::new();
        while outbox.send_batch(|message| {
            sent.extend(ids(message));
            Some(u32::try_from(sent.len()).unwrap())
        }) {
            let call = u32::try_from(sent.len()).unwrap();
            outbox.on_answer(call, true);
        }
        assert!(sent.iter().all(|id| id != "c"));
        assert_eq!((outbox.bytes, outbox.waiting_bytes), (0, 0));
    }
}
