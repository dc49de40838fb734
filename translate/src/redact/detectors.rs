//! The detectors there are.

use regex_lite::Regex;

use crate::redact::checks;

/// What is masked unless the operator says otherwise.
pub const DEFAULT: [&str; 6] = ["secret", "email", "iban", "card", "phone", "ip"];
/// What an operator may ask for: whose numbers matter depends on where one is.
pub const NATIONAL_IDS: [&str; 8] = [
    "us_ssn",
    "uk_nino",
    "de_tax_id",
    "fr_nir",
    "es_dni",
    "it_codice_fiscale",
    "nl_bsn",
    "br_cpf",
];

pub const SECRET: &str = "secret";

/// Whether what was found is what it looks like; it is given the text before it too.
type Check = fn(&str, &str) -> bool;

pub struct Detector {
    /// Where it has a group, only that is masked.
    pattern: Regex,
    mask: String,
    check: Check,
}

/// Keys and tokens: by the prefixes their issuers give them, whatever follows `Bearer` or the name of a secret, and what is too
/// random for a word.
const SECRETS: &[(&str, Check)] = &[
    (
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----",
        always,
    ),
    (r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_*-]{6,}", always),
    (
        r"\b(?:gsk|xai|hf|glpat|ghp|gho|ghu|ghs|ghr|github_pat|npm|pypi|nvapi|pplx|csk|r8|dop_v1|shpat|tvly|whsec|SG|otk|xox[abprs])[-_.][A-Za-z0-9_.-]{10,}",
        always,
    ),
    (r"\bAIza[A-Za-z0-9_-]{30,}", always),
    (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", always),
    (
        r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        always,
    ),
    (r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]{8,}", always),
    (r"[a-z][a-z0-9+.-]*://[^\s:/@]+:([^\s:/@]+)@", always),
    (
        r#"(?i)(?:api[_-]?key|secret|token|password|passwd|pwd|access[_-]?key|credentials?)["']?\s*[:=]\s*["']?([^\s"',;<>{}\[\]]{6,})"#,
        has_a_letter,
    ),
    (r"[A-Za-z0-9_+/-]{20,200}={0,2}", checks::random),
];

fn always(_: &str, _: &str) -> bool {
    true
}

/// A count is no secret, whatever it is called.
fn has_a_letter(_: &str, text: &str) -> bool {
    text.contains(|c: char| c.is_alphabetic())
}

/// The parts of a detector, by its name.
pub fn find(name: &str) -> Option<Vec<Detector>> {
    if name == SECRET {
        return SECRETS
            .iter()
            .map(|(pattern, check)| detector(pattern, SECRET, *check))
            .collect();
    }
    let one = |pattern, check| detector(pattern, name, check).map(|detector| vec![detector]);
    match name {
        "email" => one(
            r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
            always,
        ),
        "iban" => one(
            r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b",
            checks::iban,
        ),
        "card" => one(r"\b\d(?:[ -]?\d){12,18}\b", checks::card),
        "phone" => one(
            r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ ./-]?\d{2,4}){2,4}\b|\b00\d{1,3} ?\d{1,4}(?: ?\d{2,4}){2,4}\b|\(\d{3}\) ?\d{3}[ .-]\d{4}\b|\b\d{3}[ .-]\d{3}[ .-]\d{4}\b|\(?\b0\d{2,4}\)?[ /-]\d{3,4}[ -]?\d{3,5}\b",
            checks::phone,
        ),
        "ip" => {
            let mut both = one(r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?:\.\d+)*", checks::ipv4)?;
            both.extend(one(
                r"(?:[0-9A-Fa-f]{1,4})?(?::[0-9A-Fa-f]{0,4}){2,7}[0-9A-Fa-f]",
                checks::ipv6,
            )?);
            Some(both)
        }
        "us_ssn" => one(r"\b\d{3}-\d{2}-\d{4}\b", checks::us_ssn),
        "uk_nino" => one(
            r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
            always,
        ),
        "de_tax_id" => one(r"\b\d{2} ?\d{3} ?\d{3} ?\d{3}\b", checks::de_tax_id),
        "fr_nir" => one(
            r"\b[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d{2} ?\d{3} ?\d{3} ?\d{2}\b",
            checks::fr_nir,
        ),
        "es_dni" => one(r"\b(?:\d{8}|[XYZ]\d{7})[- ]?[A-Z]\b", checks::es_dni),
        "it_codice_fiscale" => one(r"\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b", always),
        "nl_bsn" => one(r"\b\d{9}\b|\b\d{4}\.\d{2}\.\d{3}\b", checks::nl_bsn),
        "br_cpf" => one(r"\b\d{3}\.?\d{3}\.?\d{3}-\d{2}\b", checks::br_cpf),
        _ => None,
    }
}

fn detector(pattern: &str, name: &str, check: Check) -> Option<Detector> {
    Some(Detector {
        pattern: Regex::new(pattern).ok()?,
        mask: match NATIONAL_IDS.contains(&name) {
            true => "[NATIONAL_ID]".to_owned(),
            false => format!("[{}]", name.to_uppercase()),
        },
        check,
    })
}

impl Detector {
    /// One without a check.
    pub fn new(pattern: Regex, mask: String) -> Self {
        Self {
            pattern,
            mask,
            check: always,
        }
    }

    /// The text with everything masked that was found; `None` when nothing was.
    pub fn mask(&self, text: &str) -> Option<String> {
        let mut masked = String::new();
        let mut copied = 0;
        for found in self.pattern.captures_iter(text) {
            let Some(found) = found.get(1).or_else(|| found.get(0)) else {
                continue;
            };
            let before = text.get(..found.start()).unwrap_or_default();
            if found.as_str().is_empty() || !(self.check)(before, found.as_str()) {
                continue;
            }
            masked.push_str(text.get(copied..found.start()).unwrap_or_default());
            masked.push_str(&self.mask);
            copied = found.end();
        }
        if copied == 0 {
            return None;
        }
        masked.push_str(text.get(copied..).unwrap_or_default());
        Some(masked)
    }
}
