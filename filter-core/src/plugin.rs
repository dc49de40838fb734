//! The plugin's configuration, which comes from Envoy's own configuration; the control plane can't
//! change it.

use std::cell::RefCell;

use opentracy_translate::json;
use serde::Deserialize;

use crate::vm::vm_local;

/// The stage that this VM runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageName {
    Gateway,
    Provider,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    stage: StageName,
    /// The secret that the control plane's gRPC services require.
    #[serde(default)]
    grpc_token: String,
    /// The header in which the preceding `jwt_authn` filter leaves the payload of a token that it
    /// has verified. If unset, Envoy verifies no tokens and no header is trusted.
    jwt_header: Option<String>,
}

vm_local! {
    static PLUGIN: RefCell<Option<Plugin>> = const { RefCell::new(None) };
}

/// Activates the configuration that Envoy passes in, and returns its stage. An error names the
/// expected form.
pub fn configure(bytes: &[u8]) -> Result<StageName, String> {
    let plugin: Plugin = json::from_bytes(bytes).map_err(|error| {
        format!(
            "the plugin's configuration must be an object such as {{\"stage\":\"gateway\",\"grpc_token\":\"…\"}}; `opentracy envoy-config` prints it: {error}"
        )
    })?;
    let stage = plugin.stage;
    PLUGIN.set(Some(plugin));
    Ok(stage)
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
        let stage = configure(br#"{"stage":"gateway","grpc_token":"t"}"#);
        assert_eq!((stage, jwt_header()), (Ok(StageName::Gateway), None));
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
