//! `opentracy keys`: the keys of clients, without a running control plane. One that runs has a change within a second.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use opentracy_translate::access::Role;

use super::{ClientKeys, Entry, Terms};
use crate::config::{self, Limits};

#[derive(Subcommand)]
pub enum Command {
    /// Make a key and print it. It is shown this once.
    Create {
        name: String,
        #[command(flatten)]
        terms: Options,
    },
    /// List the keys there are.
    List,
    /// Put a new key in the old one's place, on the same terms, and print it.
    Rotate { name: String },
    /// Remove a key. It stops working within two seconds.
    Revoke { name: String },
}

#[derive(Args)]
pub struct Options {
    /// admin, user or read-only.
    #[arg(long, default_value = "user", value_parser = role)]
    role: Role,
    /// A pattern of aliases or of `provider/model`; may be given again. Without one, every model.
    #[arg(long = "model")]
    models: Vec<String>,
    /// A pattern of paths, such as 'POST /v1/chat/*'; may be given again. Without one, every path.
    #[arg(long = "endpoint")]
    endpoints: Vec<String>,
    /// When it ends, such as 2027-01-01T00:00:00Z.
    #[arg(long)]
    expires_at: Option<jiff::Timestamp>,
    #[arg(long)]
    owner: Option<String>,
    #[arg(long)]
    requests_per_minute: Option<u64>,
    #[arg(long)]
    tokens_per_minute: Option<u64>,
    #[arg(long)]
    concurrent_requests: Option<u64>,
}

fn role(text: &str) -> Result<Role, String> {
    let found = Role::ALL.into_iter().find(|role| role.name() == text);
    found.ok_or_else(|| "write admin, user or read-only".to_owned())
}

impl From<Options> for Terms {
    fn from(options: Options) -> Self {
        Self {
            role: options.role,
            models: options.models,
            endpoints: options.endpoints,
            expires_at: options.expires_at,
            owner: options.owner,
            limits: Limits {
                requests_per_minute: options.requests_per_minute,
                tokens_per_minute: options.tokens_per_minute,
                concurrent_requests: options.concurrent_requests,
            },
            ..Self::default()
        }
    }
}

pub fn run(command: Command) -> anyhow::Result<()> {
    let keys = ClientKeys::of(&config::state_dir());
    match command {
        Command::Create { name, terms } => {
            let (_, secret) = keys.create(&name, terms.into())?;
            println!("{secret}");
        }
        Command::List => {
            for entry in keys.list()? {
                println!("{}", line(&entry));
            }
        }
        Command::Rotate { name } => {
            let (_, secret) = keys.rotate(&name)?;
            println!("{secret}");
        }
        Command::Revoke { name } => keys
            .revoke(&name)
            .with_context(|| "`opentracy keys list` lists those there are")?,
    }
    Ok(())
}

fn line(entry: &Entry) -> String {
    let terms = &entry.terms;
    let ends = match terms.expires_at {
        Some(time) => format!("until {time}"),
        None => "without end".to_owned(),
    };
    let state = if terms.disabled { ", disabled" } else { "" };
    format!(
        "{} (otk_{}_…): {}, {ends}{state}",
        entry.name,
        entry.made.id,
        terms.role.name()
    )
}
