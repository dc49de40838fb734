//! Checks requests by their headers alone, on the gateway's listener and on the control plane's.
//!
//! [`RequestOrigin::check_form`] applies to every request: credentials and host must be
//! unambiguous. [`RequestOrigin::check_same_site`] applies if no key is required: a browser could
//! then be made to call by a page of another site (CSRF), or by a foreign name that resolves to our
//! address (DNS rebinding).
//!
//! ```
//! use opentracy_translate::request_origin::RequestOrigin;
//!
//! let headers = [("host", "localhost:8080"), ("origin", "https://evil.example")];
//! let headers = headers.map(|(name, value)| (name, value.as_bytes()));
//! let origin = RequestOrigin::from_headers(headers);
//! assert!(origin.check_form().is_ok());
//! let own_hosts = ["llm.example.com"];
//! assert_eq!(origin.check_same_site(&own_hosts).unwrap_err().status, 403);
//! ```

use std::net::IpAddr;

use crate::error::ApiError;

/// Error code for a header that must occur once and occurs twice.
const AMBIGUOUS: &str = "ambiguous_header";
const INVALID_HOST: &str = "invalid_host";
const CROSS_SITE: &str = "cross_site_request";
/// The codes of all errors here, for counters.
pub const CODES: [&str; 3] = [AMBIGUOUS, INVALID_HOST, CROSS_SITE];

/// The headers that identify a request's origin and destination.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestOrigin<'a> {
    authority: Occurrences<'a>,
    host: Occurrences<'a>,
    authorization: Occurrences<'a>,
    api_key: Occurrences<'a>,
    origin: Occurrences<'a>,
    fetch_site: Occurrences<'a>,
}

/// First value of a header, and its number of occurrences.
#[derive(Debug, Clone, Copy, Default)]
struct Occurrences<'a> {
    first: Option<&'a [u8]>,
    count: usize,
}

impl<'a> Occurrences<'a> {
    fn add(&mut self, value: &'a [u8]) {
        self.first.get_or_insert(value);
        self.count += 1;
    }

    /// Returns the value as text; a value that isn't valid text matches nothing.
    fn text(&self) -> Option<&'a str> {
        self.first
            .map(|value| std::str::from_utf8(value).unwrap_or("\u{fffd}"))
    }
}

impl<'a> RequestOrigin<'a> {
    /// Reads a request's headers. Names are lowercase; `:authority` is HTTP/2's, and Envoy's name
    /// for `Host`.
    pub fn from_headers(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            match name {
                ":authority" => found.authority.add(value),
                "host" => found.host.add(value),
                "authorization" => found.authorization.add(value),
                "x-api-key" => found.api_key.add(value),
                "origin" => found.origin.add(value),
                "sec-fetch-site" => found.fetch_site.add(value),
                _ => {}
            }
        }
        found
    }

    /// Sets the authority of an absolute-form target (`GET http://host/path`), which takes
    /// precedence over `Host`.
    pub fn with_authority(mut self, authority: Option<&'a str>) -> Self {
        if let Some(authority) = authority {
            self.authority = Occurrences::default();
            self.authority.add(authority.as_bytes());
        }
        self
    }

    fn host(&self) -> &'a str {
        self.authority.text().or(self.host.text()).unwrap_or("")
    }

    /// Returns a 400 for a request with two credentials of the same kind, or without exactly one
    /// well-formed host.
    pub fn check_form(&self) -> Result<(), ApiError> {
        for (name, occurrences) in [
            ("Authorization", &self.authorization),
            ("x-api-key", &self.api_key),
            ("Host", &self.host),
            (":authority", &self.authority),
        ] {
            if occurrences.count > 1 {
                let message = format!(
                    "The header {name} was sent {} times; send it once",
                    occurrences.count
                );
                return Err(ApiError::new(400, message).with_code(AMBIGUOUS));
            }
        }
        // Envoy joins repeated headers with commas, and no accepted scheme contains one.
        if self
            .authorization
            .first
            .is_some_and(|value| value.contains(&b','))
        {
            let message = "The header Authorization holds more than one credential; send one";
            return Err(ApiError::new(400, message).with_code(AMBIGUOUS));
        }
        let host = self.host();
        if split_host(host).is_none() {
            let message = match host {
                "" => {
                    "The header Host is missing or empty; send the name or address of the gateway"
                        .to_owned()
                }
                host => format!(
                    "\"{host}\" is not a valid host; send a name or an address, with an optional port"
                ),
            };
            return Err(ApiError::new(400, message).with_code(INVALID_HOST));
        }
        Ok(())
    }

    /// Returns a 403 for a request that a page of another site may have made a browser send.
    /// `own_hosts` are the gateway's names in addition to IP addresses and `localhost`.
    pub fn check_same_site(&self, own_hosts: &[impl AsRef<str>]) -> Result<(), ApiError> {
        let refuse = |message: String| Err(ApiError::new(403, message).with_code(CROSS_SITE));
        let host = self.host();
        let name = split_host(host).unwrap_or(host);
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let is_ours = name.eq_ignore_ascii_case("localhost")
            || address.parse::<IpAddr>().is_ok()
            || own_hosts
                .iter()
                .any(|own| own.as_ref().eq_ignore_ascii_case(name));
        if !is_ours {
            return refuse(format!(
                "\"{name}\" is not a name of this gateway; add it to `access.hosts`, or create an API key"
            ));
        }
        let is_foreign = match (self.fetch_site.text(), self.origin.text()) {
            (Some(site), _) => self.fetch_site.count > 1 || !matches!(site, "same-origin" | "none"),
            (None, Some(origin)) => {
                self.origin.count > 1
                    || origin
                        .split_once("://")
                        .is_none_or(|(_, of)| !of.eq_ignore_ascii_case(host))
            }
            (None, None) => false,
        };
        if is_foreign {
            return refuse(
                "A page of another site may not call this gateway without an API key".to_owned(),
            );
        }
        Ok(())
    }
}

/// Returns the host of `name`, `name:port`, `1.2.3.4:port` or `[::1]:port`; `None` if it is
/// malformed.
fn split_host(host: &str) -> Option<&str> {
    let is_port = |port: &str| {
        !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
    };
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (host.get(..address.len() + 2)?, port.strip_prefix(':'))
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let has_end = host.len() == name.len() + port.map_or(0, |port| port.len() + 1);
    let is_sound = (name.starts_with('[') || is_name(name)) && port.is_none_or(is_port) && has_end;
    is_sound.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin<'a>(headers: &'a [(&'a str, &'a str)]) -> RequestOrigin<'a> {
        let pairs = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()));
        RequestOrigin::from_headers(pairs)
    }

    fn form(headers: &[(&str, &str)]) -> Result<(), String> {
        let checked = origin(headers).check_form();
        checked.map_err(|error| error.code.unwrap_or_default().into_owned())
    }

    #[test]
    fn credentials_and_hosts_are_sent_once() {
        assert_eq!(form(&[("host", "x")]), Ok(()));
        assert_eq!(
            form(&[
                (":authority", "x"),
                ("authorization", "a"),
                ("x-api-key", "b")
            ]),
            Ok(())
        );
        for name in ["authorization", "x-api-key", "host"] {
            let twice = [("host", "x"), (name, "x"), (name, "x")];
            assert_eq!(form(&twice), Err(AMBIGUOUS.to_owned()), "{name}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_a_port() {
        for good in [
            "localhost",
            "a.example:8080",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8000",
            "my_host",
        ] {
            assert_eq!(form(&[("host", good)]), Ok(()), "{good}");
        }
        for bad in [
            "",
            " ",
            ":80",
            "a:",
            "a:b",
            "a:123456",
            "a b",
            "user@localhost",
            "localhost/x",
            "a,b",
            "[::1",
            "[::1]x",
            "[x]",
            "::1",
            "localhost#",
            "é",
        ] {
            assert_eq!(
                form(&[("host", bad)]),
                Err(INVALID_HOST.to_owned()),
                "{bad:?}"
            );
        }
        assert_eq!(form(&[]), Err(INVALID_HOST.to_owned()));
    }

    #[test]
    fn without_keys_only_our_own_pages_call() {
        let own = ["llm.example.com"];
        for (headers, is_allowed) in [
            (&[("host", "localhost:8000")][..], true),
            (&[("host", "192.168.1.7:8000")], true),
            (&[("host", "[::1]:8000")], true),
            (&[("host", "LLM.example.com")], true),
            (&[("host", "evil.example")], false),
            (&[("host", "localhost.evil.example")], false),
            (
                &[(":authority", "evil.example"), ("host", "localhost")],
                false,
            ),
            (
                &[("host", "localhost"), ("origin", "http://localhost")],
                true,
            ),
            (
                &[
                    ("host", "localhost:8000"),
                    ("origin", "http://localhost:3000"),
                ],
                false,
            ),
            (&[("host", "localhost"), ("origin", "null")], false),
            (
                &[
                    ("host", "localhost"),
                    ("origin", "http://localhost"),
                    ("origin", "null"),
                ],
                false,
            ),
            (
                &[("host", "localhost"), ("sec-fetch-site", "same-origin")],
                true,
            ),
            (&[("host", "localhost"), ("sec-fetch-site", "none")], true),
            (
                &[("host", "localhost"), ("sec-fetch-site", "same-site")],
                false,
            ),
            (
                &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
                false,
            ),
        ] {
            let checked = origin(headers).check_same_site(&own);
            assert_eq!(checked.is_ok(), is_allowed, "{headers:?}");
        }
        let absolute = origin(&[("host", "localhost")]).with_authority(Some("evil.example"));
        assert!(absolute.check_same_site(&own).is_err());
        let bytes =
            RequestOrigin::from_headers([("host", &b"localhost"[..]), ("sec-fetch-site", &[0xff])]);
        assert!(
            bytes.check_same_site(&own).is_err(),
            "a value that is not text is not trusted"
        );
    }
}
