//! The entry point: translates a request for a provider of any format, and its answer back.

use crate::embeddings::answer;
use crate::embeddings::request::Request;
use crate::error::ApiError;
use crate::exchange::{Format, Outgoing};
use crate::openai::dialect::Dialect;

/// The destination of a request.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddingsTarget<'a> {
    pub format: Format,
    pub model: &'a str,
    pub dialect: &'static Dialect,
}

/// Translates a client's body into a provider's.
pub fn translate_request(body: &[u8], target: &EmbeddingsTarget<'_>) -> Result<Outgoing, ApiError> {
    let request = Request::parse(body)?;
    let Some(format) = target.format.embeddings() else {
        let vendor = target.format.facts().vendor;
        let message = format!("{vendor} has no embeddings; use a model of another provider");
        return Err(ApiError::invalid("model", message));
    };
    let (path, body) = format.translate_request(&request, target.model, target.dialect)?;
    Ok(Outgoing::new(path, body))
}

/// Translates a provider's answer into OpenAI's. Returns `None` if it already is one.
pub fn translate_response(
    body: &[u8],
    request: &[u8],
    target: &EmbeddingsTarget<'_>,
) -> Result<Option<Vec<u8>>, ApiError> {
    let request = Request::parse(request)?;
    let answer = match target.format.embeddings() {
        Some(format) => format.translate_response(body, &request, target.dialect)?,
        None => Some(answer::read(body)?),
    };
    Ok(answer.map(|answer| answer.to_json(target.model, request.wants_base64())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::dialect;
    use crate::wire_format::Format;
    use serde_json::{Value, json};

    fn target(format: Format, model: &str) -> EmbeddingsTarget<'_> {
        EmbeddingsTarget {
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
            sent(Format::OPENAI, "e", &body),
            (
                "/embeddings".into(),
                json!({"model": "e", "input": ["a", "b"], "dimensions": 8})
            )
        );
        let (path, gemini) = sent(Format::GEMINI, "gemini-embedding-001", &body);
        assert_eq!(path, "/models/gemini-embedding-001:batchEmbedContents");
        assert_eq!(
            gemini["requests"][1],
            json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "b"}]}, "outputDimensionality": 8})
        );
        let (path, cohere) = sent(Format::COHERE, "embed-v4.0", &body);
        assert_eq!(path, "/v2/embed");
        assert_eq!(
            cohere,
            json!({"model": "embed-v4.0", "texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"], "output_dimension": 8})
        );
        let (path, vertex) = sent(Format::VERTEX, "text-embedding-005", &body);
        assert_eq!(path, "/publishers/google/models/text-embedding-005:predict");
        assert_eq!(vertex["instances"][0], json!({"content": "a"}));
        let one = json!({"model": "x", "input": "a"});
        let (path, titan) = sent(Format::BEDROCK, "amazon.titan-embed-text-v2:0", &one);
        assert_eq!(path, "/model/amazon.titan-embed-text-v2%3A0/invoke");
        assert_eq!(titan, json!({"inputText": "a"}));
        let (_, of_cohere) = sent(Format::BEDROCK, "cohere.embed-english-v3", &body);
        assert_eq!(of_cohere["texts"], json!(["a", "b"]));
    }

    #[test]
    fn answers_are_openais() {
        let request = json!({"model": "x", "input": ["a", "b"]});
        let expected = json!([[0.5, 1.0], [0.25, 0.0]]);
        for (format, model, answer) in [
            (
                Format::GEMINI,
                "e",
                json!({"embeddings": [{"values": [0.5, 1.0]}, {"values": [0.25, 0.0]}]}),
            ),
            (
                Format::COHERE,
                "e",
                json!({"embeddings": {"float": [[0.5, 1.0], [0.25, 0.0]]}, "meta": {"billed_units": {"input_tokens": 7}}}),
            ),
            (
                Format::VERTEX,
                "e",
                json!({"predictions": [
                    {"embeddings": {"values": [0.5, 1.0], "statistics": {"token_count": 3}}},
                    {"embeddings": {"values": [0.25, 0.0], "statistics": {"token_count": 4}}},
                ]}),
            ),
            (
                Format::BEDROCK,
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
            if format != Format::GEMINI && format != Format::BEDROCK {
                assert_eq!(answer["usage"]["prompt_tokens"], 7);
            }
        }
        let titan = json!({"embedding": [0.5], "inputTextTokenCount": 3});
        let one = json!({"model": "x", "input": "a"});
        let answer = got(
            Format::BEDROCK,
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
        let answer = got(Format::GEMINI, "e", &request, &answer);
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
        assert_eq!(refused(Format::GEMINI, "e", input(json!([1, 2]))), of_input);
        assert_eq!(refused(Format::GEMINI, "e", input(json!([]))), of_input);
        assert_eq!(
            refused(Format::COHERE, "e", json!({"model": "x"})),
            of_input
        );
        let two = input(json!(["a", "b"]));
        assert_eq!(
            refused(Format::BEDROCK, "amazon.titan-embed-text-v2:0", two),
            of_input
        );
        let model = Some("model".to_owned());
        assert_eq!(
            refused(Format::ANTHROPIC, "e", input(json!("a"))),
            (400, model.clone())
        );
        assert_eq!(
            refused(Format::BEDROCK, "meta.llama", input(json!("a"))),
            (400, model)
        );
    }
}
