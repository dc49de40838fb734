//! The description of a resource's tables in SQLite.

/// The tables of one resource, and the steps that create and change them.
#[derive(Debug)]
pub struct Tables {
    /// The resource's own migrations. A file records the number of those applied, so a released
    /// step never changes; append another instead.
    pub steps: &'static [&'static str],
    /// The tables, in the order in which they are checked and counted.
    pub tables: &'static [Table],
}

/// A table that a check counts. Its columns are those that the migrations create.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    /// The column that refers to a trace: its rows are deleted with the trace.
    pub trace_id: Option<&'static str>,
    /// The column with the time by which rows expire. If rows belong to traces, only those without
    /// a trace expire by it.
    pub ages_by: Option<&'static str>,
    /// The plural that a repair counts rescued rows by; `None` if a repair doesn't copy the rows as
    /// they are, because it builds them from others.
    pub rescued_as: Option<&'static str>,
}
