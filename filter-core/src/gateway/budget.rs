//! Checks budgets before a call is made.
//!
//! The control plane counts the spend; the filter reads it from its last snapshot, which is about a
//! second old.

use opentracy_proto::v1;
use opentracy_translate::error::ApiError;

/// Returns the worse state of the budgets of a key and an alias; an error if one is exhausted.
pub fn check(
    key: Option<&v1::ClientKey>,
    alias: Option<&v1::Alias>,
) -> Result<v1::Budget, ApiError> {
    let of_key = key.map(|key| (key.budget(), "key", &key.name));
    let of_alias = alias.map(|alias| (alias.budget(), "alias", &alias.name));
    let mut worse = v1::Budget::Within;
    for (budget, kind, name) in [of_key, of_alias].into_iter().flatten() {
        match budget {
            v1::Budget::HardLimit => {
                return Err(ApiError::insufficient_quota(format!(
                    "The budget of the {kind} \"{name}\" is spent. Its owner can raise it, or wait for its next period"
                )));
            }
            v1::Budget::SoftLimit => worse = v1::Budget::SoftLimit,
            v1::Budget::Within => {}
        }
    }
    Ok(worse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(budget: v1::Budget) -> v1::ClientKey {
        v1::ClientKey {
            name: "team".to_owned(),
            budget: budget.into(),
            ..v1::ClientKey::default()
        }
    }

    fn alias(budget: v1::Budget) -> v1::Alias {
        v1::Alias {
            name: "smart".to_owned(),
            budget: budget.into(),
            ..v1::Alias::default()
        }
    }

    #[test]
    fn the_worse_of_two_budgets_counts() {
        use v1::Budget::{HardLimit, SoftLimit, Within};
        let found = |of_key, of_alias| check(Some(&key(of_key)), Some(&alias(of_alias)));
        assert_eq!(check(None, None), Ok(Within));
        assert_eq!(found(Within, Within), Ok(Within));
        assert_eq!(found(SoftLimit, Within), Ok(SoftLimit));
        assert_eq!(found(Within, SoftLimit), Ok(SoftLimit));
        let error = found(SoftLimit, HardLimit).unwrap_err();
        assert_eq!(
            (error.status, error.kind.as_str()),
            (429, "insufficient_quota")
        );
        assert!(error.message.contains("alias \"smart\""));
    }
}
