//! OpenAI's answer with embeddings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json;

/// The common form of every provider's answer.
pub struct EmbeddingsAnswer {
    pub vectors: Vec<Vec<f32>>,
    /// 0 if the provider doesn't report it.
    pub tokens: u64,
}

#[derive(Deserialize)]
struct Wire {
    data: Vec<Datum>,
    #[serde(default)]
    usage: Usage,
}

#[derive(Deserialize)]
struct Datum {
    embedding: Vec<f32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    prompt_tokens: u64,
}

/// Parses OpenAI's own answer.
pub fn read(body: &[u8]) -> Result<EmbeddingsAnswer, ApiError> {
    let wire: Wire = json::from_bytes(body).map_err(ApiError::unreadable)?;
    Ok(EmbeddingsAnswer {
        vectors: wire.data.into_iter().map(|datum| datum.embedding).collect(),
        tokens: wire.usage.prompt_tokens,
    })
}

impl EmbeddingsAnswer {
    pub fn to_json(&self, model: &str, as_base64: bool) -> Vec<u8> {
        let data = self.vectors.iter().enumerate().map(|(index, vector)| {
            let embedding: Value = if as_base64 {
                let bytes: Vec<u8> = vector
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                BASE64.encode(bytes).into()
            } else {
                vector.iter().copied().collect()
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        });
        let data: Vec<Value> = data.collect();
        let usage = json!({"prompt_tokens": self.tokens, "total_tokens": self.tokens});
        let body = json!({"object": "list", "data": data, "model": model, "usage": usage});
        body.to_string().into_bytes()
    }
}
