//! Finds the prose in the lines of a file.

/// The prose of a line.
#[derive(Default)]
pub struct Prose {
    pub parts: Vec<String>,
    /// Set for what can be wrapped: comments and paragraphs, not code and tables.
    pub is_wrapped: bool,
    pub is_doc: bool,
}

impl Prose {
    pub fn of_markdown(line: &str) -> Self {
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

    pub fn of_source(line: &str) -> Self {
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
