//! Facts about the machine that a run's figures depend on.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::process;

/// Returns the name of the processor.
pub fn processor() -> Result<String> {
    let all = fs::read_to_string("/proc/cpuinfo")?;
    let line = all.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    Ok(name.map_or("unknown", |(_, name)| name.trim()).to_owned())
}

/// Returns the number of cores that this process may use.
pub fn cores() -> Result<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

/// Returns the load averages over 1, 5 and 15 minutes, as text.
pub fn load_average() -> Result<String> {
    Ok(averages(&fs::read_to_string("/proc/loadavg")?))
}

/// Returns the current date and time in UTC.
pub fn date() -> Result<String> {
    let printed = process::output(Command::new("date").args(["-u", "+%F %H:%M UTC"]))?;
    Ok(printed.trim().to_owned())
}

fn averages(loadavg: &str) -> String {
    let numbers: Vec<&str> = loadavg.split_whitespace().take(3).collect();
    numbers.join(", ")
}

#[cfg(test)]
mod tests {
    use super::averages;

    #[test]
    fn the_load_averages_are_the_first_three_numbers() {
        assert_eq!(averages("5.91 4.17 3.29 8/448 11540\n"), "5.91, 4.17, 3.29");
    }
}
