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

/// Encoded records. Each is an `IngestRequest` with one record; concatenated, such messages decode
/// as one request with all of the records.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Vec<u8>>,
    in_flight: HashMap<u32, Vec<Vec<u8>>>,
    bytes: usize,
    /// The part of `bytes` that is in `waiting`.
    waiting_bytes: usize,
}

/// An error: the outbox was full, and the record is lost.
#[derive(Debug, PartialEq, Eq)]
pub struct OutboxFull;

impl Outbox {
    pub fn push(&mut self, mut record: v1::IngestRequest) -> Result<(), OutboxFull> {
        let mut size = record.encoded_len() + OVERHEAD;
        if self.bytes + size > MAX_CONTENT_BYTES {
            remove_content(&mut record);
            size = record.encoded_len() + OVERHEAD;
        }
        if self.bytes + size > MAX_BYTES {
            return Err(OutboxFull);
        }
        self.bytes += size;
        self.waiting_bytes += size;
        self.waiting.push_back(record.encode_to_vec());
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
        let mut message = Vec::new();
        let mut count = 0;
        for record in &self.waiting {
            if count > 0 && message.len() + record.len() > MAX_BATCH_BYTES {
                break;
            }
            message.extend_from_slice(record);
            count += 1;
        }
        if count == 0 {
            return false;
        }
        let Some(call) = dispatch(&message) else {
            return false;
        };
        let batch: Vec<_> = self.waiting.drain(..count).collect();
        self.waiting_bytes = self.waiting_bytes.saturating_sub(size_of_all(&batch));
        self.in_flight.insert(call, batch);
        true
    }

    /// Handles the answer to a delivery: removes its records, or queues them again. Returns `false`
    /// if the call isn't a delivery.
    pub fn on_answer(&mut self, call: u32, is_acknowledged: bool) -> bool {
        let Some(batch) = self.in_flight.remove(&call) else {
            return false;
        };
        if is_acknowledged {
            self.bytes = self.bytes.saturating_sub(size_of_all(&batch));
        } else {
            self.waiting_bytes += size_of_all(&batch);
            for record in batch.into_iter().rev() {
                self.waiting.push_front(record);
            }
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

fn size_of_all(batch: &[Vec<u8>]) -> usize {
    batch.iter().map(|record| record.len() + OVERHEAD).sum()
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
        assert_eq!(outbox.waiting.back(), Some(&without("b").encode_to_vec()));
        while outbox.push(trace("c", 1 << 20)).is_ok() {}
        assert!(outbox.bytes <= MAX_BYTES && outbox.bytes > MAX_BYTES - 200);
        outbox.send_batch(|_| Some(1));
        outbox.on_answer(1, true);
        assert_eq!(outbox.push(trace("d", 200)), Ok(()));
        assert_eq!(
            outbox.waiting.back(),
            Some(&trace("d", 200).encode_to_vec()),
            "with its content"
        );
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
}
