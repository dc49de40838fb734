//! Tests of whole exchanges through the stages, without a real Envoy.

mod access;
mod answers;
mod cache;
mod chat;
mod dispatch;
mod endpoints;
mod failures;
mod host_calls;
mod limits;
mod recorded;
mod routing;
mod strategies;
mod streams;
mod world;

mod circuit_breaker;
mod delivery;
mod failover;
mod hedging;
mod own_attempts;
mod passthrough_admission;
mod passthrough_failures;
mod passthrough_requests;
mod provider_failures;
mod provider_stage;
mod proxy;
mod root;
mod stages;
mod stored_objects;
mod stream_ends;
