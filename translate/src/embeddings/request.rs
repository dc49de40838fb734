//! OpenAI's request for embeddings.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::body;
use crate::error::ApiError;

/// OpenAI's request.
#[derive(Deserialize)]
pub struct Request<'a> {
    /// The whole body.
    #[serde(skip)]
    pub text: &'a str,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    pub dimensions: Option<u32>,
    #[serde(borrow)]
    encoding_format: Option<Cow<'a, str>>,
    /// Not OpenAI's: Cohere's and Google's distinction between kinds of text.
    #[serde(borrow)]
    pub input_type: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Many(#[serde(borrow)] Vec<Cow<'a, str>>),
}

impl<'a> Request<'a> {
    /// Parses a client's body.
    pub fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(body)
            .map_err(|_| ApiError::new(400, "The body is not UTF-8").with_code("invalid_json"))?;
        let request = body::parse(body)?;
        Ok(Self { text, ..request })
    }
}

impl Request<'_> {
    /// Returns the texts to embed; at least one.
    pub fn texts(&self) -> Result<Vec<Cow<'_, str>>, ApiError> {
        let Some(input) = self.input.filter(|input| input.get() != "null") else {
            return Err(ApiError::invalid(
                "input",
                "`input` is missing; send a text or a list of texts",
            ));
        };
        match serde_json::from_str(input.get()) {
            Ok(Input::One(text)) => Ok(vec![text]),
            Ok(Input::Many(texts)) if !texts.is_empty() => Ok(texts),
            _ => Err(ApiError::invalid(
                "input",
                "`input` must be a text or a list of texts; this model does not accept tokens",
            )),
        }
    }

    /// Returns true if the vectors are sent as base64, which OpenAI's SDKs request by default.
    pub fn wants_base64(&self) -> bool {
        self.encoding_format.as_deref() == Some("base64")
    }
}

/// Adds a member to an object if it has a value.
pub fn with(mut object: Value, name: &str, value: Option<impl Into<Value>>) -> Value {
    if let (Value::Object(members), Some(value)) = (&mut object, value) {
        members.insert(name.to_owned(), value.into());
    }
    object
}
