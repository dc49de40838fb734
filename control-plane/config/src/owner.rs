//! The owners of budgets, and those that have passed a limit.

use std::collections::BTreeMap;

use opentracy_proto::v1;

/// The owner of a budget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    Key(String),
    Alias(String),
}

/// Budgets that have passed a limit; those within their limits are left out.
pub type BudgetStatus = BTreeMap<Owner, v1::Budget>;
