//! Options of `cargo xtask bench gateway`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::bench::peer::Peer;
use crate::filter::FilterBuild;

/// Compares the gateway with an Envoy that only proxies, in one run.
///
/// Prints a table for each kind of load: one row for each case, one column for each proxy. A figure
/// is the CPU time of a request as a multiple of a plain Envoy's: median (smallest-largest) of the
/// rounds. 1.4 means that the gateway costs 40 % of an Envoy on top. CPU time includes the delivery
/// of traces. Compare ratios of one run only: times depend on the machine.
///
/// In each round, each kind of load is measured in a separate block: a plain Envoy first and last,
/// everything else in random order between them. A block whose plain Envoys differ, or differ from
/// the earlier rounds, is repeated. If that doesn't help it counts, and the table says so.
///
/// A short run: `--rounds 3 --seconds 1 --body-kb 1 --connections 32 --columns wasm`
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct BenchOptions {
    /// Duration of each measurement, in seconds.
    #[arg(long, default_value = "1.5", value_parser = seconds)]
    pub seconds: f64,
    /// Number of rounds, after a short one to warm up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// Numbers of concurrent requests, with commas. The first one is combined with every size, the
    /// others with the first size.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "32,400",
        value_parser = clap::value_parser!(u16).range(1..),
    )]
    pub connections: Vec<u16>,
    /// Sizes of the requests in KB, with commas. Streams are measured with the first one.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,20,200",
        value_parser = clap::value_parser!(u16).range(1..=20_000),
    )]
    pub body_kb: Vec<u16>,
    /// Run only the case with this name, or those whose names contain this text; may be repeated.
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// Run the cases of every provider and API, not only those that have a goal.
    #[arg(long, conflicts_with = "only")]
    pub every_case: bool,
    /// Builds of this workspace that are compared with the plain Envoy, with commas.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "no-filter,wasm,native"
    )]
    pub columns: Vec<OwnColumn>,
    /// Another build of the filter, as `NAME=FILE`: native if the file ends in `.so`, otherwise
    /// wasm; may be repeated.
    #[arg(long = "filter", value_name = "NAME=FILE", value_parser = filter_file)]
    pub filters: Vec<FilterFile>,
    /// A build of the control plane to use, instead of building this workspace's.
    #[arg(long, value_name = "FILE", value_parser = existing_file)]
    pub control_plane: Option<PathBuf>,
    /// Another gateway that runs on this machine already, as `NAME=URL` or `NAME=URL@PID`; may be
    /// repeated.
    ///
    /// Its upstream must be this benchmark's: see `--upstream-port`. Its CPU time is that of all
    /// processes that hold the socket that listens on the URL's port, found in /proc/net/tcp and
    /// /proc/PID/fd. With `@PID` it is that of this process and its descendants. They are pinned to
    /// the core of the Envoys.
    #[arg(long = "peer", value_name = "NAME=URL[@PID]")]
    pub peers: Vec<Peer>,
    /// A case that the peers take part in, and the model that they know it by, as `CASE=MODEL`; may
    /// be repeated. Without it they get the cases that pass a request through, with the model
    /// `gpt-4o-mini`.
    #[arg(long = "peer-model", value_name = "CASE=MODEL", value_parser = peer_model)]
    pub peer_models: Vec<PeerModel>,
    /// The port of the providers; by default any free one.
    #[arg(long, default_value_t = 0)]
    pub upstream_port: u16,
    /// The deviation of the plain Envoy, in percent, beyond which a block is repeated.
    #[arg(long, value_name = "PERCENT", default_value_t = 15)]
    pub tolerance: u16,
    /// The most repetitions of a block.
    #[arg(long, default_value_t = 2)]
    pub repeats: u16,
    /// Streams per round that time the first chunk, one at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 60)]
    pub first_chunks: u16,
    /// Measure the memory of each column instead, idle and after calls, with 1 and 4 workers.
    #[arg(long)]
    pub memory: bool,
    /// The number of calls between the two figures of `--memory`.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    pub memory_calls: usize,
}

/// A column that is built from this workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OwnColumn {
    /// The gateway's configuration of Envoy, without the filter.
    NoFilter,
    /// The gateway with the wasm filter.
    Wasm,
    /// The gateway with the native module.
    Native,
}

/// A build of the filter, and the name of its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterFile {
    pub name: String,
    pub file: PathBuf,
    pub kind: FilterBuild,
}

/// A case that peers take part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerModel {
    pub scenario: &'static str,
    pub model: String,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be a number from 0.05 to 600".to_owned()),
    }
}

/// Returns the absolute path of a file.
fn existing_file(text: &str) -> Result<PathBuf, String> {
    let file = std::path::absolute(text).map_err(|error| error.to_string())?;
    match file.is_file() {
        true => Ok(file),
        false => Err(format!("`{}` is not a file", file.display())),
    }
}

fn filter_file(text: &str) -> Result<FilterFile, String> {
    let (name, file) = text.split_once('=').ok_or("must be `NAME=FILE`")?;
    let file = existing_file(file)?;
    let is_native = file.extension().is_some_and(|extension| extension == "so");
    Ok(FilterFile {
        name: name.to_owned(),
        file,
        kind: match is_native {
            true => FilterBuild::Native,
            false => FilterBuild::Wasm,
        },
    })
}

fn peer_model(text: &str) -> Result<PeerModel, String> {
    let (name, model) = text.split_once('=').ok_or("must be `CASE=MODEL`")?;
    match crate::bench::scenarios::choose(&[name.to_owned()], false)?[..] {
        [scenario] => Ok(PeerModel {
            scenario: scenario.name,
            model: model.to_owned(),
        }),
        _ => Err(format!("`{name}` is in the names of several cases")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{BenchOptions, FilterBuild, OwnColumn};

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        options: BenchOptions,
    }

    fn parse(arguments: &[&str]) -> Result<BenchOptions, String> {
        CommandLine::try_parse_from([&["bench"], arguments].concat())
            .map(|line| line.options)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn without_arguments_every_load_and_column_is_measured() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.body_kb, [1, 20, 200]);
        assert_eq!(options.connections, [32, 400]);
        let all = [OwnColumn::NoFilter, OwnColumn::Wasm, OwnColumn::Native];
        assert_eq!(options.columns, all);
    }

    #[test]
    fn lists_have_commas_and_names_may_be_repeated() {
        let line = "--body-kb 1,200 --connections 8 --columns wasm --only SSE --only limits";
        let options = parse(&line.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!(options.body_kb, [1, 200]);
        assert_eq!(options.connections, [8]);
        assert_eq!(options.columns, [OwnColumn::Wasm]);
        assert_eq!(options.only, ["SSE", "limits"]);
    }

    #[test]
    fn a_build_of_the_filter_is_native_by_its_extension() {
        let folder = std::env::temp_dir().join(format!("bench-options-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, kind) in [("a.so", FilterBuild::Native), ("a.wasm", FilterBuild::Wasm)] {
            let file = folder.join(name);
            std::fs::write(&file, "").unwrap();
            let options = parse(&["--filter", &format!("old={}", file.display())]).unwrap();
            assert_eq!(options.filters[0].kind, kind);
            assert_eq!(options.filters[0].name, "old");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_can_not_be_measured_is_refused() {
        for line in [
            "--seconds 0",
            "--seconds NaN",
            "--rounds 0",
            "--connections 0",
            "--body-kb 0",
            "--columns envoy",
            "--filter nothing",
            "--filter old=/no/such/file.wasm",
            "--control-plane /no/such/file",
            "--peer gateway",
            "--peer-model Mistral=m",
            "--peer-model SSE=m",
            "--every-case --only SSE",
        ] {
            let arguments: Vec<&str> = line.split(' ').collect();
            assert!(parse(&arguments).is_err(), "{line}");
        }
    }

    #[test]
    fn a_peer_takes_part_in_a_case_by_its_own_model() {
        let options = parse(&["--peer-model", "OpenAI to Anthropic=claude=1"]).unwrap();
        assert_eq!(options.peer_models[0].scenario, "OpenAI to Anthropic");
        assert_eq!(options.peer_models[0].model, "claude=1");
    }
}
