//! The kinds of limits: one row each. The filter charges, refuses and reports by it, the control
//! plane grants by it.
//!
//! To add a kind, add its row, its unit and its field in `limit.proto`, and its key in
//! `control-plane/config/src/limits.rs`. The compiler and the tests name what is missing.

use std::time::Duration;

use crate::v1::{Limits, Unit};

/// The `code` of the error for limits that can't be checked.
pub const UNAVAILABLE_CODE: &str = "limits_unavailable";

/// A kind of limit.
#[derive(Debug)]
pub struct LimitKind {
    pub unit: Unit,
    /// The key in the configuration.
    pub key: &'static str,
    pub measure: Measure,
    /// The period of a rate; `None` if the limit is of requests in progress.
    pub window: Option<Window>,
    /// The `code` of the error for a request over the limit.
    pub error_code: &'static str,
    /// The headers that tell a client its state; `None` if it has none.
    pub headers: Option<StatusHeaders>,
    limit: fn(&Limits) -> Option<u64>,
    only: fn(u64) -> Limits,
}

/// The quantity that a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// One for each request.
    Requests,
    /// Estimated when a request arrives, and corrected when it ends.
    Tokens,
}

impl Measure {
    /// Returns the noun for messages.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }

    /// Returns whether a request is charged an estimate, which its end corrects.
    pub const fn is_estimated(self) -> bool {
        match self {
            Self::Requests => false,
            Self::Tokens => true,
        }
    }
}

/// A period of the clock, with the epoch as its origin, at whose end the whole limit is available
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub length: Duration,
    /// The period in error messages, such as `in a minute`.
    pub phrase: &'static str,
}

/// Names of response headers, which OpenAI's SDKs read.
#[derive(Debug)]
pub struct StatusHeaders {
    pub limit: &'static str,
    pub remaining: &'static str,
    pub reset: &'static str,
}

impl LimitKind {
    /// Returns all kinds, in the order in which requests are charged.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        Unit::ALL.iter().map(|unit| unit.kind())
    }

    /// Returns the limit of this kind; `None` means unlimited.
    pub fn limit(&self, limits: &Limits) -> Option<u64> {
        (self.limit)(limits)
    }

    /// Returns limits of which this kind is the only one.
    pub fn only(&self, limit: u64) -> Limits {
        (self.only)(limit)
    }

    /// Returns the noun for messages, such as `requests per minute`.
    pub fn noun(&self) -> String {
        self.key.replace('_', " ")
    }
}

const MINUTE: Window = Window {
    length: Duration::from_secs(60),
    phrase: "in a minute",
};

/// Defines the kinds of rows of the form
///
/// ```text
/// UNIT: KEY, which is also the field of `Limits` { the other columns }
/// ```
macro_rules! limit_kinds {
    ($($unit:ident: $key:ident { $($columns:tt)* })*) => {
        impl Unit {
            /// All units, in the order in which requests are charged.
            pub const ALL: &[Self] = &[$(Self::$unit),*];

            /// Returns the kind of limit that counts this unit.
            pub const fn kind(self) -> &'static LimitKind {
                match self {
                    $(Self::$unit => const {
                        &LimitKind {
                            unit: Self::$unit,
                            key: stringify!($key),
                            limit: |limits| limits.$key,
                            only: |limit| Limits { $key: Some(limit), ..Limits::default() },
                            $($columns)*
                        }
                    },)*
                }
            }
        }

        // Does not compile if a limit has no row.
        const _: fn(Limits) = |Limits { $($key: _),* }| ();
    };
}

limit_kinds! {
    Requests: requests_per_minute {
        measure: Measure::Requests,
        window: Some(MINUTE),
        error_code: "rate_limit_exceeded",
        headers: Some(StatusHeaders {
            limit: "x-ratelimit-limit-requests",
            remaining: "x-ratelimit-remaining-requests",
            reset: "x-ratelimit-reset-requests",
        }),
    }
    Tokens: tokens_per_minute {
        measure: Measure::Tokens,
        window: Some(MINUTE),
        error_code: "rate_limit_exceeded",
        headers: Some(StatusHeaders {
            limit: "x-ratelimit-limit-tokens",
            remaining: "x-ratelimit-remaining-tokens",
            reset: "x-ratelimit-reset-tokens",
        }),
    }
    Concurrent: concurrent_requests {
        measure: Measure::Requests,
        window: None,
        error_code: "concurrency_limit_exceeded",
        headers: None,
    }
}
