//! The fields of a call: one row for each, which all of its forms derive from.
//!
//! To add a field, add its row and its number in `trace.proto`. A type that no field has yet also
//! needs its conversions in [`wire`](crate::wire). A new field's attributes must accept records and
//! exports without it: `#[serde(default)]`, unless it is an `Option`.

use std::collections::BTreeMap;

use opentracy_proto::v1;
use opentracy_translate::endpoint::Endpoint;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::wire::{FromMessage, IntoJson, IntoMessage};
use crate::{Cost, Decision, Micros, Outcome, Tokens, TraceError, UserAgent, json_parts};

/// Defines [`Record`], [`Trace`] and the conversions of rows of the form
///
/// ```text
/// /// Documentation and attributes of the field in both structs.
/// NAME: TYPE in records => NAME: TYPE in REST's JSON => NAME in the gRPC message;
/// ```
///
/// REST's JSON has the attempts between the two groups of rows; the others hold them apart from the
/// call.
macro_rules! fields {
    (
        call {$(
            $(#[$meta:meta])*
            $stored:ident: $stored_type:ty => $(#[$json_meta:meta])* $json:ident: $json_type:ty
                => $message:ident;
        )*}
        content {$(
            $(#[$content_meta:meta])*
            $content_stored:ident: $content_type:ty
                => $(#[$content_json_meta:meta])* $content_json:ident: $content_json_type:ty
                => $content_message:ident;
        )*}
    ) => {
        /// One call of a client, as stores hold it.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub struct Record {
            $($(#[$meta])* pub $stored: $stored_type,)*
            $($(#[$content_meta])* pub $content_stored: $content_type,)*
        }

        /// One call of a client.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct Trace {
            $($(#[$meta])* $(#[$json_meta])* pub $json: $json_type,)*
            #[serde(default)]
            pub attempts: Vec<json_parts::Attempt>,
            $($(#[$content_meta])* $(#[$content_json_meta])*
            pub $content_json: $content_json_type,)*
        }

        impl From<Record> for Trace {
            /// Converts a record, without its attempts.
            fn from(record: Record) -> Self {
                Self {
                    $($json: record.$stored.into_json(),)*
                    attempts: Vec::new(),
                    $($content_json: record.$content_stored.into_json(),)*
                }
            }
        }

        impl Record {
            /// Converts a message, without the bodies, which need more than a conversion. Returns
            /// `None` if its id is not a UUID, which the filter never sends.
            pub fn from_message(message: &v1::Trace) -> Option<Self> {
                Some(Self {
                    $($stored: FromMessage::from_message(&message.$message)?,)*
                    $($content_stored: FromMessage::from_message(&message.$content_message)?,)*
                })
            }
        }

        impl Trace {
            /// Converts an imported trace, without its attempts. An error names the field.
            pub(crate) fn into_message(self) -> Result<v1::Trace, String> {
                Ok(v1::Trace {
                    $($message: self.$json.into_message()?,)*
                    $($content_message: self.$content_json.into_message()?,)*
                })
            }
        }
    };
}

fields! {
    call {
        id: Uuid => id: Uuid => id;
        /// RFC 3339, UTC.
        started_at: Micros => started_at: String => start_unix_micros;
        /// The endpoint: `chat_completions`, `messages`, `responses`, `embeddings`, …
        #[serde(default)]
        api: Endpoint => #[cfg_attr(feature = "openapi", schema(value_type = String))] api: Endpoint
            => api;
        /// The model or alias that the client requested.
        #[serde(default)]
        requested_model: String => requested_model: String => requested_model;
        alias: Option<String> => alias: Option<String> => alias;
        provider: Option<String> => provider: Option<String> => provider;
        model: Option<String> => model: Option<String> => model;
        /// The name of the client's key.
        key: Option<String> => key: Option<String> => key;
        /// The SDK or program that made the call, and its version: `OpenAI/Python 2.1.0`.
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<UserAgent>
            => #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
               client: Option<UserAgent>
            => client;
        #[serde(default)]
        stream: bool => stream: bool => stream;
        /// The HTTP status that the client got; 0 if it disconnected before there was one.
        status: u16 => status: u16 => status;
        outcome: Outcome => outcome: Outcome => outcome;
        error: Option<TraceError> => error: Option<TraceError> => error;
        latency: Micros => latency_ms: f64 => latency_micros;
        time_to_first_token: Option<Micros> => time_to_first_token_ms: Option<f64>
            => time_to_first_token_micros;
        #[serde(default)]
        routing: Micros => routing_ms: f64 => routing_micros;
        tokens: Option<Tokens> => tokens: Option<Tokens> => usage;
        /// `null` if a price is unknown.
        cost: Option<Cost> => cost: Option<json_parts::Cost> => cost;
        session_id: Option<String> => session_id: Option<String> => session_id;
        cluster_id: Option<u32> => cluster_id: Option<u32> => cluster_id;
        expected_error: Option<f64> => expected_error: Option<f64> => expected_error;
        /// The router's decision; `null` if the client named the model.
        decision: Option<Decision> => decision: Option<Decision> => decision;
        user: Option<String> => user: Option<String> => user;
        #[serde(default)]
        metadata: BTreeMap<String, String> => metadata: BTreeMap<String, String> => metadata;
        /// W3C Trace Context, as received.
        traceparent: Option<String> => traceparent: Option<String> => traceparent;
    }
    content {
        /// The request's messages and parameters; `null` if content is not recorded.
        request: Option<Box<RawValue>>
            => #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
               request: Option<Box<RawValue>>
            => request;
        /// The response in the client's API format, reassembled if it was streamed.
        response: Option<Box<RawValue>>
            => #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
               response: Option<Box<RawValue>>
            => response;
        #[serde(default)]
        content_truncated: bool => content_truncated: bool => content_truncated;
    }
}

impl Record {
    /// Serializes the complete record, as stores hold it.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Returns the sum of input and output tokens.
    pub fn total_tokens(&self) -> Option<u64> {
        self.tokens
            .map(|tokens| tokens.input.saturating_add(tokens.output))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn exported() -> Value {
        json!({
            "id": "01a1fd8e-a147-7760-a624-7a3e86a1d7a1", "started_at": "2026-11-21T10:02:25.565Z",
            "api": "messages", "requested_model": "smart", "alias": "smart", "provider": "openai",
            "model": "gpt-4o", "key": "team-a", "client": "OpenAI/Python 2.1.0", "stream": true,
            "status": 429, "outcome": "client_disconnected",
            "error": {"type": "rate_limit_error", "code": null, "message": "slow down"},
            "latency_ms": 12.345, "time_to_first_token_ms": 1.5, "routing_ms": 0.25,
            "tokens": {"input": 9, "output": 8, "cache_read": 7, "cache_write": 6, "reasoning": 5},
            "cost": {"input": 0.1, "output": 0.2, "cache_read": 0.0, "cache_write": 0.0, "total": 0.3},
            "session_id": "ses_1", "cluster_id": 3, "expected_error": 0.125,
            "decision": {"outcome": "decided", "pack": null, "score": 0.5, "cost_weight": null,
                "embedding_ms": 2.5, "reason": "the best"},
            "user": "jane", "metadata": {"team": "search"}, "traceparent": "00-1-2-01",
            "attempts": [], "request": null, "response": null, "content_truncated": true,
        })
    }

    #[test]
    fn an_export_survives_its_import() {
        let trace: Trace = serde_json::from_value(exported()).unwrap();
        let request = trace.into_request().unwrap();
        let record = Record::from_message(&request.traces[0]).unwrap();
        let stored = record.to_json().unwrap();
        let record = Record::from_json(stored.as_bytes()).unwrap();
        assert_eq!(
            serde_json::to_value(Trace::from(record)).unwrap(),
            exported()
        );
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let mut earlier = exported();
        earlier.as_object_mut().unwrap().remove("client");
        let trace: Trace = serde_json::from_value(earlier.clone()).unwrap();
        let request = trace.into_request().unwrap();
        let record = Record::from_message(&request.traces[0]).unwrap();
        assert!(!record.to_json().unwrap().contains("client\""));
        assert_eq!(serde_json::to_value(Trace::from(record)).unwrap(), earlier);
    }
}
