//! The tables of traces.

use crate::sqlite::{Table, Tables};

pub const TABLES: Tables = Tables {
    // The history's first and fourth steps create the tables.
    steps: &[],
    tables: &[
        built("traces"),
        built("bodies"),
        Table {
            name: "attempts",
            trace_id: Some("trace_id"),
            ages_by: Some("started_at"),
            rescued_as: None,
        },
        built("labels"),
    ],
};

/// Returns a table whose rows are written and deleted by the code of traces.
const fn built(name: &'static str) -> Table {
    Table {
        name,
        trace_id: None,
        ages_by: None,
        rescued_as: None,
    }
}
