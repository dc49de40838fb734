//! Amazon Bedrock's Converse and ConverseStream.
//!
//! Source: the service model of the AWS SDK (botocore 1.44) and the Bedrock user guide, November
//! 2026.

mod blocks;
pub(crate) mod embeddings;
pub mod error;
pub mod family;
pub mod format;
pub mod request;
pub mod response;
pub mod stream;
mod tools;
mod turns;
mod usage;

/// Returns the path after the base URL. A model's id may be an ARN, with colons and slashes.
pub fn path(model: &str, stream: bool) -> String {
    let model = crate::model::encode_in_path(model);
    let operation = if stream {
        "converse-stream"
    } else {
        "converse"
    };
    format!("/model/{model}/{operation}")
}
