//! The cases of the benchmark: an API, a model that selects the path through the gateway, and the
//! goal.

use opentracy_translate::client::Api;

pub const OPENAI: &str = "openai/gpt-4o-mini";
const ANTHROPIC: &str = "anthropic/claude-sonnet-4-6";
const GEMINI: &str = "gemini/gemini-2.5-pro";
const BEDROCK: &str = "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0";
const COHERE: &str = "cohere/command-a-03-2025";

/// A kind of request.
#[derive(Debug, PartialEq)]
pub struct Scenario {
    pub name: &'static str,
    pub api: Api,
    pub model: &'static str,
    pub stream: bool,
    /// Runs unless other cases are chosen.
    pub is_default: bool,
    /// The ratio to a plain Envoy's CPU time that the product aims for.
    pub goal: Option<f64>,
}

impl Scenario {
    /// Returns true if the request and the answer are those of a proxy that changes nothing.
    pub fn is_passthrough(&self) -> bool {
        self.model == OPENAI && self.api == Api::CHAT_COMPLETIONS
    }
}

/// Every case, with and without streaming.
pub static SCENARIOS: [Scenario; 21] = [
    default("OpenAI, passed through", OPENAI, false, Some(1.4)),
    default("OpenAI to Anthropic", ANTHROPIC, false, Some(1.7)),
    default("alias of two, the first answers", "smart", false, Some(2.3)),
    default("alias with limits", "limited", false, None),
    default("routed from the cache", "routed", false, None),
    case("OpenAI to Gemini", GEMINI, false),
    case("OpenAI to Bedrock, signed", BEDROCK, false),
    case("OpenAI to Cohere", COHERE, false),
    of(
        Api::MESSAGES,
        case("Messages, passed through", ANTHROPIC, false),
    ),
    of(Api::MESSAGES, case("Messages to OpenAI", OPENAI, false)),
    of(
        Api::RESPONSES,
        case("Responses to Anthropic", ANTHROPIC, false),
    ),
    default("OpenAI, SSE", OPENAI, true, Some(1.35)),
    default("OpenAI to Anthropic, SSE", ANTHROPIC, true, Some(1.35)),
    default("alias of two, SSE", "smart", true, Some(1.35)),
    case("routed from the cache, SSE", "routed", true),
    case("OpenAI to Gemini, SSE", GEMINI, true),
    case("OpenAI to Bedrock, signed, event stream", BEDROCK, true),
    case("OpenAI to Cohere, SSE", COHERE, true),
    of(
        Api::MESSAGES,
        case("Messages, passed through, SSE", ANTHROPIC, true),
    ),
    of(Api::MESSAGES, case("Messages to OpenAI, SSE", OPENAI, true)),
    of(
        Api::RESPONSES,
        case("Responses to Anthropic, SSE", ANTHROPIC, true),
    ),
];

/// Returns the default cases, or those that a text names or is a part of the name of.
pub fn choose(texts: &[String], every: bool) -> Result<Vec<&'static Scenario>, String> {
    let mut chosen = Vec::new();
    for text in texts {
        let has_name = |scenario: &&Scenario| scenario.name == text;
        let is_exact = SCENARIOS.iter().any(|scenario| has_name(&scenario));
        let before = chosen.len();
        chosen.extend(SCENARIOS.iter().filter(|scenario| {
            has_name(scenario) || (!is_exact && scenario.name.contains(text.as_str()))
        }));
        if chosen.len() == before {
            return Err(format!(
                "--only: no case has `{text}` in its name; the cases are: {}",
                SCENARIOS
                    .each_ref()
                    .map(|scenario| scenario.name)
                    .join("; ")
            ));
        }
    }
    let is_chosen = |scenario: &&Scenario| match texts {
        [] => every || scenario.is_default,
        _ => chosen.contains(scenario),
    };
    Ok(SCENARIOS.iter().filter(is_chosen).collect())
}

const fn case(name: &'static str, model: &'static str, stream: bool) -> Scenario {
    Scenario {
        name,
        api: Api::CHAT_COMPLETIONS,
        model,
        stream,
        is_default: false,
        goal: None,
    }
}

const fn default(
    name: &'static str,
    model: &'static str,
    stream: bool,
    goal: Option<f64>,
) -> Scenario {
    Scenario {
        is_default: true,
        goal,
        ..case(name, model, stream)
    }
}

const fn of(api: Api, scenario: Scenario) -> Scenario {
    Scenario { api, ..scenario }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{SCENARIOS, choose};

    fn names(texts: &[&str], every: bool) -> Vec<&'static str> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let chosen = choose(&texts, every).unwrap();
        chosen.iter().map(|scenario| scenario.name).collect()
    }

    #[test]
    fn no_two_cases_share_a_name() {
        let names: HashSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
    }

    #[test]
    fn a_full_name_chooses_one_case_and_a_part_chooses_several() {
        assert_eq!(
            names(&["OpenAI to Anthropic"], false),
            ["OpenAI to Anthropic"]
        );
        assert_eq!(
            names(&["Cohere", "alias with"], false),
            [
                "alias with limits",
                "OpenAI to Cohere",
                "OpenAI to Cohere, SSE"
            ]
        );
    }

    #[test]
    fn without_a_choice_the_default_cases_or_all_of_them_run() {
        assert_eq!(names(&[], false).len(), 8);
        assert_eq!(names(&[], true).len(), SCENARIOS.len());
    }

    #[test]
    fn an_unknown_case_is_an_error_that_lists_the_cases() {
        let error = choose(&["Mistral".to_owned()], false).unwrap_err();
        assert!(error.contains("OpenAI to Gemini"), "{error}");
    }
}
