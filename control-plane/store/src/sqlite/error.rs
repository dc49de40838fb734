//! The kinds of SQLite's errors.

use rusqlite::{Error, ErrorCode};

/// Returns `true` if SQLite rejects rows because of their content.
pub fn is_about_records(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch
        ),
        Error::ToSqlConversionFailure(_) | Error::NulError(_) | Error::Utf8Error(..) => true,
        _ => false,
    }
}

/// Returns `true` if pages of a file are damaged.
pub fn is_damage(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Returns `true` if a file is currently unusable for reasons other than the configuration.
pub fn is_fault(error: &Error) -> bool {
    is_damage(error)
        || matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::SystemIoFailure
                    | ErrorCode::DiskFull
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
            )
        )
}
