//! Signature Version 4, with which AWS authenticates requests instead of a key.
//!
//! Source: "Create a signed AWS API request", AWS Identity and Access Management user guide,
//! November 2026. The SDK's own signer has fifty dependencies; this is the part that a one-megabyte
//! filter needs, and tests compare it with botocore's.

use std::fmt::{self, Write as _};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::model::encode_in_path;

/// The identity that signs a request.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsCredentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    /// Set for temporary credentials.
    pub session_token: Option<String>,
}

/// Keeps keys out of logs.
impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsCredentials({}…)", self.access_key_id)
    }
}

/// The signed parts of a request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    pub authority: &'a str,
    /// As sent, without a query.
    pub path: &'a str,
    pub content_type: &'a str,
    pub body: &'a [u8],
}

/// The region and service that a signature is valid for.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub region: &'a str,
    pub service: &'a str,
}

/// Returns the headers that sign a request. `now` is in Unix seconds; AWS accepts a clock skew of
/// five minutes.
pub fn sign(
    request: &Request<'_>,
    credentials: &AwsCredentials,
    scope: Scope<'_>,
    now: u64,
) -> Vec<(&'static str, String)> {
    let time = Timestamp(now).to_string();
    let date = time.get(..8).unwrap_or_default();
    let mut headers = vec![
        ("content-type", request.content_type),
        ("host", request.authority),
        ("x-amz-date", &time),
    ];
    if let Some(token) = &credentials.session_token {
        headers.push(("x-amz-security-token", token));
    }
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut canonical = format!("{}\n{}\n\n", request.method, encode_path(request.path));
    for (name, value) in &headers {
        // Writing to a string can't fail.
        let _ = writeln!(canonical, "{name}:{}", value.trim());
    }
    let _ = write!(
        canonical,
        "\n{names}\n{}",
        hex(&Sha256::digest(request.body))
    );
    let place = format!("{date}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{time}\n{place}\n{}",
        hex(&Sha256::digest(canonical))
    );
    let secret = format!("AWS4{}", credentials.secret_access_key);
    let key = [date, scope.region, scope.service, "aws4_request"]
        .into_iter()
        .fold(secret.into_bytes(), |key, part| hmac(&key, part));
    let signature = hex(&hmac(&key, &to_sign));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{place}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key_id
    );
    let mut signed = vec![("x-amz-date", time), ("authorization", authorization)];
    if let Some(token) = &credentials.session_token {
        signed.push(("x-amz-security-token", token.clone()));
    }
    signed
}

/// Encodes every segment once more: `%3A` on the wire is signed as `%253A`.
fn encode_path(path: &str) -> String {
    let segments: Vec<String> = path.split('/').map(encode_in_path).collect();
    segments.join("/")
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC accepts keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Unix seconds, formatted as `20261121T114508Z`.
struct Timestamp(u64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        // Years begin in March, so that a leap day is the last day of a year. There are 719,468
        // days between 1 March 0 and 1 January 1970.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_709_251_199, "20240229T235959Z"),
            (1_735_689_600, "20250101T000000Z"),
            (4_102_444_799, "20991231T235959Z"),
        ] {
            assert_eq!(Timestamp(seconds).to_string(), text);
        }
    }

    /// Computed with botocore's `SigV4Auth` for the same request and time.
    #[test]
    fn a_signature_is_botocores() {
        let request = Request {
            method: "POST",
            authority: "bedrock-runtime.us-east-1.amazonaws.com",
            path: "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse",
            content_type: "application/json",
            body: br#"{"messages":[]}"#,
        };
        let credentials = AwsCredentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: Some("token/with+signs==".to_owned()),
        };
        let scope = Scope {
            region: "us-east-1",
            service: "bedrock",
        };
        let signed = sign(&request, &credentials, scope, 1_763_724_308);
        assert_eq!(signed[0].1, "20251121T112508Z");
        assert_eq!(
            signed[1].1,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20251121/us-east-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=02ebfa073508b9bd3295dc6f7ce55ca92ec70def066ab64aca94e047f4b1267c"
        );
        assert!(!format!("{credentials:?}").contains("wJalr"));
    }
}
