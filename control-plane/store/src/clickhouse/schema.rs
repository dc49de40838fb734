//! The tables of all resources, and their versions.

use crate::clickhouse::table::Table;
use crate::clickhouse::tables::Step;
use crate::clickhouse::topology::Topology;
use crate::resource::Resource;

/// A migration from one version to the next.
#[derive(Debug)]
pub struct Migration {
    pub name: &'static str,
    pub statements: Vec<String>,
}

/// The tables of all resources.
///
/// The greatest version in `schema_migrations` is the number of all steps that were applied: those
/// of the history, then those of each resource. An older program refuses a database with more
/// steps than it has.
#[derive(Debug)]
pub struct Schema {
    /// Returns the migrations from before resources had their own.
    pub history: fn(&Topology) -> Vec<Migration>,
    pub resources: &'static [Resource],
}

impl Schema {
    /// Returns the tables of all resources.
    pub fn tables(&self) -> impl Iterator<Item = &'static Table> + use<> {
        let resources = self.resources.iter();
        resources.flat_map(|resource| resource.clickhouse.tables.iter().copied())
    }

    /// Returns `true` if a resource has migrations of its own.
    pub fn has_own_steps(&self) -> bool {
        let mut resources = self.resources.iter();
        resources.any(|resource| !resource.clickhouse.steps.is_empty())
    }

    /// Returns the own migrations of a resource; none for an unknown one.
    pub fn steps_of(&self, name: &str) -> &'static [Step] {
        let mut resources = self.resources.iter();
        let resource = resources.find(|resource| resource.name == name);
        resource.map_or(&[], |resource| resource.clickhouse.steps)
    }

    /// Returns the version of the tables that this program creates.
    pub fn newest(&self, topology: &Topology) -> usize {
        let own = self.resources.iter();
        let own = own.map(|resource| resource.clickhouse.steps.len());
        (self.history)(topology).len() + own.sum::<usize>()
    }
}
