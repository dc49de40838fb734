//! The columns of a call: one row for each value that a store searches, that the Parquet export
//! has, or that a span carries.
//!
//! A row's type decides its type in every table. The tables themselves come from literal
//! migrations; a test of each store compares them with this table.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use crate::{Micros, PicoUsd, Record};

/// The type of a column, and the function that reads its value.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    Id(fn(&Record) -> Uuid),
    Time(fn(&Record) -> Micros),
    /// A text with few distinct values, which stores hold once.
    Name(fn(&Record) -> Option<&str>),
    Text(fn(&Record) -> Option<&str>),
    Flag(fn(&Record) -> bool),
    Status(fn(&Record) -> u16),
    Index(fn(&Record) -> Option<u32>),
    Count(fn(&Record) -> Option<u64>),
    Number(fn(&Record) -> Option<f64>),
    Duration(fn(&Record) -> Micros),
    OptionalDuration(fn(&Record) -> Option<Micros>),
    Money(fn(&Record) -> Option<PicoUsd>),
    Labels(fn(&Record) -> &BTreeMap<String, String>),
    /// The call's attempts, which records don't hold.
    Attempts,
}

use Type::{
    Attempts, Count, Duration, Flag, Id, Index, Labels, Money, Name, Number, OptionalDuration,
    Status, Text, Time,
};

impl Type {
    /// Returns the column's type in ClickHouse. A missing text is empty, a missing number null.
    pub const fn clickhouse(self) -> &'static str {
        match self {
            Id(_) => "UInt128",
            Time(_) => "DateTime64(6, 'UTC')",
            Name(_) => "LowCardinality(String)",
            Text(_) | Attempts => "String",
            Flag(_) => "Bool",
            Status(_) => "UInt16",
            Index(_) => "Nullable(UInt32)",
            Count(_) => "Nullable(UInt64)",
            Number(_) => "Nullable(Float64)",
            Duration(_) => "Int64",
            OptionalDuration(_) | Money(_) => "Nullable(Int64)",
            Labels(_) => "Map(LowCardinality(String), String)",
        }
    }

    /// Returns the column's type in SQLite, which holds a name as its number in the table `names`.
    pub const fn sqlite(self) -> &'static str {
        match self {
            Id(_) => "BLOB",
            Text(_) | Labels(_) | Attempts => "TEXT",
            Number(_) => "REAL",
            Time(_) | Name(_) | Flag(_) | Status(_) | Index(_) | Count(_) | Duration(_)
            | OptionalDuration(_) | Money(_) => "INTEGER",
        }
    }
}

/// A value of a call, and its name in each form that has it.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub value: Type,
    /// Name in the table `traces`.
    pub sqlite: Option<&'static str>,
    /// Name in the table `calls`.
    pub clickhouse: Option<&'static str>,
    pub parquet: Option<&'static str>,
    /// Attribute of the call's span.
    pub attribute: Option<&'static str>,
    pub search: Option<Search>,
}

/// The search for calls by the exact value of a column, which has the same name in both stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    pub column: &'static str,
    /// Query parameter of REST.
    pub parameter: &'static str,
    /// Description of the parameter.
    pub description: &'static str,
}

impl Column {
    const fn new(value: Type) -> Self {
        Self {
            value,
            sqlite: None,
            clickhouse: None,
            parquet: None,
            attribute: None,
            search: None,
        }
    }

    /// Sets the name in both stores.
    const fn stored(self, name: &'static str) -> Self {
        self.sqlite(name).clickhouse(name)
    }

    const fn sqlite(mut self, name: &'static str) -> Self {
        self.sqlite = Some(name);
        self
    }

    const fn clickhouse(mut self, name: &'static str) -> Self {
        self.clickhouse = Some(name);
        self
    }

    const fn parquet(mut self, name: &'static str) -> Self {
        self.parquet = Some(name);
        self
    }

    const fn attribute(mut self, name: &'static str) -> Self {
        self.attribute = Some(name);
        self
    }

    /// Adds the column to both stores, with a query parameter that searches it.
    const fn searched(
        mut self,
        column: &'static str,
        parameter: &'static str,
        description: &'static str,
    ) -> Self {
        self.search = Some(Search {
            column,
            parameter,
            description,
        });
        self.stored(column)
    }
}

/// The column that SQLite has an index for.
pub const ERROR_TYPE: &str = "error_type";

/// All columns, in the order of the Parquet export.
pub const COLUMNS: &[Column] = &[
    Column::new(Id(|record| record.id))
        .clickhouse("id")
        .parquet("id"),
    Column::new(Time(|record| record.started_at))
        .clickhouse("started_at")
        .parquet("started_at"),
    Column::new(Name(|record| Some(record.api.name())))
        .clickhouse("api")
        .parquet("api"),
    Column::new(Text(|record| Some(&record.requested_model)))
        .clickhouse("requested_model")
        .parquet("requested_model")
        .attribute("gen_ai.request.model"),
    Column::new(Name(|record| record.alias.as_deref()))
        .searched("alias", "alias", "An alias's name.")
        .parquet("alias")
        .attribute("opentracy.alias"),
    Column::new(Name(|record| record.provider.as_deref()))
        .searched("provider", "provider", "A provider's name.")
        .parquet("provider")
        .attribute("gen_ai.provider.name"),
    Column::new(Name(|record| record.model.as_deref()))
        .stored("model")
        .parquet("model")
        .attribute("gen_ai.response.model"),
    Column::new(Name(|record| record.key.as_deref()))
        .searched("client_key", "key", "The name of a client key.")
        .parquet("key")
        .attribute("opentracy.key"),
    Column::new(Name(|record| Some(record.client.as_ref()?.as_str())))
        .searched(
            "client",
            "client",
            "The SDK or program that made the call, with its version: `OpenAI/Python 2.1.0`.",
        )
        .parquet("client")
        .attribute("user_agent.original"),
    Column::new(Flag(|record| record.stream))
        .clickhouse("stream")
        .parquet("stream")
        .attribute("opentracy.stream"),
    Column::new(Status(|record| record.status))
        .stored("status")
        .parquet("status")
        .attribute("http.response.status_code"),
    Column::new(Name(|record| Some(record.outcome.name())))
        .clickhouse("outcome")
        .parquet("outcome"),
    Column::new(Name(|record| Some(&record.error.as_ref()?.r#type)))
        .searched(
            ERROR_TYPE,
            "error_type",
            "The type of the error that the client got, such as `rate_limit_error`.",
        )
        .parquet("error_type")
        .attribute("error.type"),
    Column::new(Name(|record| record.error.as_ref()?.code.as_deref()))
        .clickhouse("error_code")
        .parquet("error_code"),
    Column::new(Text(|record| Some(&record.error.as_ref()?.message)))
        .clickhouse("error_message")
        .parquet("error_message"),
    Column::new(Duration(|record| record.latency))
        .sqlite("latency")
        .clickhouse("latency_us")
        .parquet("latency_ms"),
    Column::new(OptionalDuration(|record| record.time_to_first_token))
        .sqlite("time_to_first_token")
        .clickhouse("time_to_first_token_us")
        .parquet("time_to_first_token_ms")
        .attribute("opentracy.time_to_first_token_ms"),
    Column::new(Duration(|record| record.routing))
        .clickhouse("routing_us")
        .parquet("routing_ms"),
    Column::new(Count(|record| Some(record.tokens?.input)))
        .stored("tokens_input")
        .parquet("tokens_input")
        .attribute("gen_ai.usage.input_tokens"),
    Column::new(Count(|record| Some(record.tokens?.output)))
        .stored("tokens_output")
        .parquet("tokens_output")
        .attribute("gen_ai.usage.output_tokens"),
    Column::new(Count(|record| Some(record.tokens?.cache_read)))
        .clickhouse("tokens_cache_read")
        .parquet("tokens_cache_read"),
    Column::new(Count(|record| Some(record.tokens?.cache_write)))
        .clickhouse("tokens_cache_write")
        .parquet("tokens_cache_write"),
    Column::new(Count(|record| Some(record.tokens?.reasoning)))
        .clickhouse("tokens_reasoning")
        .parquet("tokens_reasoning"),
    Column::new(Money(|record| Some(record.cost?.input)))
        .clickhouse("cost_input")
        .parquet("cost_input"),
    Column::new(Money(|record| Some(record.cost?.output)))
        .clickhouse("cost_output")
        .parquet("cost_output"),
    Column::new(Money(|record| Some(record.cost?.cache_read))).clickhouse("cost_cache_read"),
    Column::new(Money(|record| Some(record.cost?.cache_write))).clickhouse("cost_cache_write"),
    Column::new(Money(|record| Some(record.cost?.total)))
        .sqlite("cost")
        .clickhouse("cost_total")
        .parquet("cost_total")
        .attribute("opentracy.cost.usd"),
    Column::new(Text(|record| record.session_id.as_deref()))
        .clickhouse("session_id")
        .parquet("session_id")
        .attribute("gen_ai.conversation.id"),
    Column::new(Index(|record| record.cluster_id))
        .stored("cluster_id")
        .parquet("cluster_id"),
    Column::new(Number(|record| record.expected_error))
        .clickhouse("expected_error")
        .parquet("expected_error"),
    Column::new(Text(|record| Some(&record.decision.as_ref()?.outcome))).parquet("routing_outcome"),
    Column::new(Text(|record| record.user.as_deref()))
        .clickhouse("user")
        .parquet("user"),
    Column::new(Text(|record| record.traceparent.as_deref())).parquet("traceparent"),
    Column::new(Labels(|record| &record.metadata))
        .clickhouse("metadata")
        .parquet("metadata"),
    Column::new(Attempts).parquet("attempts"),
    Column::new(Text(|record| Some(record.request.as_ref()?.get()))).parquet("request"),
    Column::new(Text(|record| Some(record.response.as_ref()?.get()))).parquet("response"),
    Column::new(Flag(|record| record.content_truncated)).parquet("content_truncated"),
];

/// Returns the searches by the exact value of a column.
pub fn searches() -> impl Iterator<Item = Search> {
    COLUMNS.iter().filter_map(|column| column.search)
}

/// A field to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// `provider/model`.
    Model,
    Provider,
    Alias,
    Cluster,
    Key,
    Client,
}

impl Dimension {
    /// Returns the name of the column in both stores; `None` for those that aren't one name.
    pub const fn column(self) -> Option<&'static str> {
        match self {
            Self::Model | Self::Cluster => None,
            Self::Provider => Some("provider"),
            Self::Alias => Some("alias"),
            Self::Key => Some("client_key"),
            Self::Client => Some("client"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searched_and_grouped_columns_are_names_in_both_stores() {
        let groups = [
            Dimension::Provider,
            Dimension::Alias,
            Dimension::Key,
            Dimension::Client,
        ];
        let names = searches().map(|search| search.column);
        for name in names.chain(groups.into_iter().filter_map(Dimension::column)) {
            let mut columns = COLUMNS.iter();
            let column = columns.find(|column| column.sqlite == Some(name));
            let column = column.unwrap_or_else(|| panic!("{name} is not in SQLite"));
            assert_eq!(column.clickhouse, Some(name));
            assert!(matches!(column.value, Name(_)), "{name}");
        }
    }
}
