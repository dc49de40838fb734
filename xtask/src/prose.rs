//! Finds the prose in the lines of a file.

use std::path::Path;

/// The delimiter of Python's docstrings.
const TRIPLE_QUOTE: &str = "\"\"\"";

/// The syntax of a file, with the state that depends on earlier lines.
pub enum Syntax {
    Markdown {
        /// Set between the fences of a code block.
        is_code: bool,
    },
    /// Comments begin with `//`.
    Slashes,
    /// Comments begin with `#`.
    Hashes,
    /// Comments begin with `#`, and strings in triple quotes span lines.
    Python {
        /// The string that an earlier line began.
        open: Option<LongString>,
    },
}

/// A Python string in triple quotes.
#[derive(Clone, Copy)]
pub enum LongString {
    Docstring,
    Data,
}

impl Syntax {
    pub fn of(file: &Path) -> Self {
        let extension = file.extension().and_then(|extension| extension.to_str());
        match extension {
            Some("md") => Self::Markdown { is_code: false },
            Some("rs" | "proto" | "ts") => Self::Slashes,
            Some("py") => Self::Python { open: None },
            _ => Self::Hashes,
        }
    }

    /// Returns the prose of the next line; `None` if the line is not to be checked.
    pub fn prose(&mut self, line: &str) -> Option<Prose> {
        let trimmed = line.trim_start();
        match self {
            Self::Markdown { is_code } => {
                if trimmed.starts_with("```") {
                    *is_code = !*is_code;
                    return None;
                }
                (!*is_code).then(|| Prose::of_markdown(line))
            }
            Self::Slashes => Some(Prose::of_source(line)),
            Self::Hashes => Some(Prose::of_hashes(line)),
            Self::Python { open } => {
                let before = *open;
                let is_docstring = trimmed.starts_with(TRIPLE_QUOTE);
                if line.matches(TRIPLE_QUOTE).count() % 2 == 1 {
                    *open = match before {
                        Some(_) => None,
                        None if is_docstring => Some(LongString::Docstring),
                        None => Some(LongString::Data),
                    };
                }
                match before {
                    Some(LongString::Docstring) => Some(Prose::of_docstring(line)),
                    Some(LongString::Data) => None,
                    None if is_docstring => Some(Prose::of_docstring(line)),
                    None => Some(Prose::of_hashes(line)),
                }
            }
        }
    }
}

/// The prose of a line.
#[derive(Default)]
pub struct Prose {
    pub parts: Vec<String>,
    /// Set for what can be wrapped: comments and paragraphs, not code and tables.
    pub is_wrapped: bool,
    pub is_doc: bool,
}

impl Prose {
    fn of_markdown(line: &str) -> Self {
        let trimmed = line.trim_start();
        let is_table = trimmed.starts_with('|');
        // A link can't be broken.
        let is_link = trimmed.split_whitespace().count() <= 2;
        Self {
            parts: vec![without_code(line)],
            is_wrapped: !is_table && !is_link,
            is_doc: false,
        }
    }

    fn of_source(line: &str) -> Self {
        let trimmed = line.trim_start();
        for (marker, is_doc) in [("///", true), ("//!", true), ("//", false)] {
            if let Some(comment) = trimmed.strip_prefix(marker) {
                return Self {
                    parts: vec![without_code(comment.trim())],
                    is_wrapped: comment.split_whitespace().count() > 2,
                    is_doc,
                };
            }
        }
        Self {
            parts: strings(line),
            ..Self::default()
        }
    }

    fn of_hashes(line: &str) -> Self {
        match line.trim_start().strip_prefix('#') {
            Some(comment) => Self {
                parts: vec![without_code(comment.trim())],
                is_wrapped: comment.split_whitespace().count() > 2,
                is_doc: false,
            },
            None => Self::default(),
        }
    }

    fn of_docstring(line: &str) -> Self {
        let text = line.replace(TRIPLE_QUOTE, "");
        Self {
            parts: vec![without_code(text.trim())],
            is_wrapped: text.split_whitespace().count() > 2,
            is_doc: true,
        }
    }
}

/// Returns a line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Returns the string literals of a line of code.
fn strings(line: &str) -> Vec<String> {
    let mut strings = Vec::new();
    let mut current: Option<String> = None;
    let mut is_escaped = false;
    for character in line.chars() {
        match &mut current {
            Some(text) if is_escaped || character == '\\' => {
                is_escaped = !is_escaped;
                text.push(character);
            }
            Some(_) if character == '"' => strings.extend(current.take()),
            Some(text) => text.push(character),
            None if character == '"' => current = Some(String::new()),
            None => {}
        }
    }
    // A literal may go on in the next line.
    strings.extend(current);
    strings
}
