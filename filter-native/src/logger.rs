//! The log, which Envoy writes. A program that isn't Envoy gets it on its standard error.

#![allow(unsafe_code)]

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::abi;
use crate::buffers::to_envoy;

struct Logger;

static LOGGER: Logger = Logger;

/// Sends this module's log to Envoy's.
pub fn start() {
    // An error means that it has been started before.
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries report connections here that come and go.
        metadata.target().starts_with("opentracy") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => abi::ERROR,
            Level::Warn => abi::WARN,
            Level::Info => abi::INFO,
            Level::Debug | Level::Trace => abi::DEBUG,
        };
        let line = record.args().to_string();
        if !abi::has_log() {
            eprintln!("opentracy: {line}");
            return;
        }
        // SAFETY: Envoy takes lines from any thread, and copies them.
        unsafe { abi::envoy_dynamic_module_callback_log(level, to_envoy(line.as_bytes())) }
    }

    fn flush(&self) {}
}
