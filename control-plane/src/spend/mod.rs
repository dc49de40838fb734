//! Prices, spending against budgets, and the limits on requests and tokens.

pub mod budget;
pub mod limits;
#[path = "../../config/src/owner.rs"]
pub mod owner;
pub mod prices;
pub mod reprice;
