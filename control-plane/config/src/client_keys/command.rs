//! `opentracy keys`: manages client keys without a running control plane. A running one picks up
//! changes within a second.

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use opentracy_translate::access::Role;
use serde_json::{Map, Value};

use super::{ClientKeys, KeyEntry, KeyPolicy};
use crate::Limits;

#[derive(Subcommand)]
pub enum KeyCommand {
    /// Create a key and print it. It is shown only once.
    Create {
        name: String,
        #[command(flatten)]
        terms: Options,
    },
    /// List all keys.
    List,
    /// Change some terms of a key; the others stay as they are.
    Update {
        name: String,
        #[command(flatten)]
        changes: Changes,
    },
    /// Replace the key's secret, keeping its terms, and print the new key.
    Rotate { name: String },
    /// Remove a key. It stops working within two seconds.
    Revoke { name: String },
}

/// Options that `create` and `update` share.
#[derive(Args)]
pub struct KeyBounds {
    /// Expiry of the key, such as 2027-01-01T00:00:00Z.
    #[arg(long)]
    expires_at: Option<jiff::Timestamp>,
    #[arg(long)]
    owner: Option<String>,
    #[command(flatten)]
    limits: Limits,
}

#[derive(Args)]
pub struct Options {
    /// admin, user or read-only.
    #[arg(long, default_value = "user", value_parser = role)]
    role: Role,
    /// A pattern of aliases or of `provider/model`; repeatable. Default: every model.
    #[arg(long = "model")]
    models: Vec<String>,
    /// A pattern of paths, such as 'POST /v1/chat/*'; repeatable. Default: every path.
    #[arg(long = "endpoint")]
    endpoints: Vec<String>,
    #[command(flatten)]
    bounds: KeyBounds,
}

/// Options of `update`.
#[derive(Args)]
pub struct Changes {
    /// admin, user or read-only.
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// A pattern of aliases or of `provider/model`; repeatable. Replaces the existing patterns.
    #[arg(long = "model")]
    models: Vec<String>,
    /// A pattern of paths; repeatable. Replaces the existing patterns.
    #[arg(long = "endpoint")]
    endpoints: Vec<String>,
    #[command(flatten)]
    bounds: KeyBounds,
    /// Disable the key.
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Enable a disabled key.
    #[arg(long)]
    enable: bool,
    /// Remove a restriction: models, endpoints, expires_at, limits, limits.requests_per_minute,
    /// budget, …; repeatable.
    #[arg(long = "clear", value_name = "TERM")]
    cleared: Vec<String>,
}

impl Changes {
    /// Converts the options to a JSON Merge Patch.
    fn patch(self) -> Map<String, Value> {
        let mut patch = Map::new();
        for term in self.cleared {
            match term.split_once('.') {
                Some((outer, inner)) => {
                    let inner = Map::from_iter([(inner.to_owned(), Value::Null)]);
                    merge(&mut patch, outer, inner.into());
                }
                None => merge(&mut patch, &term, Value::Null),
            }
        }
        let texts = |list: Vec<String>| (!list.is_empty()).then(|| Value::from(list));
        if let Ok(Value::Object(mut limits)) = serde_json::to_value(self.bounds.limits) {
            // In a patch, null would remove the limit.
            limits.retain(|_, limit| !limit.is_null());
            if !limits.is_empty() {
                merge(&mut patch, "limits", limits.into());
            }
        }
        let is_disabled = (self.disable || self.enable).then_some(self.disable);
        let terms = [
            ("role", self.role.map(|role| role.name().into())),
            ("models", texts(self.models)),
            ("endpoints", texts(self.endpoints)),
            (
                "expires_at",
                self.bounds.expires_at.map(|time| time.to_string().into()),
            ),
            ("owner", self.bounds.owner.map(Value::from)),
            ("disabled", is_disabled.map(Value::from)),
        ];
        for (name, value) in terms {
            if let Some(value) = value {
                patch.insert(name.to_owned(), value);
            }
        }
        patch
    }
}

/// Adds a term to a patch; objects of the same name are merged.
fn merge(patch: &mut Map<String, Value>, name: &str, value: Value) {
    match (patch.get_mut(name), value) {
        (Some(Value::Object(members)), Value::Object(more)) => members.extend(more),
        (_, value) => {
            patch.insert(name.to_owned(), value);
        }
    }
}

fn role(text: &str) -> Result<Role, String> {
    let found = Role::ALL.into_iter().find(|role| role.name() == text);
    found.ok_or_else(|| "write admin, user or read-only".to_owned())
}

impl From<Options> for KeyPolicy {
    fn from(options: Options) -> Self {
        Self {
            role: options.role,
            models: options.models,
            endpoints: options.endpoints,
            expires_at: options.bounds.expires_at,
            owner: options.bounds.owner,
            limits: options.bounds.limits,
            ..Self::default()
        }
    }
}

pub fn run(command: KeyCommand) -> anyhow::Result<()> {
    let keys = ClientKeys::of(&crate::state_dir());
    match command {
        KeyCommand::Create { name, terms } => {
            let (_, secret) = keys.create(&name, terms.into())?;
            println!("{secret}");
        }
        KeyCommand::List => {
            for entry in keys.list()? {
                println!("{}", line(&entry));
            }
        }
        KeyCommand::Update { name, changes } => {
            let patch = changes.patch();
            ensure!(
                !patch.is_empty(),
                "name a term to change, such as --requests-per-minute 100 or --clear models"
            );
            println!("{}", line(&keys.patch_terms(&name, &patch)?));
        }
        KeyCommand::Rotate { name } => {
            let (_, secret) = keys.rotate(&name)?;
            println!("{secret}");
        }
        KeyCommand::Revoke { name } => keys
            .revoke(&name)
            .with_context(|| "`opentracy keys list` lists all keys")?,
    }
    Ok(())
}

fn line(entry: &KeyEntry) -> String {
    let terms = &entry.terms;
    let ends = match terms.expires_at {
        Some(time) => format!("until {time}"),
        None => "without expiry".to_owned(),
    };
    let state = if terms.disabled { ", disabled" } else { "" };
    format!(
        "{} (otk_{}_…): {}, {ends}{state}",
        entry.name,
        entry.made.id,
        terms.role.name()
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use opentracy_proto::limit_kinds::LimitKind;
    use opentracy_proto::v1;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: KeyCommand,
    }

    fn parse(arguments: &[&str]) -> KeyCommand {
        Cli::try_parse_from([&["keys"], arguments].concat())
            .unwrap_or_else(|error| panic!("{error}"))
            .command
    }

    fn patch(arguments: &[&str]) -> Value {
        match parse(&[&["update", "a"], arguments].concat()) {
            KeyCommand::Update { changes, .. } => changes.patch().into(),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn every_kind_of_limit_is_an_option() {
        for kind in LimitKind::all() {
            let option = format!("--{}", kind.key.replace('_', "-"));
            let KeyCommand::Create { terms, .. } = parse(&["create", "a", &option, "7"]) else {
                panic!("another command");
            };
            let created = KeyPolicy::from(terms).limits;
            assert_eq!(v1::Limits::from(created), kind.only(7));
            let expected = json!({"limits": {kind.key: 7}});
            assert_eq!(patch(&[&option, "7"]), expected);
        }
    }

    #[test]
    fn a_change_of_one_limit_leaves_the_others() {
        let options = ["--requests-per-minute", "7"];
        let clear = |term| patch(&[&options[..], &["--clear", term]].concat());
        assert_eq!(
            clear("limits.tokens_per_minute"),
            json!({"limits": {"tokens_per_minute": null, "requests_per_minute": 7}})
        );
        let replaced = json!({"limits": {"requests_per_minute": 7}});
        assert_eq!(clear("limits"), replaced);
        assert_eq!(clear("limits.requests_per_minute"), replaced);
        assert_eq!(patch(&[]), json!({}));
    }
}
