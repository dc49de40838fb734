//! CPU time and CPU affinity of a process.

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Returns the CPU time of all threads of a process, in nanoseconds.
pub fn time(pid: u32) -> Result<u64> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")? {
        let statistics =
            std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let on_cpu = statistics.split_whitespace().next().unwrap_or("0");
        total += on_cpu.parse::<u64>()?;
    }
    Ok(total)
}

/// Pins a process and its future threads to these cores. Process id 0 means the current process.
pub fn pin(pid: u32, cores: impl IntoIterator<Item = usize>) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(core)?;
    }
    sched_setaffinity(Pid::from_raw(i32::try_from(pid)?), &set)?;
    Ok(())
}

/// Returns the name of the processor.
pub fn model() -> Result<String> {
    let all = std::fs::read_to_string("/proc/cpuinfo")?;
    let line = all.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    Ok(name.map_or("unknown", |(_, name)| name.trim()).to_owned())
}

pub fn cores() -> Result<usize> {
    Ok(std::thread::available_parallelism()?.get())
}
