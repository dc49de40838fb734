//! Rejects a configuration that looks damaged: a file that is empty or cut off, or that has lost
//! its access rules.

use std::time::Duration;

use opentracy_config::Config;

/// Time without a change after which a shortened file is accepted. A file that is a prefix of the
/// one before, up to the end of a line, may be cut off, or its last lines were deleted.
const CUT_SETTLES: Duration = Duration::from_secs(5);

/// The reason why a readable file is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is empty")]
    Empty,
    #[error("it ends in the middle of a line, as if it was cut off; end it with a newline")]
    Cut,
    #[error(
        "it has no key, but the one before does: write `access.required: true` to keep access closed without keys, or `false` to let everybody in"
    )]
    LostKeys,
    #[error(
        "it has no `access.jwt`, but the one before does: write `access.required: true` to keep access closed without it, or `false` to let everybody in without a key"
    )]
    LostTokens,
    #[error(
        "it no longer sets `access.required: true`; write `access.required: false` to let everybody in"
    )]
    LostRequired,
}

/// The verdict on the text of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextVerdict {
    Whole,
    /// The file may be cut off: check again later.
    Wait,
    Refused(Refusal),
}

/// Compares the text of a file with the one before. `quiet` is the time since its last change;
/// `None` if an operator requested the reload.
pub fn check_text(before: &str, text: &str, quiet: Option<Duration>) -> TextVerdict {
    if is_blank(text) && !is_blank(before) {
        return TextVerdict::Refused(Refusal::Empty);
    }
    if before.ends_with('\n') && !text.ends_with('\n') && !text.is_empty() {
        return TextVerdict::Refused(Refusal::Cut);
    }
    let is_beginning = text.len() < before.len() && before.starts_with(text);
    if is_beginning && quiet.is_some_and(|quiet| quiet < CUT_SETTLES) {
        return TextVerdict::Wait;
    }
    TextVerdict::Whole
}

/// Compares the access rules of a configuration with those of the one before. Keys made by
/// OpenTracy are not part of the file, so the last of them can be revoked: access stays closed
/// then.
pub fn check_access(before: &Config, config: &Config) -> Result<(), Refusal> {
    if config.access.required.is_some() {
        return Ok(());
    }
    let of_file = before.keys.values().any(|key| key.value.made.is_none());
    if of_file && config.keys.is_empty() {
        return Err(Refusal::LostKeys);
    }
    if before.access.jwt.is_some() && config.access.jwt.is_none() && config.keys.is_empty() {
        return Err(Refusal::LostTokens);
    }
    if before.access.required == Some(true) && config.keys.is_empty() && config.access.jwt.is_none()
    {
        return Err(Refusal::LostRequired);
    }
    Ok(())
}

/// Returns `true` for a text of comments and document markers only.
fn is_blank(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    lines.all(|line| {
        line.is_empty() || line.starts_with('#') || matches!(line, "---" | "..." | "{}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str =
        "aliases:\n  smart: {candidates: [demo/echo]}\nkeys:\n  a: {sha256: \"00\"}\n";

    #[test]
    fn what_is_left_of_a_file_is_not_taken_for_a_new_one() {
        let soon = Some(Duration::from_millis(300));
        let later = Some(CUT_SETTLES);
        for blank in ["", "\n", "  \n# keys\n---\n", "{}\n"] {
            let verdict = check_text(BEFORE, blank, later);
            assert_eq!(verdict, TextVerdict::Refused(Refusal::Empty), "{blank:?}");
        }
        for end in 1..BEFORE.len() {
            let cut = &BEFORE[..end];
            let verdict = check_text(BEFORE, cut, soon);
            assert_ne!(verdict, TextVerdict::Whole, "{cut:?}");
            if !cut.ends_with('\n') {
                assert_eq!(
                    check_text(BEFORE, cut, later),
                    TextVerdict::Refused(Refusal::Cut)
                );
            }
        }
        let first_lines = "aliases:\n  smart: {candidates: [demo/echo]}\n";
        assert_eq!(check_text(BEFORE, first_lines, later), TextVerdict::Whole);
        assert_eq!(check_text(BEFORE, first_lines, None), TextVerdict::Whole);
        assert_eq!(
            check_text(BEFORE, "traces: {redact: true}\n", soon),
            TextVerdict::Whole
        );
        assert_eq!(check_text("", "", soon), TextVerdict::Whole);
        assert_eq!(
            check_text("a: 1", "a: 2", soon),
            TextVerdict::Whole,
            "written without a newline"
        );
    }

    #[test]
    fn access_is_not_lost_without_saying_so() {
        let config = |yaml: &str| serde_saphyr::from_str::<Config>(yaml).unwrap();
        let keys = "keys:\n  a: {key_env: A}\n";
        let jwt = "access:\n  jwt: {issuer: i, jwks_file: f}\n";
        let required = "access: {required: true}\n";
        let nothing = "traces: {redact: true}\n";
        for (before, after, expected) in [
            (keys, nothing, Err(Refusal::LostKeys)),
            (keys, "keys:\n  b: {key_env: B}\n", Ok(())),
            (keys, required, Ok(())),
            (keys, "access: {required: false}\n", Ok(())),
            (jwt, nothing, Err(Refusal::LostTokens)),
            (jwt, keys, Ok(())),
            (required, nothing, Err(Refusal::LostRequired)),
            (required, keys, Ok(())),
            (nothing, nothing, Ok(())),
        ] {
            assert_eq!(
                check_access(&config(before), &config(after)),
                expected,
                "{before}{after}"
            );
        }
    }
}
