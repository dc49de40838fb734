//! The units of each limit that VMs hold.

use std::collections::HashMap;

use opentracy_proto::v1;

/// The subject and unit of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket {
    pub owner: i32,
    pub name: String,
    pub unit: i32,
}

/// The units of one limit that VMs hold, in one minute or, of concurrent requests, at any time.
#[derive(Default)]
pub struct Account {
    /// Minutes since the Unix epoch; 0 for concurrent requests.
    pub minute: u64,
    pub by_vm: HashMap<String, Units>,
}

#[derive(Default)]
pub struct Units {
    pub held: u64,
    /// The total that the VM has returned since it started.
    pub released: u64,
}

impl Account {
    pub fn held(&self) -> u64 {
        self.by_vm.values().map(|units| units.held).sum()
    }

    pub fn of(&mut self, vm: &str) -> &mut Units {
        self.by_vm.entry(vm.to_owned()).or_default()
    }

    /// Begins another minute, for which nothing has been granted yet.
    pub fn turn(&mut self, minute: u64) {
        if self.minute != minute {
            self.minute = minute;
            for units in self.by_vm.values_mut() {
                units.held = 0;
            }
        }
    }
}

impl From<v1::Bucket> for Bucket {
    fn from(bucket: v1::Bucket) -> Self {
        Self {
            owner: bucket.owner,
            name: bucket.name,
            unit: bucket.unit,
        }
    }
}
