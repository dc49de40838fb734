//! The owners of budgets, and which of them have passed a limit.

use std::collections::BTreeMap;

use opentracy_proto::v1;

/// Whose budget it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    Key(String),
    Alias(String),
}

/// How budgets stand; those that are within their limits are left out.
pub type Standing = BTreeMap<Owner, v1::Budget>;
