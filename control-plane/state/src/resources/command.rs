//! The `opentracy resources` command: manages owners of the providers' files and batches, with or
//! without a running control plane.

use clap::Subcommand;

use super::Resources;
use opentracy_config as config;

#[derive(Subcommand)]
pub enum ResourceCommand {
    /// List the objects that have an owner.
    List,
    /// Assign objects of a provider to a key, such as those from before the key existed.
    Assign {
        /// The provider, by its name in the configuration.
        provider: String,
        /// The key's name.
        key: String,
        /// Ids of files or batches.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Runs `opentracy resources`.
pub fn run(command: ResourceCommand) -> anyhow::Result<()> {
    let resources = Resources::new(&config::state_dir());
    match command {
        ResourceCommand::List => {
            for each in resources.list()? {
                println!("{}\t{}\t{}", each.provider, each.id, each.owner);
            }
        }
        ResourceCommand::Assign { provider, key, ids } => {
            resources.assign(&provider, &format!("key:{key}"), &ids)?;
            println!("{} objects of {provider} belong to {key} now.", ids.len());
        }
    }
    Ok(())
}
