//! Synthetic traces like an application's: words as common as in English, a few models, aliases,
//! keys and tenants, some errors.

use anyhow::Result;
use opentracy_proto::v1;
use opentracy_proto::v1::trace_service_client::TraceServiceClient;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Number of traces per call, as Envoy's workers batch them.
const BATCH: usize = 60;
/// Number of concurrent calls, as eight of Envoy's workers have.
const CALLS_AT_ONCE: usize = 32;
const VOCABULARY: u64 = 30_000;
const WORDS_ASKED: usize = 300;
const WORDS_ANSWERED: usize = 220;
const MODELS: [(&str, &str); 5] = [
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-4o"),
    ("anthropic", "claude-sonnet-4-6"),
    ("gemini", "gemini-2.5-pro"),
    ("mistral", "mistral-large-latest"),
];

/// Number of conversations that traces are built from, because building one takes longer than
/// storing it.
const CONVERSATIONS: usize = 20_000;

pub struct Traffic {
    address: String,
    made: u64,
    /// Time of the first call: recent, so that no trace is older than the retention.
    pub start_micros: u64,
    random: u64,
    conversations: Vec<(String, String)>,
}

impl Traffic {
    pub fn new(address: String) -> Self {
        let mut traffic = Self {
            address,
            made: 0,
            start_micros: u64::try_from(jiff::Timestamp::now().as_microsecond())
                .unwrap_or_default()
                .saturating_sub(3_600_000_000),
            random: 0x9e37_79b9_7f4a_7c15,
            conversations: Vec::new(),
        };
        for _ in 0..CONVERSATIONS {
            let asked = traffic.words(WORDS_ASKED);
            let answered = traffic.words(WORDS_ANSWERED);
            traffic.conversations.push((asked, answered));
        }
        traffic
    }

    /// Returns traces, ready to be sent.
    pub fn batches(&mut self, mut count: usize) -> Vec<v1::IngestRequest> {
        let mut batches = Vec::new();
        while count > 0 {
            let size = count.min(BATCH);
            count -= size;
            let traces: Vec<v1::Trace> = (0..size).map(|_| self.trace()).collect();
            batches.push(v1::IngestRequest {
                attempts: traces.iter().map(only_attempt).collect(),
                traces,
            });
        }
        batches
    }

    /// Sends the traces, and returns when all are acknowledged.
    pub async fn send(&self, batches: Vec<v1::IngestRequest>) -> Result<()> {
        let endpoint = tonic::transport::Endpoint::from_shared(self.address.clone())?;
        let client = TraceServiceClient::new(endpoint.connect().await?);
        let mut calls = JoinSet::new();
        for batch in batches {
            if calls.len() >= CALLS_AT_ONCE
                && let Some(done) = calls.join_next().await
            {
                done??;
            }
            let mut client = client.clone();
            calls.spawn(async move { anyhow::Ok(client.ingest(batch).await?) });
        }
        while let Some(done) = calls.join_next().await {
            done??;
        }
        Ok(())
    }

    fn trace(&mut self) -> v1::Trace {
        self.made += 1;
        let number = self.made;
        let (provider, model) = MODELS[(self.next() % 16 / 3).min(4) as usize];
        let failed = self.next().is_multiple_of(50);
        let tokens = 200 + self.next() % 800;
        let latency = 200_000 + (self.next() % 1000) * (self.next() % 1000) * 20;
        let conversation = (self.next() % CONVERSATIONS as u64) as usize;
        let request = format!(
            r#"{{"model":"smart","messages":[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":"{}"}}],"temperature":0.7}}"#,
            self.conversations[conversation].0
        );
        let response = format!(
            r#"{{"id":"chatcmpl-{number}","object":"chat.completion","created":1,"model":"{model}","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":{tokens},"completion_tokens":100,"total_tokens":{}}}}}"#,
            self.conversations[conversation].1,
            tokens + 100
        );
        // One per millisecond, so that a million span a quarter of an hour.
        let micros = self.start_micros + number * 1000;
        v1::Trace {
            id: self.id(micros / 1000).to_string(),
            start_unix_micros: micros,
            requested_model: "smart".to_owned(),
            alias: if number.is_multiple_of(3) {
                "smart"
            } else {
                "cheap"
            }
            .to_owned(),
            provider: provider.to_owned(),
            model: model.to_owned(),
            key: format!("team-{}", self.next() % 20),
            status: if failed { 429 } else { 200 },
            error: failed.then(|| v1::TraceError {
                r#type: "rate_limit_error".to_owned(),
                code: String::new(),
                message: "too fast".to_owned(),
            }),
            outcome: v1::Outcome::Completed.into(),
            latency_micros: latency,
            time_to_first_token_micros: Some(latency / 3),
            routing_micros: 100,
            usage: Some(v1::Usage {
                input: tokens,
                output: 100,
                ..v1::Usage::default()
            }),
            cost: Some(v1::Cost {
                total: tokens as f64 * 1e-6,
                ..v1::Cost::default()
            }),
            request: request.into_bytes(),
            response: response.into_bytes(),
            session_id: format!("session-{}", number / 10),
            cluster_id: Some((self.next() % 100) as u32),
            user: format!("user-{}", self.next() % 5000),
            metadata: [("tenant".to_owned(), format!("t{}", self.next() % 1000))].into(),
            ..v1::Trace::default()
        }
    }

    fn id(&mut self, millis: u64) -> Uuid {
        let random = u128::from(self.next()) << 64 | u128::from(self.next());
        let bits = u128::from(millis) << 80
            | 7 << 76
            | (random >> 52) & !(3 << 62) & ((1 << 76) - 1)
            | 2 << 62;
        Uuid::from_u128(bits)
    }

    /// Returns words by Zipf's law: the n-th most common one is n times as rare as the first.
    fn words(&mut self, count: usize) -> String {
        let mut text = String::with_capacity(count * 7);
        for index in 0..count {
            let share = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
            let rank = (VOCABULARY as f64).powf(share) as u64;
            if index > 0 {
                text.push(' ');
            }
            text.push_str(&word(rank));
        }
        text
    }

    /// Returns the next random number (SplitMix64).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Returns the only attempt of a trace, by the model that answered.
fn only_attempt(trace: &v1::Trace) -> v1::Attempt {
    v1::Attempt {
        trace_id: trace.id.clone(),
        number: 1,
        start_unix_micros: trace.start_unix_micros,
        provider: trace.provider.clone(),
        model: trace.model.clone(),
        status: trace.status,
        error: String::new(),
        latency_micros: trace.latency_micros,
        traceparent: String::new(),
    }
}

/// Returns the word of a rank: the more common, the shorter.
pub fn word(rank: u64) -> String {
    const SYLLABLES: [&str; 16] = [
        "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu",
        "va",
    ];
    let mut word = String::new();
    let mut rest = rank + 16;
    while rest > 0 {
        word.push_str(SYLLABLES[(rest % 16) as usize]);
        rest /= 16;
    }
    word
}
