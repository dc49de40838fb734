//! Parsing and patching of a key's terms.

use serde_json::{Map, Value};

use super::{KeyError, KeyPolicy};

/// Parses terms. An error names the field.
pub fn parse(terms: Value) -> Result<KeyPolicy, KeyError> {
    serde_path_to_error::deserialize(terms).map_err(|error: serde_path_to_error::Error<_>| {
        let inner: &serde_json::Error = error.inner();
        KeyError::KeyPolicy(match error.path().to_string().as_str() {
            "." => format!("the terms can't be read: {inner}"),
            path => format!("`{path}` can't be read: {inner}"),
        })
    })
}

/// Applies a JSON Merge Patch (RFC 7396).
pub fn patched(before: &KeyPolicy, patch: &Map<String, Value>) -> Result<KeyPolicy, KeyError> {
    let mut terms = serde_json::to_value(before).unwrap_or_default();
    merge(&mut terms, patch);
    parse(terms)
}

fn merge(target: &mut Value, patch: &Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else {
        return;
    };
    for (name, value) in patch {
        match value {
            Value::Null => {
                members.remove(name);
            }
            Value::Object(inner) => {
                merge(members.entry(name.clone()).or_insert(Value::Null), inner)
            }
            value => {
                members.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Returns the first field that restricts a key and that the new terms omit. A field that is
/// present counts as intended, whatever its value.
pub fn left_out(before: &KeyPolicy, terms: &Map<String, Value>) -> Option<String> {
    let before = serde_json::to_value(before).unwrap_or_default();
    let Value::Object(before) = before else {
        return None;
    };
    let mut fields = before
        .iter()
        .filter(|(name, value)| is_restriction(name, value));
    fields.find_map(|(name, value)| match (value, terms.get(name)) {
        (_, None) => Some(name.clone()),
        // Limits are compared one by one, since a single one may be missing.
        (Value::Object(held), Some(Value::Object(new))) => {
            let is_default = |name: &str, value: &Value| name == "period" && value == "month";
            let mut inner = held
                .iter()
                .filter(|(name, value)| !value.is_null() && !is_default(name, value));
            let lost = inner.find(|(inner, _)| !new.contains_key(*inner));
            lost.map(|(inner, _)| format!("{name}.{inner}"))
        }
        _ => None,
    })
}

fn is_restriction(name: &str, value: &Value) -> bool {
    match name {
        // For information only.
        "owner" | "metadata" => false,
        // The default role is `user`, which may do more than read.
        "role" => value == "read-only",
        _ => match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(values) => !values.is_empty(),
            Value::Object(members) => members.values().any(|value| !value.is_null()),
            _ => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn terms(value: Value) -> KeyPolicy {
        parse(value).unwrap()
    }

    fn members(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn terms_that_leave_out_a_restriction_are_told_which() {
        let restrictions = [
            ("models", json!(["demo/*"])),
            ("endpoints", json!(["POST /v1/chat/*"])),
            ("expires_at", json!("2027-01-01T00:00:00Z")),
            ("disabled", json!(true)),
            ("role", json!("read-only")),
            ("limits", json!({"requests_per_minute": 5})),
            ("budget", json!({"hard": 5.0})),
        ];
        for (field, value) in restrictions {
            let before = terms(Value::Object(members(json!({field: value.clone()}))));
            let without = members(json!({"owner": "Ann"}));
            assert_eq!(left_out(&before, &without).as_deref(), Some(field));
            let with = members(json!({field: value}));
            assert_eq!(left_out(&before, &with), None, "{field}");
            let cleared = members(json!({field: null}));
            assert_eq!(
                left_out(&before, &cleared),
                None,
                "{field} is cleared on purpose"
            );
        }
        let before = terms(json!({"limits": {"requests_per_minute": 5, "tokens_per_minute": 9}}));
        let fewer = members(json!({"limits": {"tokens_per_minute": 9}}));
        assert_eq!(
            left_out(&before, &fewer).as_deref(),
            Some("limits.requests_per_minute")
        );
        let unrestricted = terms(json!({"role": "admin", "owner": "Ann"}));
        assert_eq!(left_out(&unrestricted, &Map::new()), None);
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let before = terms(json!({
            "models": ["demo/*"], "limits": {"requests_per_minute": 5, "tokens_per_minute": 9}, "metadata": {"a": "1", "b": "2"},
        }));
        let patch = json!({"limits": {"requests_per_minute": 7}, "metadata": {"a": null}, "disabled": true});
        let after = patched(&before, &members(patch)).unwrap();
        let expected = terms(json!({
            "models": ["demo/*"], "limits": {"requests_per_minute": 7, "tokens_per_minute": 9}, "metadata": {"b": "2"},
            "disabled": true,
        }));
        assert_eq!(after, expected);
        let cleared = patched(&after, &members(json!({"models": null, "limits": null}))).unwrap();
        assert!(cleared.models.is_empty() && cleared.limits == Default::default());
        let error = patched(&before, &members(json!({"modles": []}))).unwrap_err();
        assert!(error.to_string().contains("modles"), "{error}");
    }
}
