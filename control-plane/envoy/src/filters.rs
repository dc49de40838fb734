//! The HTTP filters: the two stages, Envoy's token verification, and the router.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::clusters::{JWKS, native_module};
use opentracy_config::Jwt;

const GATEWAY: &str = "opentracy_gateway";
const PROVIDER: &str = "opentracy_provider";
const HOLD: &str = "opentracy_hold";
const JWT_AUTHN: &str = "opentracy_jwt_authn";

/// The form of the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FilterKind {
    /// A wasm file, which runs in VMs.
    Wasm,
    /// A shared library, which runs in Envoy's own process.
    Native,
}

impl FilterKind {
    /// Returns the path of the filter's file in the images.
    pub const fn default_path(self) -> &'static str {
        match self {
            Self::Wasm => "/etc/opentracy/opentracy_filter.wasm",
            Self::Native => "/etc/opentracy/libopentracy_filter_native.so",
        }
    }
}

/// Filter settings that come from Envoy's configuration rather than from the control plane.
#[derive(Debug, Clone, Copy)]
pub struct Plugin<'a> {
    pub kind: FilterKind,
    /// Path of the filter's file, as Envoy sees it.
    pub file: &'a Path,
    /// The control plane's gRPC services, which a native filter calls by itself.
    pub control_plane: SocketAddr,
    /// The secret that the filter presents to the control plane.
    pub grpc_token: &'a str,
    /// The header in which `jwt_authn` leaves the payload of a verified token. Its name is
    /// unguessable, so a request can't forge it even if `jwt_authn` has been removed from the
    /// chain.
    pub jwt_header: &'a str,
}

/// Builds the filters of the listener for applications, without the router. They are disabled until
/// a virtual host enables them.
pub fn edge(plugin: &Plugin<'_>, jwt: Option<&Jwt>) -> Vec<Value> {
    let mut gateway = json!({"stage": "gateway", "grpc_token": plugin.grpc_token});
    if jwt.is_some() {
        gateway["jwt_header"] = plugin.jwt_header.into();
    }
    let jwt = jwt.map(|jwt| off(jwt_authn(jwt, plugin.jwt_header)));
    let gateway = off(stage(GATEWAY, plugin, &gateway));
    jwt.into_iter().chain([gateway]).collect()
}

/// Enables the filters of [`edge`] on a virtual host.
pub fn enabled_on_edge(has_jwt: bool) -> Value {
    let on = json!({
        "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
        "config": {},
    });
    let names = has_jwt.then_some(JWT_AUTHN).into_iter().chain([GATEWAY]);
    let names = names.map(|name| (name.to_owned(), on.clone()));
    names.collect::<Map<_, _>>().into()
}

/// Builds the provider stage, for the internal listener, which has no other traffic.
pub fn provider(plugin: &Plugin<'_>) -> Value {
    let configuration = json!({"stage": "provider", "grpc_token": plugin.grpc_token});
    stage(PROVIDER, plugin, &configuration)
}

pub fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": true,
        },
    })
}

fn off(mut filter: Value) -> Value {
    filter["disabled"] = true.into();
    filter
}

/// Builds Envoy's verification of JSON Web Tokens. Lets requests without a valid token through,
/// since they may have an API key.
fn jwt_authn(jwt: &Jwt, payload_header: &str) -> Value {
    let mut provider = json!({
        "issuer": jwt.issuer,
        "require_expiration": !jwt.allow_without_expiry,
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "forward": true,
        // Envoy removes a value sent by the client.
        "forward_payload_header": payload_header,
    });
    if !jwt.audiences.is_empty() {
        provider["audiences"] = json!(jwt.audiences);
    }
    match (&jwt.jwks_file, &jwt.jwks_url) {
        (Some(file), _) => {
            provider["local_jwks"] = json!({"filename": file.display().to_string()});
        }
        (None, url) => {
            provider["remote_jwks"] = json!({
                "http_uri": {
                    "uri": url.as_ref().map(ToString::to_string),
                    "cluster": JWKS,
                    "timeout": "5s",
                },
                "cache_duration": "300s",
            });
        }
    }
    json!({
        "name": JWT_AUTHN,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"issuer": provider},
            "rules": [{
                "match": {"prefix": "/"},
                "requires": {"requires_any": {"requirements": [
                    {"provider_name": "issuer"},
                    {"allow_missing_or_failed": {}},
                ]}},
            }],
        },
    })
}

fn stage(name: &str, plugin: &Plugin<'_>, configuration: &Value) -> Value {
    match plugin.kind {
        FilterKind::Wasm => wasm_stage(name, plugin.file, configuration),
        FilterKind::Native => native_stage(name, plugin, configuration),
    }
}

/// Builds a stage of the filter, in a VM of its own. A trap fails every stream in its VM, so a trap
/// in an attempt must not reach the request that the attempt belongs to.
fn wasm_stage(name: &str, wasm: &Path, configuration: &Value) -> Value {
    json!({
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": name,
                "root_id": name,
                "allow_on_headers_stop_iteration": true,
                "failure_policy": "FAIL_RELOAD",
                "reload_config": {"backoff": {"base_interval": "0.1s"}},
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": configuration.to_string(),
                },
                "vm_config": {
                    "vm_id": name,
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": wasm.display().to_string()}},
                },
            },
        },
    })
}

fn native_stage(name: &str, plugin: &Plugin<'_>, configuration: &Value) -> Value {
    let configuration = json!({
        "control_plane": plugin.control_plane.to_string(),
        "plugin": configuration,
    });
    json!({
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": native_module(plugin.file),
            "filter_name": name,
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": configuration.to_string(),
            },
        },
    })
}

/// Builds the filters between Envoy's router and a provider, for a native filter: one that holds an
/// answer until it can't break off before its beginning, and Envoy's codec.
pub fn upstream(module: &Path) -> Value {
    json!([
        {
            "name": HOLD,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
                "dynamic_module_config": native_module(module),
                "filter_name": HOLD,
            },
        },
        {
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
            },
        },
    ])
}
