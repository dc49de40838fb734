//! The wire formats that providers speak.

/// The wire format a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// OpenAI's Chat Completions, or a close relative.
    OpenAi,
    /// Anthropic's Messages.
    Anthropic,
    /// Google's `generateContent`.
    Gemini,
    /// Google's Vertex AI, which uses each publisher's format.
    Vertex,
    /// Amazon Bedrock's Converse.
    Bedrock,
    /// Cohere's chat API, version 2.
    Cohere,
}
