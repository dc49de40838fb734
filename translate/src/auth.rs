//! The way in which a provider expects its key.

/// Placement of a provider's key in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer KEY`
    Bearer,
    /// The bare key in a header of this name.
    Header(&'static str),
    /// No key.
    None,
}

impl Auth {
    /// Returns the header that carries `key`.
    pub fn header(self, key: &str) -> Option<(&'static str, String)> {
        match self {
            Self::Bearer => Some(("authorization", format!("Bearer {key}"))),
            Self::Header(name) => Some((name, key.to_owned())),
            Self::None => None,
        }
    }
}
