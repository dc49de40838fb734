//! A text that many bodies or chunks are searched for.

use std::sync::OnceLock;

use memchr::memmem::Finder;

/// A text to search for. Its search is set up once, because that takes as long as to go through a
/// short body.
pub(crate) struct Needle {
    text: &'static str,
    finder: OnceLock<Finder<'static>>,
}

impl Needle {
    pub const fn new(text: &'static str) -> Self {
        Self {
            text,
            finder: OnceLock::new(),
        }
    }

    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// Returns true if bytes contain the text.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        let finder = self.finder.get_or_init(|| Finder::new(self.text));
        finder.find(bytes).is_some()
    }
}
