//! Query strings.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use opentracy_trace::columns;
use opentracy_translate::error::ApiError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{Object, Required, schema};

use crate::error::Error;
use opentracy_store::{Bounds, Filter, Micros, PicoUsd, words};

/// Trace filters: the exact value of a searched column, and conditions of their own.
/// `metadata.NAME=VALUE` also filters by the request's own metadata.
pub struct FilterParams;

impl IntoParams for FilterParams {
    fn into_params(parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let searches = columns::searches().map(|search| {
            ParameterBuilder::new()
                .name(search.parameter)
                .parameter_in(ParameterIn::Query)
                .description(Some(search.description))
                .required(Required::False)
                .schema(Some(Object::with_type(schema::Type::String)))
                .build()
        });
        let conditions = ConditionParams::into_params(parameter_in);
        searches.chain(conditions).collect()
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct ConditionParams {
    /// A model's name, with or without its provider.
    model: Option<String>,
    /// The number of a semantic cluster.
    cluster: Option<u32>,
    /// A session id.
    session: Option<String>,
    /// The user, as named in the request.
    user: Option<String>,
    /// The HTTP status that the client got: `429`, or `4xx`.
    status: Option<String>,
    /// RFC 3339; calls that started then or later.
    since: Option<String>,
    /// RFC 3339; calls that started before.
    until: Option<String>,
    /// USD; minimum cost of the call.
    min_cost: Option<f64>,
    /// USD; maximum cost of the call.
    max_cost: Option<f64>,
    /// Minimum latency of the call.
    min_latency_ms: Option<f64>,
    /// Maximum latency of the call.
    max_latency_ms: Option<f64>,
    /// Minimum number of tokens, input and output together.
    min_tokens: Option<u64>,
    /// Maximum number of tokens, input and output together.
    max_tokens: Option<u64>,
    /// A name that the request's metadata must contain, with any value.
    metadata_key: Option<String>,
    /// Words that must all occur in the conversation.
    q: Option<String>,
}

const LABEL: &str = "metadata.";

/// Parses a query string into a filter and the endpoint's own parameters.
pub fn read<P: DeserializeOwned + IntoParams>(
    pairs: Vec<(String, String)>,
) -> Result<(Filter, P), Error> {
    let filters = names::<FilterParams>();
    let others = names::<P>();
    let (mut searched, mut labels) = (BTreeMap::new(), BTreeMap::new());
    let (mut filter, mut rest) = (Map::new(), Map::new());
    for (name, value) in pairs {
        if let Some(label) = name.strip_prefix(LABEL) {
            labels.insert(label.to_owned(), Some(value));
        } else if let Some(search) = columns::searches().find(|search| search.parameter == name) {
            searched.insert(search.column, value);
        } else if filters.contains(&name) {
            let value = typed(&name, value)?;
            filter.insert(name, value);
        } else if others.contains(&name) {
            let value = typed(&name, value)?;
            rest.insert(name, value);
        } else {
            let known = filters.iter().chain(&others);
            return Err(unknown(&name, known));
        }
    }
    let conditions: ConditionParams = parse(filter)?;
    let filter = Filter {
        columns: searched,
        ..conditions.into_filter(labels)?
    };
    Ok((filter, parse(rest)?))
}

fn names<P: IntoParams>() -> Vec<String> {
    P::into_params(|| None)
        .into_iter()
        .map(|param| param.name)
        .collect()
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Error {
    let near = known
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let words = match near {
        Some((_, near)) => format!("Unknown parameter `{name}`; did you mean `{near}`?"),
        None => format!("Unknown parameter `{name}`; /openapi.json lists all parameters"),
    };
    ApiError::invalid(name.to_owned(), words).into()
}

/// Converts a value to JSON; numeric parameters become numbers.
fn typed(name: &str, value: String) -> Result<Value, Error> {
    let is_number = name.starts_with("min_")
        || name.starts_with("max_")
        || matches!(name, "limit" | "cluster" | "calls" | "cost_weight");
    if !is_number {
        return Ok(value.into());
    }
    value
        .parse::<serde_json::Number>()
        .map(Value::Number)
        .map_err(|_| wrong(name, "must be a number"))
}

fn parse<P: DeserializeOwned>(members: Map<String, Value>) -> Result<P, Error> {
    // Converts all at once: one by one, errors would name the parameter, but serde's message
    // already names the value and the alternatives.
    serde_json::from_value(members.into())
        .map_err(|error| ApiError::invalid(String::new(), error.to_string()).into())
}

pub fn wrong(name: &str, what: &str) -> Error {
    ApiError::invalid(name.to_owned(), format!("`{name}` {what}")).into()
}

/// Returns the page size, or an error if it is out of range.
pub fn limit(given: Option<u32>, default: u32, max: u32) -> Result<u32, Error> {
    let limit = given.unwrap_or(default);
    if !(1..=max).contains(&limit) {
        return Err(wrong("limit", &format!("must be from 1 to {max}")));
    }
    Ok(limit)
}

impl ConditionParams {
    fn into_filter(self, mut metadata: BTreeMap<String, Option<String>>) -> Result<Filter, Error> {
        if let Some(name) = self.metadata_key {
            metadata.entry(name).or_insert(None);
        }
        let words = words::of_search(self.q.as_deref().unwrap_or_default());
        if words.is_empty() && self.q.is_some_and(|text| !text.trim().is_empty()) {
            return Err(wrong("q", "must contain letters or digits"));
        }
        Ok(Filter {
            columns: BTreeMap::new(),
            model: self.model,
            cluster: self.cluster,
            session: self.session,
            user: self.user,
            status: self.status.as_deref().map(status).transpose()?,
            since: moment("since", self.since.as_deref())?,
            until: moment("until", self.until.as_deref())?,
            cost: Bounds {
                min: self.min_cost.map(PicoUsd::from_usd),
                max: self.max_cost.map(PicoUsd::from_usd),
            },
            latency: Bounds {
                min: self.min_latency_ms.map(micros),
                max: self.max_latency_ms.map(micros),
            },
            tokens: Bounds {
                min: self.min_tokens,
                max: self.max_tokens,
            },
            metadata,
            words,
        })
    }
}

fn micros(millis: f64) -> Micros {
    Micros((millis * 1000.0).round() as i64)
}

/// Parses `429` or `4xx`.
fn status(text: &str) -> Result<RangeInclusive<u16>, Error> {
    let class = text
        .strip_suffix("xx")
        .and_then(|class| class.parse::<u16>().ok())
        .filter(|class| (1..=5).contains(class));
    match (class, text.parse::<u16>()) {
        (Some(class), _) => Ok(class * 100..=class * 100 + 99),
        (None, Ok(status)) => Ok(status..=status),
        (None, Err(_)) => Err(wrong("status", "must be a status such as 429, or 4xx")),
    }
}

fn moment(name: &str, text: Option<&str>) -> Result<Option<Micros>, Error> {
    text.map(|text| {
        text.parse::<jiff::Timestamp>()
            .map(|time| Micros(time.as_microsecond()))
            .map_err(|_| wrong(name, "must be a time such as 2026-11-21T08:00:00Z"))
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, IntoParams)]
    #[serde(default)]
    #[derive(Default)]
    struct More {
        limit: Option<u32>,
    }

    fn query(pairs: &[(&str, &str)]) -> Result<(Filter, More), String> {
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        read(pairs.iter().map(own).collect()).map_err(|error| error.0.message)
    }

    #[test]
    fn filters_are_read() {
        let (filter, more) = query(&[
            ("model", "openai/gpt-4o"),
            ("metadata.team", "search"),
            ("metadata_key", "tier"),
            ("since", "1970-01-01T00:00:01Z"),
            ("min_cost", "0.5"),
            ("max_latency_ms", "1.5"),
            ("status", "4xx"),
            ("q", "Hello, World"),
            ("limit", "7"),
        ])
        .unwrap();
        assert_eq!(filter.since, Some(Micros(1_000_000)));
        assert_eq!(filter.metadata["team"].as_deref(), Some("search"));
        assert_eq!(filter.metadata["tier"], None);
        assert_eq!(filter.cost.min, Some(PicoUsd(500_000_000_000)));
        assert_eq!(filter.latency.max, Some(Micros(1500)));
        assert_eq!(filter.status, Some(400..=499));
        assert_eq!(filter.words, ["hello", "world"]);
        assert_eq!(more.limit, Some(7));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pair, words) in [
            (("limit", "x"), "number"),
            (("min_tokens", "-1"), "-1"),
            (("since", "yesterday"), "such as"),
            (("modle", "x"), "did you mean `model`"),
            (("nonsense", "x"), "/openapi.json"),
            (("status", "9xx"), "429"),
            (("q", "?!"), "letters"),
        ] {
            let message = query(&[pair]).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }
}
