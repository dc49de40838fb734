//! Prices, spending against budgets, and the limits on requests and tokens.

mod accounts;
pub mod budget;
pub mod limits;
#[cfg(test)]
mod limits_tests;
pub mod prices;
pub mod reprice;
