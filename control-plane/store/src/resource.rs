//! A resource: one kind of data, with its tables in both stores.

use crate::clickhouse::tables::Tables as ClickHouseTables;
use crate::sqlite::tables::Tables as SqliteTables;

/// The tables of one kind of data. Migration, checks, retention, deletion with the trace and repair
/// derive from them.
#[derive(Debug)]
pub struct Resource {
    /// Databases record the versions of the tables under this name, so it never changes and is
    /// never given to another resource.
    pub name: &'static str,
    pub sqlite: SqliteTables,
    pub clickhouse: ClickHouseTables,
}

/// Declares the resources, the interface of a store of all of them, and nothing else: a resource
/// is its module and the trait of its stores.
macro_rules! resources {
    ($($module:ident: $store:ident),+ $(,)?) => {
        /// All resources, in the order in which their tables are created and checked.
        pub static RESOURCES: &[$crate::resource::Resource] = &[$($module::RESOURCE),+];

        /// Everything that the control plane stores.
        pub trait Store: $($module::$store +)+ {}

        impl<T: $($module::$store +)+> Store for T {}
    };
}

pub(crate) use resources;
