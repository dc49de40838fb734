//! Masks personal data and secrets in recorded text, and providers' keys in answers to clients.
//!
//! A detector is a search and a check: a number with a check digit must pass it, so that order
//! numbers stay. Text that looks like a key is masked, whatever its issuer. `tests/redaction.rs`
//! measures the accuracy of each detector and the speed of all.

mod body;
mod checks;
mod detectors;
mod event_mask;
mod find;
mod key_mask;
pub(crate) mod redactor;

pub use detectors::{DEFAULT, NATIONAL_IDS};
pub use event_mask::EventMask;
pub use key_mask::KeyMask;
pub use redactor::{RedactError, Redactor, mask_keys};
