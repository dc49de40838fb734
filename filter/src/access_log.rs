//! Values for Envoy's access log that are gone from the headers when it is written: the stages replace them for the provider.

use opentracy_translate::model::ModelId;

use crate::{host, snapshot};

const PATH: &str = "opentracy_path";
const USER_AGENT: &str = "opentracy_user_agent";
const TRACE_ID: &str = "opentracy_trace_id";
const MODEL: &str = "opentracy_model";

/// Keeps what a client sent, if there is an access log. `path` has no query.
pub fn keep_request(path: &str, user_agent: Option<&str>) {
    if is_on() {
        host::keep_for_log(PATH, path);
        host::keep_for_log(USER_AGENT, user_agent.unwrap_or_default());
    }
}

/// Keeps what an attempt belongs to, if there is an access log.
pub fn keep_attempt(trace_id: &str, model: &ModelId) {
    if is_on() {
        host::keep_for_log(TRACE_ID, trace_id);
        host::keep_for_log(MODEL, &model.to_string());
    }
}

fn is_on() -> bool {
    snapshot::current().is_some_and(|snapshot| snapshot.has_access_log)
}
