//! The key of a limit's account, on both sides of the contract.

use prost::UnknownEnumValue;

use crate::limit_kinds::LimitKind;
use crate::v1::{self, Owner, Unit};

/// One of an owner's limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket {
    pub owner: Owner,
    /// Name of the key or the alias, or `provider/model`.
    pub name: String,
    pub unit: Unit,
}

impl Bucket {
    pub const fn kind(&self) -> &'static LimitKind {
        self.unit.kind()
    }
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

impl TryFrom<v1::Bucket> for Bucket {
    /// The owner or the unit is of a later release.
    type Error = UnknownEnumValue;

    fn try_from(bucket: v1::Bucket) -> Result<Self, Self::Error> {
        Ok(Self {
            owner: bucket.owner.try_into()?,
            unit: bucket.unit.try_into()?,
            name: bucket.name,
        })
    }
}
