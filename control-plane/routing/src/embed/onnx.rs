//! An embedding model in ONNX Runtime: all-MiniLM-L6-v2, or another encoder with its interface.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use opentracy_router::matrix;
use opentracy_router::pack;
use ort::environment::Environment;
use ort::session::Session;
use ort::value::Tensor;
use tokenizers::{Tokenizer, TruncationParams};

use opentracy_config as config;

const MODEL: &str = "model.onnx";
const TOKENIZER: &str = "tokenizer.json";
const RUNTIME: &str = "libonnxruntime.so";
/// Texts share a batch if the shorter has at least this share of the longer one's tokens, because
/// padding costs as much as text.
const EVEN: f64 = 0.85;

/// Paths of the model's files.
pub struct OnnxFiles {
    folder: PathBuf,
    runtime: PathBuf,
}

impl OnnxFiles {
    /// Returns `None` if the model or the runtime is missing.
    pub fn find(config: &config::Embedder) -> Option<Self> {
        let folder = config.path();
        let runtime = config
            .runtime
            .clone()
            .unwrap_or_else(|| folder.join(RUNTIME));
        let are_there =
            folder.join(MODEL).exists() && folder.join(TOKENIZER).exists() && runtime.exists();
        are_there.then_some(Self { folder, runtime })
    }
}

/// A loaded model, which runs on one thread.
pub struct OnnxModel {
    session: Session,
    tokenizer: Tokenizer,
    wants_types: bool,
    pub identity: pack::EmbeddingModel,
}

impl OnnxModel {
    pub fn load(files: &OnnxFiles, config: &config::Embedder) -> anyhow::Result<Self> {
        let runtime = &files.runtime;
        let environment = ort::init_from(runtime)
            .map_err(anyhow::Error::from)
            .and_then(|builder| Ok(builder.build()?))
            .with_context(|| format!("ONNX Runtime can't be loaded from {}", runtime.display()))?;
        let path = files.folder.join(MODEL);
        let session = session(&environment, &path)
            .with_context(|| format!("the embedding model {} can't be used", path.display()))?;
        let tokenizer = tokenizer(&files.folder.join(TOKENIZER), config.max_tokens)?;
        let mut model = Self {
            wants_types: session
                .inputs()
                .iter()
                .any(|input| input.name() == "token_type_ids"),
            session,
            tokenizer,
            identity: pack::EmbeddingModel {
                model: config.name.clone(),
                dimensions: 0,
            },
        };
        let probe = model.embed(&["probe".to_owned()])?;
        model.identity.dimensions = probe.first().map_or(0, Vec::len);
        Ok(model)
    }

    pub fn embed(&mut self, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
        let encoded = texts
            .iter()
            .map(|text| {
                let encoding = self.tokenizer.encode_fast(text.as_str(), true);
                encoding.map(|encoding| encoding.get_ids().to_vec())
            })
            .collect::<Result<Vec<Vec<u32>>, _>>()
            .map_err(|error| anyhow::anyhow!("tokenization failed: {error}"))?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&index| encoded[index].len());
        let mut embeddings = vec![Vec::new(); texts.len()];
        let is_even =
            |&a: &usize, &b: &usize| encoded[a].len() as f64 >= EVEN * encoded[b].len() as f64;
        for batch in order.chunk_by(is_even) {
            let rows: Vec<&[u32]> = batch
                .iter()
                .map(|&index| encoded[index].as_slice())
                .collect();
            for (&index, embedding) in batch.iter().zip(self.run(&rows)?) {
                embeddings[index] = embedding;
            }
        }
        Ok(embeddings)
    }

    /// Returns mean-pooled embeddings: the mean of the last layer over a text's own tokens, scaled
    /// to length one.
    fn run(&mut self, rows: &[&[u32]]) -> anyhow::Result<Vec<Vec<f32>>> {
        let length = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let padded = |of: &dyn Fn(Option<&u32>) -> i64| {
            let values: Vec<i64> = rows
                .iter()
                .flat_map(|row| (0..length).map(|index| of(row.get(index))))
                .collect();
            Tensor::from_array(([rows.len(), length], values))
        };
        let mut inputs = ort::inputs![
            "input_ids" => padded(&|id| id.map_or(0, |&id| i64::from(id)))?,
            "attention_mask" => padded(&|id| i64::from(id.is_some()))?,
        ];
        if self.wants_types {
            inputs.push(("token_type_ids".into(), padded(&|_| 0)?.into()));
        }
        let outputs = self.session.run(inputs)?;
        let (shape, hidden) = outputs[0].try_extract_tensor::<f32>()?;
        let width = shape
            .last()
            .copied()
            .and_then(|width| usize::try_from(width).ok());
        let width = width.filter(|width| rows.len() * length * width == hidden.len() && *width > 0);
        let width =
            width.context("the model's output must have the shape batch × tokens × dimensions")?;
        let texts = hidden.chunks_exact(length * width).zip(rows);
        Ok(texts
            .map(|(text, row)| mean(text, row.len(), width))
            .collect())
    }
}

fn mean(tokens: &[f32], count: usize, width: usize) -> Vec<f32> {
    let mut sum = matrix::sum(width, tokens.chunks_exact(width).take(count));
    matrix::normalize(&mut sum);
    sum
}

fn session(environment: &Environment, path: &Path) -> anyhow::Result<Session> {
    let built = Session::builder(environment)
        .and_then(|builder| builder.with_intra_threads(1)?.commit_from_file(path));
    built.map_err(|error| anyhow::anyhow!("{error}"))
}

fn tokenizer(path: &Path, max_tokens: usize) -> anyhow::Result<Tokenizer> {
    let failed = |error| anyhow::anyhow!("{} can't be used: {error}", path.display());
    let mut tokenizer = Tokenizer::from_file(path).map_err(failed)?;
    // The file pads every text to a fixed length, and padding costs as much as text.
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(Some(TruncationParams {
            max_length: max_tokens,
            ..TruncationParams::default()
        }))
        .map_err(failed)?;
    Ok(tokenizer)
}
