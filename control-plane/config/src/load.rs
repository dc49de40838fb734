//! Loads the configuration from files and the environment, and validates it.

use std::path::{Path, PathBuf};

use crate::access_latch::AccessLatch;
use crate::client_keys::ClientKeys;
use crate::{Config, Keys, Problem, unplaced, validate};

/// The reason why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{path} can't be read: {source}")]
    Unreadable {
        path: String,
        source: std::io::Error,
    },
    /// Every problem, each with its location and a fix.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
    #[error(transparent)]
    Secrets(#[from] anyhow::Error),
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// Returns the state folder, which holds all persistent data: `~/.opentracy` unless the environment
/// names another.
pub fn state_dir() -> PathBuf {
    if let Some(folder) = std::env::var_os("OPENTRACY_STATE") {
        return PathBuf::from(folder);
    }
    std::env::home_dir()
        .unwrap_or_else(|| PathBuf::from("."))
        .join(".opentracy")
}

/// Reads and validates the configuration and the keys.
pub fn load(path: Option<&Path>) -> Result<(Config, Keys), LoadError> {
    let text = path.map(read_text).transpose()?;
    load_text(path, text.as_deref().unwrap_or_default())
}

/// Validates a configuration whose text was read from `path`, and reads the keys.
pub fn load_text(path: Option<&Path>, text: &str) -> Result<(Config, Keys), LoadError> {
    let mut config = match path {
        Some(path) => parse(path, text)?,
        None => Config::default(),
    };
    let name = path.map_or_else(String::new, |path| path.display().to_string());
    let mut problems = validate::problems(&config, &name);
    for (variable, target) in [
        ("OPENTRACY_TRACE_CONTENT", &mut config.traces.content),
        ("OPENTRACY_TRACE_REDACT", &mut config.traces.redact),
    ] {
        let Ok(text) = std::env::var(variable) else {
            continue;
        };
        match text.parse() {
            Ok(value) => *target = value,
            Err(_) => problems.push(Problem {
                file: "environment".to_owned(),
                line: None,
                key: variable.to_owned(),
                message: format!("is \"{text}\"; set it to true or false"),
            }),
        }
    }
    if !problems.is_empty() {
        return Err(LoadError::Invalid(problems));
    }
    let state = state_dir();
    config.access.is_latched = AccessLatch::of(&state, &config.store).is_set();
    for entry in ClientKeys::of(&state).list()? {
        // A key in the file takes precedence.
        let name = entry.name.clone();
        config
            .keys
            .entry(name)
            .or_insert_with(|| unplaced(entry.into()));
    }
    Ok((config, Keys::of(&state)?))
}

/// Reads the text of a configuration file.
pub fn read_text(path: &Path) -> Result<String, LoadError> {
    std::fs::read_to_string(path).map_err(|source| LoadError::Unreadable {
        path: path.display().to_string(),
        source,
    })
}

fn parse(path: &Path, text: &str) -> Result<Config, LoadError> {
    if text.trim().is_empty() {
        return Ok(Config::default());
    }
    serde_saphyr::from_str(text).map_err(|error| {
        LoadError::Invalid(vec![Problem {
            file: path.display().to_string(),
            line: error.location().map(|location| location.line()),
            key: key_at(text, &error),
            message: validate::first_line(&error.without_snippet().to_string()),
        }])
    })
}

/// Returns the key on the line that the parser reports.
fn key_at(text: &str, error: &serde_saphyr::Error) -> String {
    error
        .location()
        .and_then(|location| {
            let line = usize::try_from(location.line()).ok()?;
            text.lines().nth(line.checked_sub(1)?)
        })
        .and_then(|line| {
            Some(
                line.split_once(':')?
                    .0
                    .trim()
                    .trim_start_matches("- ")
                    .to_owned(),
            )
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_holds_together() {
        let example = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../opentracy.example.yaml"
        ));
        let (config, _) = load(Some(example)).unwrap_or_else(|error| panic!("{error}"));
        assert!(config.aliases.contains_key("smart"));
    }

    fn complaint(text: &str) -> String {
        let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path())).err().unwrap().to_string()
    }

    #[test]
    fn mistakes_are_told_with_their_line_key_and_a_way_out() {
        for (text, expected) in [
            ("gateway:\n  listn: 1", &["yaml:2", "listn", "listen"][..]),
            ("gateway:\n  listen: nowhere", &["yaml:2", "listen"]),
            (
                "aliases:\n  smart:\n    candidates:\n      - openai/gpt-4o\n      - opnai/gpt-4o\n",
                &["yaml:5", "aliases.smart.candidates", "opnai", "openai"],
            ),
            (
                "aliases:\n  smart:\n    candidates: [gpt-4o]\n",
                &["yaml:3", "openai/gpt-4o"],
            ),
            (
                "aliases:\n  smart: {}\n",
                &["yaml:2", "aliases.smart.candidates"],
            ),
            (
                "providers:\n  mine:\n    base_url: https://x.example\n",
                &["yaml:", "providers.mine.format"],
            ),
            (
                "providers:\n  openai:\n    base_url: ftp://x\n",
                &["yaml:3", "providers.openai.base_url", "https://"],
            ),
            (
                "providers:\n  openai:\n    timeout: 5\n",
                &["yaml:3", "timeout"],
            ),
            (
                "providers:\n  openai:\n    headers:\n      \"a b\": c\n",
                &["yaml:4", "providers.openai.headers"],
            ),
            (
                "providers:\n  vertex: {}\n",
                &["yaml:2", "providers.vertex.project"],
            ),
            (
                "providers:\n  bedrock:\n    region: us_east\n",
                &["yaml:3", "providers.bedrock.region", "a-z"],
            ),
            (
                "aliases:\n  a/b:\n    candidates: [openai/gpt-4o]\n",
                &["yaml:", "aliases.a/b"],
            ),
        ] {
            let complaint = complaint(text);
            for words in expected {
                assert!(
                    complaint.contains(words),
                    "{words:?} is not in {complaint:?}"
                );
            }
        }
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (config, _) = load(Some(file.path())).unwrap();
        assert_eq!(config.gateway.listen.port(), 8080);
    }
}
