//! The cost of a call.

use serde::{Deserialize, Serialize};

/// US dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(pub f64);

impl Usd {
    /// Rounds to a ten-thousandth of a micro-dollar: smaller than any price, larger than binary
    /// rounding errors.
    fn rounded(self) -> Self {
        Self((self.0 * 1e10).round() / 1e10)
    }
}

/// A number of tokens.
pub type TokenCount = u64;

/// Token counts of a call. Cached tokens are part of `input`, reasoning tokens part of `output`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: TokenCount,
    pub output: TokenCount,
    pub cache_read: TokenCount,
    pub cache_write: TokenCount,
    pub reasoning: TokenCount,
}

impl Usage {
    /// Returns the counts; `None` if all are 0, which stands for an answer without counts.
    pub fn reported(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }
}

/// USD per token. `None` means unknown, not free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pricing {
    pub input: Option<Usd>,
    pub output: Option<Usd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<Usd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Usd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Usd>,
}

/// The parts of a call's cost. Cached tokens are not in `input`; reasoning tokens are in `output`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct CostBreakdown {
    pub input: Usd,
    pub output: Usd,
    pub cache_read: Usd,
    pub cache_write: Usd,
    pub total: Usd,
}

impl Pricing {
    /// Returns the cost of a call; `None` if it used something whose price is unknown.
    ///
    /// If a model has no price for cached or reasoning tokens, they cost the same as the others.
    pub fn cost(&self, usage: &Usage) -> Option<CostBreakdown> {
        let input_price = self.input?;
        let output_price = self.output?;
        let times = |tokens: TokenCount, price: Usd| tokens as f64 * price.0;
        let fresh = usage
            .input
            .saturating_sub(usage.cache_read)
            .saturating_sub(usage.cache_write);
        let spoken = usage.output.saturating_sub(usage.reasoning);
        let input = times(fresh, input_price);
        let output = times(spoken, output_price)
            + times(usage.reasoning, self.reasoning.unwrap_or(output_price));
        let cache_read = times(usage.cache_read, self.cache_read.unwrap_or(input_price));
        let cache_write = times(usage.cache_write, self.cache_write.unwrap_or(input_price));
        Some(CostBreakdown {
            input: Usd(input).rounded(),
            output: Usd(output).rounded(),
            cache_read: Usd(cache_read).rounded(),
            cache_write: Usd(cache_write).rounded(),
            total: Usd(input + output + cache_read + cache_write).rounded(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: Pricing = Pricing {
        input: Some(Usd(3e-6)),
        output: Some(Usd(15e-6)),
        cache_read: Some(Usd(0.3e-6)),
        cache_write: Some(Usd(3.75e-6)),
        reasoning: None,
    };

    #[test]
    fn cached_tokens_are_charged_once_at_their_own_price() {
        let cost = PRICES
            .cost(&Usage {
                input: 1_000_000,
                output: 100_000,
                cache_read: 500_000,
                cache_write: 100_000,
                reasoning: 50_000,
            })
            .unwrap();
        assert_eq!(cost.input, Usd(1.2));
        assert_eq!(cost.cache_read, Usd(0.15));
        assert_eq!(cost.cache_write, Usd(0.375));
        assert_eq!(cost.output, Usd(1.5));
        assert_eq!(cost.total, Usd(3.225));
    }

    #[test]
    fn an_unknown_price_is_not_zero() {
        let usage = Usage {
            input: 1,
            ..Usage::default()
        };
        assert_eq!(Pricing::default().cost(&usage), None);
    }
}
