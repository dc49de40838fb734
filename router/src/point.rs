//! A prompt in the space of embeddings.

/// A prompt, as the router sees it.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// Unit-length embedding.
    pub embedding: &'a [f32],
    /// The embedded text, if known.
    pub text: Option<&'a str>,
}
