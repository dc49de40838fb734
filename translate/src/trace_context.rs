//! W3C Trace Context: one trace from the client through the gateway to the provider.
//!
//! Source: W3C Recommendation "Trace Context", 23 November 2021. The ids of the gateway's own spans
//! are derived from the call's id, so they can be computed from it at any time.

use crate::hash::fnv1a;

/// Trace context of spans whose parent is a client's `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: u128,
    /// The caller's span.
    pub parent: u64,
    pub flags: u8,
}

impl TraceContext {
    /// Parses a `traceparent`. Returns `None` for an invalid one, which is to be ignored.
    pub fn parse(header: &str) -> Option<Self> {
        let is_hex = |text: &str, length: usize| {
            text.len() == length
                && text
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let mut parts = header.trim().split('-');
        let (version, trace, parent, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_valid = is_hex(version, 2)
            && version != "ff"
            && (version != "00" || parts.next().is_none())
            && is_hex(trace, 32)
            && is_hex(parent, 16)
            && is_hex(flags, 2);
        if !is_valid {
            return None;
        }
        let context = Self {
            trace_id: u128::from_str_radix(trace, 16).ok()?,
            parent: u64::from_str_radix(parent, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()?,
        };
        (context.trace_id != 0 && context.parent != 0).then_some(context)
    }

    /// Returns the header for a request made by one of the gateway's spans.
    pub fn header(&self, span: u64) -> String {
        format!("00-{:032x}-{span:016x}-{:02x}", self.trace_id, self.flags)
    }
}

/// Returns the span id of a call's attempt; 0 is the call itself.
pub fn span_id(call: &str, attempt: u32) -> u64 {
    let name = format!("{call}/{attempt}");
    // Half of a digest is enough; 0 is not a valid id.
    (fnv1a(name.as_bytes()) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_goes_on() {
        let context = TraceContext::parse(HEADER).unwrap();
        let onward = context.header(span_id("a", 1));
        assert!(onward.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
        assert!(onward.ends_with("-01"));
        assert_eq!(
            TraceContext::parse(&onward).unwrap().parent,
            span_id("a", 1)
        );
        assert_ne!(span_id("a", 1), span_id("a", 2));
    }

    #[test]
    fn what_is_not_valid_is_ignored() {
        for header in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(TraceContext::parse(header), None, "{header}");
        }
        // A later version may have more fields.
        assert!(
            TraceContext::parse(&HEADER.replacen("00", "01", 1).replace("-01", "-01-x")).is_some()
        );
    }
}
