//! The configured rules for imported traces.

use std::sync::Arc;

use opentracy_proto::v1;
use opentracy_translate::redact::Redactor;

use opentracy_spend::prices::Prices;
use opentracy_state::AppState;
use opentracy_store::Tokens;

/// Applies the same rules as to the filter's traces: prices, content recording and redaction.
pub struct Rules {
    prices: Arc<Prices>,
    content: bool,
    redactor: Option<Redactor>,
}

impl Rules {
    pub fn new(shared: &AppState) -> Self {
        let snapshot = shared.snapshot.borrow().clone();
        let traces = &snapshot.config.traces;
        let names = traces.detectors.iter().map(|name| name.value.as_str());
        let patterns = traces.patterns.iter();
        let own = patterns.map(|(name, pattern)| (name.as_str(), pattern.value.as_str()));
        Self {
            prices: Arc::clone(&shared.prices),
            content: traces.content,
            // Validated with the configuration.
            redactor: traces
                .redact
                .then(|| Redactor::new(names, own).unwrap_or_default()),
        }
    }

    pub fn apply(&self, trace: &mut v1::Trace, is_log: bool) {
        if !self.content {
            trace.request.clear();
            trace.response.clear();
        }
        if let Some(redactor) = &self.redactor {
            trace.request = redactor.mask_body(&trace.request, usize::MAX);
            trace.response = redactor.mask_body(&trace.response, usize::MAX);
            trace.user = redactor.mask_text(&trace.user).into_owned();
            let metadata = std::mem::take(&mut trace.metadata).into_iter();
            trace.metadata = metadata
                .map(|(name, value)| {
                    let masked = |text: &str| redactor.mask_text(text).into_owned();
                    (masked(&name), masked(&value))
                })
                .collect();
            if let Some(error) = &mut trace.error {
                error.message = redactor.mask_text(&error.message).into_owned();
            }
        }
        // An exported trace keeps its cost, even if it has none.
        if let (true, Some(usage)) = (is_log, &trace.usage) {
            let tokens = Tokens {
                input: usage.input,
                output: usage.output,
                cache_read: usage.cache_read,
                cache_write: usage.cache_write,
                reasoning: usage.reasoning,
            };
            let time = Some(trace.start_unix_micros.into());
            let cost = self
                .prices
                .cost(&trace.provider, &trace.model, &tokens, time);
            trace.cost = cost.map(v1::Cost::from);
        }
    }
}
