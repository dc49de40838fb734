//! The `gateway.access_log` setting.

use std::fmt;
use std::path::PathBuf;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// The destination of Envoy's access log, which has one JSON line per request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AccessLog {
    #[default]
    Off,
    Stdout,
    File(PathBuf),
}

impl<'de> Deserialize<'de> for AccessLog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AccessLogVisitor)
    }
}

struct AccessLogVisitor;

impl Visitor<'_> for AccessLogVisitor {
    type Value = AccessLog;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`off`, `stdout` or the path of a file, which has a / in it")
    }

    /// YAML 1.1 reads `off` as false.
    fn visit_bool<E: Error>(self, value: bool) -> Result<AccessLog, E> {
        match value {
            false => Ok(AccessLog::Off),
            true => Err(E::custom(
                "`gateway.access_log` must be `off`, `stdout` or the path of a file",
            )),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<AccessLog, E> {
        match value {
            "off" => Ok(AccessLog::Off),
            "stdout" => Ok(AccessLog::Stdout),
            // Keeps a typo of `stdout` from becoming a file.
            path if path.contains('/') => Ok(AccessLog::File(path.into())),
            other => Err(E::custom(format!(
                "`gateway.access_log` is `{other}`: write `off`, `stdout` or the path of a file, such as ./{other}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AccessLog, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_off_or_goes_to_the_console_or_a_file() {
        assert_eq!(read("off"), Ok(AccessLog::Off));
        assert_eq!(read("\"off\""), Ok(AccessLog::Off));
        assert_eq!(read("stdout"), Ok(AccessLog::Stdout));
        let file = AccessLog::File("/var/log/calls.json".into());
        assert_eq!(read("/var/log/calls.json"), Ok(file));
        for wrong in ["stdot", "true", "on", "3", "[]"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read("stdot").unwrap_err().contains("./stdot"));
    }
}
