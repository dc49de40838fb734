//! Real prompts, labelled with whether two models answered them correctly.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use opentracy_routing::embed::{Embed, Urgency};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

pub const WEAK: &str = "mixtral-8x7b-instruct";
pub const STRONG: &str = "gpt-4-1106-preview";

pub struct Labelled {
    pub text: String,
    pub embedding: Vec<f32>,
    pub weak_error: f64,
    pub strong_error: f64,
}

/// Returns the training and the test set, or `None` if the files don't exist.
pub fn load(
    embedder: &dyn Embed,
    runtime: &Runtime,
) -> Result<Option<(Vec<Labelled>, Vec<Labelled>)>> {
    let folder = std::env::var_os("OPENTRACY_ROUTING_DATA").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../shared/data/routing"
            ))
        },
        PathBuf::from,
    );
    if !folder.join("train.jsonl").exists() {
        return Ok(None);
    }
    let part = |name: &str| -> Result<Vec<Labelled>> {
        let text = std::fs::read_to_string(folder.join(name))?;
        let rows: Vec<Value> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        let texts: Vec<String> = rows
            .iter()
            .map(|row| Some(row["prompt"].as_str()?.to_owned()))
            .collect::<Option<_>>()
            .context("a row has no prompt")?;
        let embeddings = embed(embedder, runtime, &texts)?;
        let error = |row: &Value, model: &str| 1.0 - row[model].as_f64().unwrap_or_default();
        Ok(rows
            .iter()
            .zip(texts)
            .zip(embeddings)
            .map(|((row, text), embedding)| Labelled {
                weak_error: error(row, WEAK),
                strong_error: error(row, STRONG),
                text,
                embedding,
            })
            .collect())
    };
    Ok(Some((part("train.jsonl")?, part("dev.jsonl")?)))
}

/// Embeds texts, which takes minutes, so the result is cached for the next run.
fn embed(embedder: &dyn Embed, runtime: &Runtime, texts: &[String]) -> Result<Vec<Vec<f32>>> {
    let mut hasher = Sha256::new();
    hasher.update(&embedder.identity().model);
    texts.iter().for_each(|text| hasher.update(text));
    let name: String = hasher
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&folder)?;
    let kept = folder.join(format!("embeddings-{name}"));
    let dimensions = embedder.identity().dimensions;
    if let Ok(bytes) = std::fs::read(&kept) {
        let values: Vec<f32> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        return Ok(values
            .chunks_exact(dimensions)
            .map(<[f32]>::to_vec)
            .collect());
    }
    println!("embedding {} prompts …", texts.len());
    let embeddings = runtime.block_on(embedder.embed(texts.to_vec(), Urgency::Job))?;
    let bytes: Vec<u8> = embeddings
        .iter()
        .flatten()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    std::fs::write(kept, bytes)?;
    Ok(embeddings)
}
