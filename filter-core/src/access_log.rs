//! Values for Envoy's access log that the headers no longer hold when it is written, because the
//! stages replace the headers for the provider.

use opentracy_translate::model::ModelId;

use crate::host::Host;
use crate::snapshot;

const PATH: &str = "opentracy_path";
const USER_AGENT: &str = "opentracy_user_agent";
const TRACE_ID: &str = "opentracy_trace_id";
const MODEL: &str = "opentracy_model";

/// Stores the client's path and user agent, if there is an access log. `path` has no query.
pub fn keep_request(host: &impl Host, path: &str, user_agent: Option<&str>) {
    if is_on() {
        host.keep_for_log(PATH, path);
        host.keep_for_log(USER_AGENT, user_agent.unwrap_or_default());
    }
}

/// Stores the trace id and the model of an attempt, if there is an access log.
pub fn keep_attempt(host: &impl Host, trace_id: &str, model: &ModelId) {
    if is_on() {
        host.keep_for_log(TRACE_ID, trace_id);
        host.keep_for_log(MODEL, &model.to_string());
    }
}

fn is_on() -> bool {
    snapshot::current().is_some_and(|snapshot| snapshot.has_access_log)
}
