//! Models, and choices between them: decisions, packs, fits and replays.

mod fits;
mod models;
mod packs;
mod replay;
mod route;

use opentracy_rest::endpoints::Endpoints;

/// All endpoints; each file registers its own.
pub const ENDPOINTS: &[fn() -> Endpoints] = &[
    models::endpoints,
    route::endpoints,
    packs::endpoints,
    fits::endpoints,
    replay::endpoints,
];
