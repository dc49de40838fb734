//! Checks the language of comments, messages and documents: phrases that make a reader stop,
//! summary lines that don't begin with a verb or a noun, and lines that are too long.
//!
//! In Markdown, that is all text outside code. In Rust, Protobuf and TypeScript, it is comments and
//! string literals. In Python, it is comments and docstrings; in YAML, TOML, scripts and other files
//! with comments after `#`, it is comments on lines of their own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;
use crate::prose::Syntax;
use crate::workspace::Workspace;

/// The most characters of a line of prose.
const MAX_LINE: usize = 100;

/// A phrase that is not used, and what to write.
const PHRASES: [(&str, &str); 30] = [
    ("anew", "again"),
    ("besides", "also, or beside"),
    ("of late", "recently"),
    ("in force", "active"),
    ("dearest", "most expensive"),
    ("whoever", "the caller, the client, …"),
    ("whomever", "the caller, the client, …"),
    ("falls over", "fails over"),
    ("fall over", "fail over"),
    ("fell over", "failed over"),
    ("is no", "is not, or has no"),
    ("are no", "are not, or have no"),
    ("is none", "has no …"),
    ("is told", "gets an error, or is notified"),
    ("are told", "get an error, or are notified"),
    ("was told", "was notified"),
    ("told of", "reported to"),
    ("the words for", "the message for"),
    ("has words", "supports"),
    ("no words", "no message, or does not support"),
    ("goes for", "applies to"),
    ("a place of its own", "a separate folder"),
    ("worth while", "worthwhile"),
    ("wherefrom", "the source"),
    ("hears of", "learns"),
    ("there are none", "it is empty"),
    ("makes anew", "regenerates"),
    ("put aside", "set aside"),
    ("somebody else", "another caller, thread, …"),
    ("nobody else", "no other caller, thread, …"),
];

/// Words that no summary line of a doc comment begins with.
const OPENINGS: [&str; 9] = [
    "what", "whether", "who", "whom", "whose", "where", "how", "whoever", "of",
];

/// The files that are checked, as Git's pathspecs.
const FILES: [&str; 14] = [
    "*.md",
    "*.rs",
    "*.proto",
    "*.ts",
    "*.py",
    "*.yaml",
    "*.yml",
    "*.toml",
    "*.sh",
    "*.ini",
    ".*",
    "*/.gitignore",
    "Dockerfile",
    "tests/requirements.txt",
];

/// Files whose text is made by a program, or belongs to others.
const EXEMPT: [&str; 6] = [
    "CHANGELOG.md",
    "docs/first-run.md",
    "docs/providers.md",
    "translate/fixtures/",
    "tests/typescript/node_modules/",
    "xtask/src/lint_words.rs",
];

/// Prints every finding; an error if there is one.
pub fn run(workspace: &Workspace) -> Result<()> {
    let files = process::output(
        Command::new("git")
            .current_dir(&workspace.root)
            .arg("ls-files")
            .args(FILES),
    )?;
    let mut count = 0_usize;
    for file in files.lines().filter(|file| !is_exempt(file)) {
        let text = fs::read_to_string(workspace.root.join(file))?;
        for finding in findings(Path::new(file), &text) {
            println!("{file}:{}: {}", finding.line, finding.message);
            count += 1;
        }
    }
    if count > 0 {
        bail!("{count} findings; CONTRIBUTING.md says how this codebase reads");
    }
    Ok(())
}

fn is_exempt(file: &str) -> bool {
    EXEMPT.iter().any(|exempt| file.starts_with(exempt))
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// Counted from 1.
    line: usize,
    message: String,
}

fn findings(file: &Path, text: &str) -> Vec<Finding> {
    let mut syntax = Syntax::of(file);
    let mut findings = Vec::new();
    let mut is_in_doc = false;
    for (index, line) in text.lines().enumerate() {
        let mut find = |message: String| {
            findings.push(Finding {
                line: index + 1,
                message,
            });
        };
        let Some(prose) = syntax.prose(line) else {
            continue;
        };
        let length = line.chars().count();
        if prose.is_wrapped && length > MAX_LINE {
            find(format!(
                "the line has {length} characters; wrap it at {MAX_LINE}"
            ));
        }
        for (phrase, plain) in PHRASES {
            if prose.parts.iter().any(|part| has_phrase(part, phrase)) {
                find(format!("\"{phrase}\": write {plain}"));
            }
        }
        let is_doc = prose.is_doc;
        if is_doc && !is_in_doc {
            let summary = prose.parts.first().map_or("", String::as_str);
            let opening = summary.split_whitespace().next().unwrap_or_default();
            let opening = opening.to_lowercase();
            if OPENINGS.contains(&opening.as_str()) && !summary.ends_with('?') {
                find(format!(
                    "the summary begins with \"{opening}\": begin with a verb or a noun"
                ));
            }
        }
        is_in_doc = is_doc;
    }
    findings
}

/// Returns true if a text has these words, whole and side by side.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let text = text.to_lowercase();
    let is_border = |character: Option<char>| {
        character.is_none_or(|character| !character.is_alphanumeric() && character != '_')
    };
    text.match_indices(phrase).any(|(at, found)| {
        let (before, rest) = text.split_at(at);
        let after = rest.get(found.len()..).unwrap_or_default();
        is_border(before.chars().next_back()) && is_border(after.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(file: &str, text: &str) -> Vec<usize> {
        let findings = findings(Path::new(file), text);
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn phrases_are_found_in_comments_messages_and_prose() {
        assert_eq!(
            lines(
                "a.rs",
                "// It is made anew.\nlet anew = 1;\nlet x = \"made anew\";"
            ),
            [1, 3]
        );
        assert_eq!(
            lines(
                "a.md",
                "Made anew.\n\n```sh\nanew\n```\n\n`anew`, renewed\n"
            ),
            [1]
        );
    }

    #[test]
    fn a_summary_begins_with_a_verb_or_a_noun() {
        let text = "/// What it is.\nfn a() {}\n/// Returns it.\n/// What follows is free.\nfn b() {}\n/// Why?\nfn c() {}\n";
        assert_eq!(lines("a.rs", text), [1]);
    }

    #[test]
    fn comments_after_hashes_are_checked_and_values_are_not() {
        let text = "# Made anew.\nmade: anew  # anew\n  # renewed, `anew`\n";
        for file in [
            "a.yaml",
            "a.toml",
            "a.sh",
            "Dockerfile",
            ".ci/run",
            ".gitignore",
        ] {
            assert_eq!(lines(file, text), [1], "{file}");
        }
    }

    #[test]
    fn docstrings_are_checked_and_other_strings_are_not() {
        let text = r#"
"""Whether it is there.

It is made anew.
"""
DATA = """
# anew
"""
def a():
    """Returns it. What follows is free."""
    x = "anew"
    # anew
def b():
    """What it is."""
"#;
        assert_eq!(lines("a.py", text), [2, 4, 12, 14]);
    }

    #[test]
    fn long_lines_are_found_where_they_can_be_wrapped() {
        let long = "word ".repeat(30);
        assert_eq!(
            lines("a.rs", &format!("/// {long}\nlet x = \"{long}\";")),
            [1]
        );
        assert_eq!(lines("a.md", &format!("{long}\n| {long} |\n")), [1]);
        assert_eq!(
            lines(
                "a.py",
                &format!("\"\"\"{long}\"\"\"\n# {long}\nx = '{long}'")
            ),
            [1, 2]
        );
        assert_eq!(lines("a.yaml", &format!("# {long}\nx: {long}")), [1]);
    }
}
