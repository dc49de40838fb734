//! Owners of the objects that providers store: each file and batch belongs to one key.
//!
//! One small SQLite file in the state folder, for its owner only. An object that is not in it has
//! no owner: only administrators see it.

pub mod command;

use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rusqlite::{Connection, OptionalExtension as _, params};

const FILE: &str = "resources.db";

/// Maximum length of an id; longer ones have no owner, because no provider makes them.
const MAX_ID_BYTES: usize = 512;

/// An id to claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub id: String,
    /// The id whose owner becomes the owner of this one, if it isn't the caller.
    pub parent: Option<String>,
}

/// An object and its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedResource {
    pub provider: String,
    pub id: String,
    /// `key:NAME`, `subject:NAME` or `open`.
    pub owner: String,
}

/// The table of owners.
pub struct Resources {
    path: PathBuf,
    /// `None` until it can be opened: a file that can't be read affects files and batches, but no
    /// completion.
    connection: Mutex<Option<Connection>>,
}

impl Resources {
    /// Returns the table of a state folder. It is opened when it is first needed.
    pub fn new(state: &Path) -> Self {
        Self {
            path: state.join(FILE),
            connection: Mutex::new(None),
        }
    }

    /// Stores claims, then returns for each id whether the owner has it. Claims are durable when
    /// this returns; an id that has an owner keeps it.
    pub fn resolve(
        &self,
        provider: &str,
        owner: &str,
        claims: &[Claim],
        ids: &[String],
    ) -> anyhow::Result<Vec<bool>> {
        self.with(|connection| {
            if !claims.is_empty() {
                let transaction = connection.transaction()?;
                for claim in claims {
                    store(&transaction, provider, owner, claim)?;
                }
                transaction.commit()?;
            }
            ids.iter()
                .map(|id| Ok(owner_of(connection, provider, id)?.as_deref() == Some(owner)))
                .collect()
        })
    }

    /// Assigns objects to an owner, replacing any other.
    pub fn assign(&self, provider: &str, owner: &str, ids: &[String]) -> anyhow::Result<()> {
        self.with(|connection| {
            let transaction = connection.transaction()?;
            for id in ids {
                transaction.execute(
                    "INSERT INTO resources (provider, id, owner) VALUES (?1, ?2, ?3)
                    ON CONFLICT (provider, id) DO UPDATE SET owner = excluded.owner",
                    params![provider, id, owner],
                )?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// Lists all objects that have an owner.
    pub fn list(&self) -> anyhow::Result<Vec<OwnedResource>> {
        self.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT provider, id, owner FROM resources ORDER BY provider, owner, id",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(OwnedResource {
                    provider: row.get(0)?,
                    id: row.get(1)?,
                    owner: row.get(2)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut held = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let connection = match &mut *held {
            Some(connection) => connection,
            none => none.insert(open(&self.path)?),
        };
        let result = work(connection);
        if result.is_err() {
            // A connection to a file that was removed or damaged must be dropped.
            *held = None;
        }
        result.with_context(|| format!("{} can't be used", self.path.display()))
    }
}

fn open(path: &Path) -> anyhow::Result<Connection> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // SQLite gives its other files the permissions of this one.
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} can't be opened", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A claim must be durable before the client knows of the object.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS resources (
            provider TEXT NOT NULL,
            id TEXT NOT NULL,
            owner TEXT NOT NULL,
            PRIMARY KEY (provider, id)
        ) WITHOUT ROWID",
    )?;
    Ok(connection)
}

fn store(
    connection: &Connection,
    provider: &str,
    owner: &str,
    claim: &Claim,
) -> anyhow::Result<()> {
    let inherited = match &claim.parent {
        Some(parent) => owner_of(connection, provider, parent)?,
        None => Some(owner.to_owned()),
    };
    let Some(owner) = inherited.filter(|_| claim.id.len() <= MAX_ID_BYTES) else {
        return Ok(());
    };
    connection
        .prepare_cached(
            "INSERT INTO resources (provider, id, owner) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?
        .execute(params![provider, claim.id, owner])?;
    Ok(())
}

fn owner_of(connection: &Connection, provider: &str, id: &str) -> anyhow::Result<Option<String>> {
    let mut statement =
        connection.prepare_cached("SELECT owner FROM resources WHERE provider = ?1 AND id = ?2")?;
    let owner = statement.query_row(params![provider, id], |row| row.get(0));
    Ok(owner.optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(id: &str) -> Claim {
        Claim {
            id: id.to_owned(),
            parent: None,
        }
    }

    fn child(id: &str, parent: &str) -> Claim {
        Claim {
            parent: Some(parent.to_owned()),
            ..claim(id)
        }
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn an_object_is_its_first_claimants() {
        let folder = tempfile::tempdir().unwrap();
        let resources = Resources::new(folder.path());
        let owned = |owner: &str, claims: &[Claim]| {
            let asked = ids(&["file-1", "file-2"]);
            resources.resolve("openai", owner, claims, &asked).unwrap()
        };
        assert_eq!(owned("key:a", &[claim("file-1")]), [true, false]);
        assert_eq!(owned("key:b", &[claim("file-1")]), [false, false]);
        assert_eq!(owned("key:a", &[]), [true, false]);
        let other = resources.resolve("other", "key:a", &[], &ids(&["file-1"]));
        assert_eq!(other.unwrap(), [false], "ids of two providers are two");
    }

    #[test]
    fn what_a_batch_makes_is_its_owners_whoever_sees_it() {
        let folder = tempfile::tempdir().unwrap();
        let resources = Resources::new(folder.path());
        let resolve = |owner: &str, claims: &[Claim]| {
            let asked = ids(&["out", "stray"]);
            resources.resolve("openai", owner, claims, &asked).unwrap()
        };
        resolve("key:a", &[claim("batch")]);
        let seen = [child("out", "batch"), child("stray", "unowned")];
        assert_eq!(resolve("key:admin", &seen), [false, false]);
        assert_eq!(resolve("key:a", &[]), [true, false]);
    }

    #[test]
    fn owners_outlive_the_process_in_a_file_that_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, b"").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let first = Resources::new(folder.path());
        first
            .resolve("openai", "key:a", &[claim("file-1")], &[])
            .unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", entry.path().display());
        }
        let second = Resources::new(folder.path());
        let owned = second.resolve("openai", "key:a", &[], &ids(&["file-1"]));
        assert_eq!(owned.unwrap(), [true]);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_an_empty_table() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), vec![b'x'; 8192]).unwrap();
        let resources = Resources::new(folder.path());
        let resolved = resources.resolve("openai", "key:a", &[claim("file-1")], &[]);
        assert!(format!("{:#}", resolved.unwrap_err()).contains("database"));
    }

    #[test]
    fn an_operator_gives_an_object_to_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let resources = Resources::new(folder.path());
        resources
            .assign("openai", "key:a", &ids(&["file-1", "file-2"]))
            .unwrap();
        resources
            .assign("openai", "key:b", &ids(&["file-2"]))
            .unwrap();
        let listed = resources.list().unwrap();
        let listed: Vec<_> = listed
            .iter()
            .map(|each| (each.id.as_str(), each.owner.as_str()))
            .collect();
        assert_eq!(listed, [("file-1", "key:a"), ("file-2", "key:b")]);
    }
}
