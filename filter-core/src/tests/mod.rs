//! Tests of whole exchanges through the stages, without a real Envoy.

mod chat;
mod recorded;
mod world;
