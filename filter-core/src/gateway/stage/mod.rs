//! The context of a client's request in the gateway stage.

mod callbacks;
mod reply;
mod request;
mod state;

pub use state::GatewayStage;
