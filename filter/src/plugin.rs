//! The plugin's configuration: what Envoy's own configuration says, and no control plane can change.

use std::cell::RefCell;

use opentracy_translate::json;
use serde::Deserialize;

/// Which of the two stages this VM runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Gateway,
    Provider,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    stage: Stage,
    /// The secret that the control plane's gRPC services ask for.
    #[serde(default)]
    grpc_token: String,
    /// The header in which the `jwt_authn` filter before this one leaves the payload of a token that it has verified. Where
    /// it is not set, Envoy verifies none and no header is believed.
    jwt_header: Option<String>,
}

thread_local! {
    static PLUGIN: RefCell<Option<Plugin>> = const { RefCell::new(None) };
}

/// Reads the configuration that Envoy hands over. An error says what to write.
pub fn configure(bytes: &[u8]) -> Result<(), String> {
    let plugin: Plugin = json::from_bytes(bytes).map_err(|error| {
        format!(
            "the plugin's configuration must be an object such as {{\"stage\":\"gateway\",\"grpc_token\":\"…\"}}; `opentracy envoy-config` prints it: {error}"
        )
    })?;
    PLUGIN.set(Some(plugin));
    Ok(())
}

pub fn stage() -> Option<Stage> {
    PLUGIN.with_borrow(|plugin| plugin.as_ref().map(|plugin| plugin.stage))
}

pub fn grpc_token() -> String {
    PLUGIN.with_borrow(|plugin| {
        let plugin = plugin.as_ref();
        plugin.map_or_else(String::new, |plugin| plugin.grpc_token.clone())
    })
}

pub fn jwt_header() -> Option<String> {
    PLUGIN.with_borrow(|plugin| plugin.as_ref()?.jwt_header.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_header_is_believed_only_where_envoy_says_so() {
        configure(br#"{"stage":"gateway","grpc_token":"t"}"#).unwrap();
        assert_eq!((stage(), jwt_header()), (Some(Stage::Gateway), None));
        configure(br#"{"stage":"gateway","jwt_header":"x-opentracy-jwt-1"}"#).unwrap();
        assert_eq!(jwt_header().as_deref(), Some("x-opentracy-jwt-1"));
        for wrong in [
            "",
            "{}",
            r#"{"stage":"other"}"#,
            r#"{"stage":"gateway","x":1}"#,
        ] {
            assert!(configure(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
