//! The kinds of ClickHouse's errors.

use clickhouse::error::Error;

/// ClickHouse's error codes for rejected values: unparsable text or number, a value out of its
/// type's range, a string that is too long, an invalid row, an unknown enum element, a violated
/// constraint.
const REFUSED_VALUES: [&str; 8] = ["6", "27", "69", "70", "117", "131", "469", "691"];

/// Returns `true` if ClickHouse, or its client, rejects rows because of their content.
pub fn is_about_records(error: &Error) -> bool {
    match error {
        Error::BadResponse(message) => message
            .trim_start()
            .strip_prefix("Code: ")
            .and_then(|rest| rest.split_once('.'))
            .is_some_and(|(code, _)| REFUSED_VALUES.contains(&code)),
        Error::DataFormat(_) | Error::SequenceMustHaveLength | Error::InvalidUtf8Encoding(_) => {
            true
        }
        _ => false,
    }
}
