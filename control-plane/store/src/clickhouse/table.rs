//! A table in ClickHouse.

/// A table as its first release had it. Later changes are migrations.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    pub columns: &'static str,
    /// The engine's family, without `Replicated`, and its arguments.
    pub engine: (&'static str, &'static str),
    pub order: &'static str,
    pub partition: Option<&'static str>,
    /// The column that a row's age is computed from: rows expire by the retention.
    pub ages_by: Option<&'static str>,
    /// The sharding expression.
    pub shard_by: &'static str,
    pub settings: Option<&'static str>,
    /// The column that refers to a trace: its rows are deleted with the trace.
    pub trace_id: Option<&'static str>,
    /// Computed from other tables, so that a check leaves it out.
    pub is_derived: bool,
}
