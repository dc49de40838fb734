//! The entry point: translates a request for a provider of any format, and its answer back.

use crate::bedrock::embeddings as bedrock;
use crate::body;
use crate::cohere::embeddings as cohere;
use crate::embeddings::answer::{self, Answer};
use crate::embeddings::request::Request;
use crate::error::ApiError;
use crate::exchange::Outgoing;
use crate::gemini::embeddings as gemini;
use crate::json;
use crate::object::Object;
use crate::openai::dialect::Dialect;
use crate::vertex::embeddings as vertex;
use crate::wire_format::Format;

const PATH: &str = "/embeddings";

/// The destination of a request.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub format: Format,
    pub model: &'a str,
    pub dialect: &'static Dialect,
}

/// Translates a client's body into a provider's.
pub fn translate_request(body: &[u8], target: &Target<'_>) -> Result<Outgoing, ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|_| ApiError::new(400, "The body is not UTF-8").with_code("invalid_json"))?;
    let request: Request<'_> = body::parse(text.as_bytes())?;
    let (path, body) = match target.format {
        Format::OpenAi => return openai(text, &request, target),
        Format::Gemini => gemini::request(target.model, &request)?,
        Format::Vertex => vertex::request(target.model, &request)?,
        Format::Bedrock => bedrock::request(target.model, &request)?,
        Format::Cohere => cohere::request(target.model, &request)?,
        Format::Anthropic => {
            let words = "Anthropic has no embeddings; use a model of another provider";
            return Err(ApiError::invalid("model", words));
        }
    };
    Ok(Outgoing {
        path,
        body: Some(body),
    })
}

/// Builds the request for a server of OpenAI's format: with the model's own name, and the
/// provider's name for the dimensions.
fn openai(text: &str, request: &Request<'_>, target: &Target<'_>) -> Result<Outgoing, ApiError> {
    let mut object = Object::parse(text).map_err(|error| {
        ApiError::new(400, json::describe_error(&error)).with_code("invalid_json")
    })?;
    object.set("model", target.model);
    if !target.dialect.base64_embeddings {
        object.remove("encoding_format");
    }
    if let (Some(name), Some(dimensions)) =
        (target.dialect.embedding_dimensions, request.dimensions)
    {
        object.remove("dimensions");
        object.set(name, &dimensions);
    }
    let mut body = Vec::new();
    json::write(&mut body, &object);
    Ok(Outgoing {
        path: PATH.into(),
        body: Some(body),
    })
}

/// Translates a provider's answer into OpenAI's. Returns `None` if it already is one.
pub fn translate_response(
    body: &[u8],
    request: &[u8],
    target: &Target<'_>,
) -> Result<Option<Vec<u8>>, ApiError> {
    let request: Request<'_> = body::parse(request)?;
    let answer: Answer = match target.format {
        Format::OpenAi if target.dialect.base64_embeddings || !request.wants_base64() => {
            return Ok(None);
        }
        Format::OpenAi | Format::Anthropic => answer::read(body)?,
        Format::Gemini => gemini::response(body)?,
        Format::Vertex => vertex::response(body)?,
        Format::Bedrock => bedrock::response(body)?,
        Format::Cohere => cohere::response(body)?,
    };
    Ok(Some(answer.to_json(target.model, request.wants_base64())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::dialect;
    use serde_json::{Value, json};

    fn target(format: Format, model: &str) -> Target<'_> {
        Target {
            format,
            model,
            dialect: &dialect::COMPATIBLE,
        }
    }

    fn sent(format: Format, model: &str, body: &Value) -> (String, Value) {
        let outgoing =
            translate_request(body.to_string().as_bytes(), &target(format, model)).unwrap();
        let body = serde_json::from_slice(&outgoing.body.unwrap()).unwrap();
        (outgoing.path.into_owned(), body)
    }

    fn got(format: Format, model: &str, request: &Value, answer: &Value) -> Value {
        let (request, answer) = (request.to_string(), answer.to_string());
        let target = target(format, model);
        let body = translate_response(answer.as_bytes(), request.as_bytes(), &target);
        serde_json::from_slice(&body.unwrap().unwrap()).unwrap()
    }

    #[test]
    fn each_provider_gets_what_it_wants() {
        let body = json!({"model": "x", "input": ["a", "b"], "dimensions": 8, "encoding_format": "base64"});
        assert_eq!(
            sent(Format::OpenAi, "e", &body),
            (
                "/embeddings".into(),
                json!({"model": "e", "input": ["a", "b"], "dimensions": 8})
            )
        );
        let (path, gemini) = sent(Format::Gemini, "gemini-embedding-001", &body);
        assert_eq!(path, "/models/gemini-embedding-001:batchEmbedContents");
        assert_eq!(
            gemini["requests"][1],
            json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "b"}]}, "outputDimensionality": 8})
        );
        let (path, cohere) = sent(Format::Cohere, "embed-v4.0", &body);
        assert_eq!(path, "/v2/embed");
        assert_eq!(
            cohere,
            json!({"model": "embed-v4.0", "texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"], "output_dimension": 8})
        );
        let (path, vertex) = sent(Format::Vertex, "text-embedding-005", &body);
        assert_eq!(path, "/publishers/google/models/text-embedding-005:predict");
        assert_eq!(vertex["instances"][0], json!({"content": "a"}));
        let one = json!({"model": "x", "input": "a"});
        let (path, titan) = sent(Format::Bedrock, "amazon.titan-embed-text-v2:0", &one);
        assert_eq!(path, "/model/amazon.titan-embed-text-v2%3A0/invoke");
        assert_eq!(titan, json!({"inputText": "a"}));
        let (_, of_cohere) = sent(Format::Bedrock, "cohere.embed-english-v3", &body);
        assert_eq!(of_cohere["texts"], json!(["a", "b"]));
    }

    #[test]
    fn answers_are_openais() {
        let request = json!({"model": "x", "input": ["a", "b"]});
        let expected = json!([[0.5, 1.0], [0.25, 0.0]]);
        for (format, model, answer) in [
            (
                Format::Gemini,
                "e",
                json!({"embeddings": [{"values": [0.5, 1.0]}, {"values": [0.25, 0.0]}]}),
            ),
            (
                Format::Cohere,
                "e",
                json!({"embeddings": {"float": [[0.5, 1.0], [0.25, 0.0]]}, "meta": {"billed_units": {"input_tokens": 7}}}),
            ),
            (
                Format::Vertex,
                "e",
                json!({"predictions": [
                    {"embeddings": {"values": [0.5, 1.0], "statistics": {"token_count": 3}}},
                    {"embeddings": {"values": [0.25, 0.0], "statistics": {"token_count": 4}}},
                ]}),
            ),
            (
                Format::Bedrock,
                "cohere.embed-v4:0",
                json!({"embeddings": [[0.5, 1.0], [0.25, 0.0]]}),
            ),
        ] {
            let answer = got(format, model, &request, &answer);
            let vectors: Vec<&Value> = answer["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|each| &each["embedding"])
                .collect();
            assert_eq!(json!(vectors), expected, "{format:?}");
            assert_eq!(answer["object"], "list");
            assert_eq!(answer["data"][1]["index"], 1);
            if format != Format::Gemini && format != Format::Bedrock {
                assert_eq!(answer["usage"]["prompt_tokens"], 7);
            }
        }
        let titan = json!({"embedding": [0.5], "inputTextTokenCount": 3});
        let one = json!({"model": "x", "input": "a"});
        let answer = got(
            Format::Bedrock,
            "amazon.titan-embed-text-v2:0",
            &one,
            &titan,
        );
        assert_eq!(
            answer["usage"],
            json!({"prompt_tokens": 3, "total_tokens": 3})
        );
    }

    #[test]
    fn vectors_go_as_base64_where_that_is_asked_for() {
        let request = json!({"model": "x", "input": "a", "encoding_format": "base64"});
        let answer = json!({"embeddings": [{"values": [1.0, -2.0]}]});
        let answer = got(Format::Gemini, "e", &request, &answer);
        assert_eq!(answer["data"][0]["embedding"], "AACAPwAAAMA=");
    }

    #[test]
    fn what_a_model_can_not_be_asked_is_said() {
        let refused = |format, model, body: Value| {
            let target = target(format, model);
            let error = translate_request(body.to_string().as_bytes(), &target).unwrap_err();
            (error.status, error.param)
        };
        let input = |value: Value| json!({"model": "x", "input": value});
        let of_input = (400, Some("input".to_owned()));
        assert_eq!(refused(Format::Gemini, "e", input(json!([1, 2]))), of_input);
        assert_eq!(refused(Format::Gemini, "e", input(json!([]))), of_input);
        assert_eq!(
            refused(Format::Cohere, "e", json!({"model": "x"})),
            of_input
        );
        let two = input(json!(["a", "b"]));
        assert_eq!(
            refused(Format::Bedrock, "amazon.titan-embed-text-v2:0", two),
            of_input
        );
        let model = Some("model".to_owned());
        assert_eq!(
            refused(Format::Anthropic, "e", input(json!("a"))),
            (400, model.clone())
        );
        assert_eq!(
            refused(Format::Bedrock, "meta.llama", input(json!("a"))),
            (400, model)
        );
    }
}
