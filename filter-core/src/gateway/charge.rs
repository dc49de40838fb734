//! The charges of a request against limits.

use opentracy_proto::v1::{self, Owner, Unit};

/// One of an owner's limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket {
    pub owner: Owner,
    pub name: String,
    pub unit: Unit,
}

/// The units that a request takes from a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub bucket: Bucket,
    pub units: u64,
    /// The configured limit.
    pub limit: u64,
}

impl From<&Bucket> for v1::Bucket {
    fn from(bucket: &Bucket) -> Self {
        Self {
            owner: bucket.owner.into(),
            name: bucket.name.clone(),
            unit: bucket.unit.into(),
        }
    }
}
