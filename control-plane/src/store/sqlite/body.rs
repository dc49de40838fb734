//! A record as the bytes of one column: JSON, compressed.

use crate::store::{Record, StoreError};

/// Zstandard's fastest: a third of the bytes for some microseconds.
const LEVEL: i32 = 1;

/// Packs many records with the memory of one.
pub struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    pub fn new() -> Result<Self, StoreError> {
        let compressor = zstd::bulk::Compressor::new(LEVEL);
        compressor.map(Self).map_err(unreadable)
    }

    pub fn pack(&mut self, record: &Record) -> Result<Vec<u8>, StoreError> {
        let json = serde_json::to_vec(record).map_err(unreadable)?;
        self.0.compress(&json).map_err(unreadable)
    }
}

pub fn unpack(body: &[u8]) -> Result<Record, StoreError> {
    let json = zstd::decode_all(body).map_err(unreadable)?;
    serde_json::from_slice(&json).map_err(unreadable)
}

fn unreadable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unreadable(error.to_string())
}
