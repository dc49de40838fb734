//! The destination of a request, for translation.

use opentracy_translate::exchange::Target;

use super::index::Snapshot;
use super::provider::Provider;

impl Provider {
    /// Returns the translation target for a model of this provider.
    pub fn target<'a>(&'a self, model: &'a str, snapshot: Option<&Snapshot>) -> Target<'a> {
        Target {
            format: self.format,
            model,
            max_output_tokens: snapshot
                .and_then(|snapshot| snapshot.model(&self.name, model).max_output_tokens),
            dialect: self.dialect,
            auto_cache: self.auto_cache,
            serves_responses: self.dialect.responses
                && self
                    .path
                    .as_ref()
                    .is_none_or(|path| path.ends_with("/v1/chat/completions")),
        }
    }
}
