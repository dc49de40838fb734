//! Traces: search, sessions, import, export, and feedback on them.

mod export;
mod feedback;
mod import;
mod timeline;
mod traces;

use opentracy_rest::endpoints::Endpoints;

/// All endpoints; each file registers its own.
pub const ENDPOINTS: &[fn() -> Endpoints] =
    &[traces::endpoints, export::endpoints, feedback::endpoints];
