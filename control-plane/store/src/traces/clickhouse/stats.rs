//! Statistics, computed from rows or from the hourly table.

use clickhouse::Row;
use serde::Deserialize;

use crate::clickhouse::ClickHouse;
use crate::traces::clickhouse::filter::Conditions;
use crate::{Dimension, Micros, PicoUsd, Quantiles, Stats, StatsQuery, StoreError};

impl ClickHouse {
    pub(super) async fn figures(&self, query: StatsQuery) -> Result<Vec<Stats>, StoreError> {
        #[derive(Row, Deserialize)]
        struct Figures {
            name: String,
            start: i64,
            requests: u64,
            errors: u64,
            input: u64,
            output: u64,
            cost: i64,
            unpriced: u64,
            latency: Vec<i64>,
            first_tokens: u64,
            first_token: Vec<i64>,
        }
        let conditions = Conditions::new(&query.filter);
        let name = match query.group_by {
            None => "''",
            Some(Dimension::Model) => {
                "if(provider = '' OR model = '', '', concat(provider, '/', model))"
            }
            Some(by) => by.column().unwrap_or("ifNull(toString(cluster_id), '')"),
        };
        let start = match query.interval {
            Some(Micros(piece)) => format!("intDiv(bitShiftRight(place, 10), {piece}) * {piece}"),
            None => "toInt64(0)".to_owned(),
        };
        let [p50, p95, p99] = Quantiles::LEVELS;
        let levels = format!("{p50}, {p95}, {p99}");
        let sql = format!(
            "SELECT toString({name}) AS name, {start} AS start, count() AS requests, countIf(error_type != '') AS errors,
                sum(ifNull(tokens_input, 0)) AS input, sum(ifNull(tokens_output, 0)) AS output,
                sum(ifNull(cost_total, 0)) AS cost, countIf(isNull(cost_total)) AS unpriced,
                quantilesExact({levels})(latency_us) AS latency, countIf(isNotNull(time_to_first_token_us)) AS first_tokens,
                quantilesExactIf({levels})(ifNull(time_to_first_token_us, 0), isNotNull(time_to_first_token_us)) AS first_token
            FROM {} WHERE {} GROUP BY name, start ORDER BY start, name",
            self.calls(),
            conditions.sql()
        );
        let found: Vec<Figures> = conditions
            .bind(self.client().query(&sql))
            .fetch_all()
            .await?;
        let quantiles = |values: &[i64]| match *values {
            [p50, p95, p99] => Some(Quantiles {
                p50: Micros(p50),
                p95: Micros(p95),
                p99: Micros(p99),
            }),
            _ => None,
        };
        Ok(found
            .into_iter()
            .filter(|figures| figures.requests > 0)
            .map(|figures| Stats {
                group: (!figures.name.is_empty()).then_some(figures.name),
                start: query.interval.map(|_| Micros(figures.start)),
                requests: figures.requests,
                errors: figures.errors,
                tokens_input: figures.input,
                tokens_output: figures.output,
                cost: PicoUsd(figures.cost),
                unpriced: figures.unpriced,
                latency: quantiles(&figures.latency),
                time_to_first_token: quantiles(&figures.first_token)
                    .filter(|_| figures.first_tokens > 0),
            })
            .collect())
    }

    pub(super) async fn spending(
        &self,
        since: Micros,
        by: Dimension,
    ) -> Result<Vec<(String, PicoUsd)>, StoreError> {
        #[derive(Row, Deserialize)]
        struct Spent {
            name: String,
            cost: i64,
        }
        let name = match by {
            Dimension::Provider | Dimension::Alias | Dimension::Key => by.column().unwrap_or("''"),
            Dimension::Model => "concat(provider, '/', model)",
            // The hourly table lacks them.
            Dimension::Cluster | Dimension::Client => {
                return self.spending_of_calls(since, by).await;
            }
        };
        let sql = format!(
            "SELECT toString({name}) AS name, sum(cost_total) AS cost FROM {}
            WHERE hour >= toStartOfHour(fromUnixTimestamp64Micro(?, 'UTC')) AND name != '' GROUP BY name",
            self.topology().table("model_stats_hourly")
        );
        let found: Vec<Spent> = self.client().query(&sql).bind(since.0).fetch_all().await?;
        Ok(found
            .into_iter()
            .map(|spent| (spent.name, PicoUsd(spent.cost)))
            .collect())
    }

    async fn spending_of_calls(
        &self,
        since: Micros,
        by: Dimension,
    ) -> Result<Vec<(String, PicoUsd)>, StoreError> {
        let query = StatsQuery::spending(since, by);
        let stats = self.figures(query).await?.into_iter();
        let named = stats.filter_map(|stats| Some((stats.group?, stats.cost)));
        Ok(named.collect())
    }
}
