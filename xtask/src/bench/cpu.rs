//! CPU time and CPU affinity of processes.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// The CPU times of all threads of some processes at one moment, in nanoseconds.
#[derive(Debug, Default)]
pub struct ThreadTimes(HashMap<u32, u64>);

impl ThreadTimes {
    /// Reads `/proc/PID/task/TID/schedstat` of every thread.
    pub fn read(pids: &[u32]) -> Result<Self> {
        let mut times = HashMap::new();
        for pid in pids {
            for thread in threads(*pid)? {
                let file = format!("/proc/{pid}/task/{thread}/schedstat");
                // A thread that ended since the listing has no file.
                if let Some(time) = fs::read_to_string(file).ok().as_deref().and_then(on_cpu) {
                    times.insert(thread, time);
                }
            }
        }
        Ok(Self(times))
    }

    /// Returns the CPU time since an earlier moment, in nanoseconds. The last moments of threads
    /// that have ended are missing.
    pub fn since(&self, earlier: &Self) -> u64 {
        let time = |(thread, now): (&u32, &u64)| {
            now.saturating_sub(earlier.0.get(thread).copied().unwrap_or(0))
        };
        self.0.iter().map(time).sum()
    }
}

/// Returns the first number of a `schedstat` file: the time on a CPU, in nanoseconds.
fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

fn threads(pid: u32) -> Result<Vec<u32>> {
    let folder = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(folder).with_context(|| format!("process {pid} has ended"))?;
    let names = tasks.map(|task| Ok(task?.file_name().to_string_lossy().parse()?));
    names.collect()
}

/// Pins all threads of a process, and those that they start, to these cores.
pub fn pin_process(pid: u32, cores: &[usize]) -> Result<()> {
    for thread in threads(pid)? {
        pin(thread, cores)?;
    }
    Ok(())
}

/// Pins a thread, and those that it starts, to these cores. Id 0 is the calling thread.
pub fn pin(thread: u32, cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    sched_setaffinity(Pid::from_raw(i32::try_from(thread)?), &set)
        .with_context(|| format!("thread {thread} can't be pinned to the cores {cores:?}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::{Duration, Instant};

    use super::{ThreadTimes, on_cpu};

    fn times(threads: &[(u32, u64)]) -> ThreadTimes {
        ThreadTimes(threads.iter().copied().collect::<HashMap<_, _>>())
    }

    #[test]
    fn schedstat_begins_with_the_time_on_a_cpu() {
        assert_eq!(on_cpu("63189046250 1295384 4711\n"), Some(63_189_046_250));
        assert_eq!(on_cpu(""), None);
        assert_eq!(on_cpu("x 1 2"), None);
    }

    #[test]
    fn time_passes_in_threads_that_continue_and_in_new_ones() {
        let earlier = times(&[(1, 100), (2, 5_000)]);
        // Thread 2 has ended, thread 3 is new.
        let now = times(&[(1, 170), (3, 30)]);
        assert_eq!(now.since(&earlier), 100);
        assert_eq!(now.since(&now), 0);
    }

    #[test]
    fn work_in_another_thread_of_a_process_is_counted() {
        let own = [std::process::id()];
        let before = ThreadTimes::read(&own).unwrap();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let (ready, worked) = std::sync::mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(50) {
                std::hint::spin_loop();
            }
            ready.send(()).unwrap();
            // The thread must exist while its time is read.
            let _ = wait.recv();
        });
        worked.recv().unwrap();
        let spent = ThreadTimes::read(&own).unwrap().since(&before);
        drop(done);
        worker.join().unwrap();
        assert!(spent > 1_000_000, "{spent} ns");
    }

    #[test]
    fn a_process_that_has_ended_is_an_error() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(ThreadTimes::read(&[child.id()]).is_err());
    }
}
