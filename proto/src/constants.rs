//! Values that the filter and the control plane must agree on.

use std::time::Duration;

/// The most attempts of one call. A longer plan is cut, and `opentracy check` refuses it.
pub const MAX_ATTEMPTS: usize = 16;

/// The interval at which a VM polls the configuration.
pub const POLL_EVERY: Duration = Duration::from_secs(1);

/// The divisor of a limit: all VMs together may hold one part in this many without using it.
pub const LEASE_DIVISOR: u64 = 50;

/// The provider through which the filter reaches agents.
pub const AGENTS_PROVIDER: &str = "agents";
