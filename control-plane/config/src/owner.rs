//! The owners of budgets, and those that have passed a limit.

use std::collections::BTreeMap;

use opentracy_proto::v1;

/// The owner of a budget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    Key(String),
    Alias(String),
}

impl Owner {
    /// `key` or `alias`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Alias(_) => "alias",
        }
    }

    pub fn into_name(self) -> String {
        match self {
            Self::Key(name) | Self::Alias(name) => name,
        }
    }
}

/// Budgets that have passed a limit; those within their limits are left out.
pub type BudgetStatus = BTreeMap<Owner, v1::Budget>;
