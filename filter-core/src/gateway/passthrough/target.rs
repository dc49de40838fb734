//! The provider and the path that a passthrough call is sent to.

use std::rc::Rc;

use opentracy_translate::embeddings;
use opentracy_translate::endpoint::Endpoint;
use opentracy_translate::error::ApiError;
use opentracy_translate::exchange::Outgoing;
use opentracy_translate::format;
use opentracy_translate::json;
use opentracy_translate::model;
use opentracy_translate::object::Object;

use crate::snapshot::Provider;

pub struct PassthroughTarget {
    pub provider: Rc<Provider>,
    /// The provider's name for the model; empty if no model is named.
    pub model: String,
    /// The client's name for the model.
    pub requested: String,
    pub alias: Option<String>,
    /// The full path at the provider.
    pub path: String,
    /// The body that replaces the client's; `None` if that needs no change.
    pub body: Option<Vec<u8>>,
    /// Set if the answer's format differs from the one that the client expects.
    pub translation: Option<Endpoint>,
    /// Set if all of the client's headers are passed on.
    pub is_proxied: bool,
    /// Further attempts, if the whole body is buffered.
    pub retries: u32,
}

impl PassthroughTarget {
    /// Returns the model as `provider/model`.
    pub fn id(&self) -> String {
        model::id_of(&self.provider.name, &self.model)
    }

    /// Returns the path below the provider's base path.
    pub fn own_path(&self) -> &str {
        let path = self.path.as_str();
        path.strip_prefix(self.provider.base_path.as_str())
            .unwrap_or(path)
    }

    /// Translates an answer to OpenAI's format; `None` if it needs no change.
    pub fn read_answer(
        &self,
        status: u16,
        body: &[u8],
        request: &[u8],
    ) -> Result<Option<Vec<u8>>, ApiError> {
        if status >= 400 {
            let (format, name) = (self.provider.format, &self.provider.name);
            return Err(format::translate_error(format, name, status, body));
        }
        embeddings::translate_response(body, request, &self.embeddings())
    }

    /// Puts the provider's name for the model into a body that has another. Embeddings are
    /// rewritten anyway.
    pub(super) fn name_model(
        &mut self,
        text: &str,
        named: &str,
        endpoint: Endpoint,
    ) -> Result<(), ApiError> {
        if self.model != named && endpoint != Endpoint::Embeddings {
            self.body = Some(with_model(text, &self.model)?);
        }
        Ok(())
    }

    fn embeddings(&self) -> embeddings::EmbeddingsTarget<'_> {
        embeddings::EmbeddingsTarget {
            format: self.provider.format,
            model: &self.model,
            dialect: self.provider.dialect,
        }
    }
}

/// Returns the target for a model, on the endpoint's path.
pub(super) fn target(
    endpoint: Endpoint,
    provider: Rc<Provider>,
    model: &str,
    requested: &str,
) -> PassthroughTarget {
    let suffix = endpoint.path().strip_prefix("/v1").unwrap_or_default();
    PassthroughTarget {
        path: provider.path(model, suffix),
        provider,
        model: model.to_owned(),
        requested: requested.to_owned(),
        alias: None,
        body: None,
        translation: None,
        is_proxied: false,
        retries: 0,
    }
}

/// Translates a request for a provider with another format.
pub(super) fn translated(
    mut target: PassthroughTarget,
    endpoint: Endpoint,
    body: &[u8],
) -> Result<PassthroughTarget, ApiError> {
    match endpoint {
        Endpoint::Embeddings => {
            let Outgoing { path, body } =
                embeddings::translate_request(body, &target.embeddings())?;
            if !target.provider.format.facts().has_openai_paths {
                target.path = format!("{}{path}", target.provider.base_path);
            }
            target.body = body;
            target.translation = Some(endpoint);
        }
        _ if target.provider.format.facts().has_openai_paths => {}
        _ => {
            let provider = &target.provider;
            if let Some(path) = provider.format.facts().path_of(endpoint) {
                target.path = format!("{}{path}", provider.base_path);
                return Ok(target);
            }
            let message = format!(
                "{} does not support {}; use a model of another provider, or /proxy/{}/ for its own API",
                target.provider.name,
                endpoint.path(),
                target.provider.name
            );
            return Err(ApiError::invalid("model", message).with_code("unsupported_endpoint"));
        }
    }
    Ok(target)
}

fn with_model(text: &str, model: &str) -> Result<Vec<u8>, ApiError> {
    let mut object = Object::parse(text).map_err(|error| {
        ApiError::new(400, json::describe_error(&error)).with_code("invalid_json")
    })?;
    object.set("model", model);
    let mut body = Vec::new();
    json::write(&mut body, &object);
    Ok(body)
}
