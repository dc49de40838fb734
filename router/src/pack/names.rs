//! Finds the profile for a model name.

use crate::profile::Profile;

/// Returns the profile with exactly this name, else with the model's name without the provider,
/// else with a name that it extends by a version suffix only, such as a date.
pub fn find(profiles: &[Profile], id: &str) -> Option<usize> {
    let exactly = |name: &str| profiles.iter().position(|profile| profile.model == name);
    let bare = id.rsplit_once('/').map_or(id, |(_, bare)| bare);
    exactly(id).or_else(|| exactly(bare)).or_else(|| {
        let adds_version =
            |profile: &&Profile| bare.strip_prefix(&*profile.model).is_some_and(is_version);
        let longest = profiles
            .iter()
            .filter(adds_version)
            .max_by_key(|profile| profile.model.len())?;
        exactly(&longest.model)
    })
}

/// Matches suffixes that vendors append for a release of the same model: `-2024-08-06`, `-latest`,
/// `-001`, `@20250514`, ….
fn is_version(suffix: &str) -> bool {
    let Some(rest) = suffix.strip_prefix(['-', '@', ':']) else {
        return false;
    };
    rest.split(['-', ':', '@', '.'])
        .all(|part| matches!(part, "latest" | "preview" | "exp") || is_number(part))
}

fn is_number(part: &str) -> bool {
    let digits = part.strip_prefix('v').unwrap_or(part);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: &str) -> Option<&'static str> {
        const NAMES: [&str; 4] = ["gpt-4o", "gpt-4o-mini", "mine/gpt-4o", "claude-3-haiku"];
        let profiles = NAMES.map(|model| Profile {
            model: model.to_owned(),
            mean_error: 0.5,
            errors: Vec::new(),
            counts: Vec::new(),
            strength: 1.0,
            source: String::new(),
            date: String::new(),
            output_tokens: None,
            head: None,
        });
        find(&profiles, id).map(|index| NAMES[index])
    }

    #[test]
    fn the_nearest_name_speaks_for_a_model() {
        assert_eq!(found("openai/gpt-4o"), Some("gpt-4o"));
        assert_eq!(found("mine/gpt-4o"), Some("mine/gpt-4o"));
        assert_eq!(found("openai/gpt-4o-2024-08-06"), Some("gpt-4o"));
        assert_eq!(found("azure/gpt-4o-mini-latest"), Some("gpt-4o-mini"));
        assert_eq!(
            found("vertex/claude-3-haiku@20240307"),
            Some("claude-3-haiku")
        );
        assert_eq!(found("openai/gpt-4o-nano"), None);
        assert_eq!(found("openai/gpt-4"), None);
    }
}
