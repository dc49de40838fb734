//! The measurements of a run: which cases go through which proxies, under which loads.

use opentracy_translate::client::Api;

use crate::bench::load::RequestLoad;
use crate::bench::options::{BenchOptions, PeerModel};
use crate::bench::proxy::{MeasuredProxy, ProxyKind};
use crate::bench::scenarios::{self, Scenario};
use crate::bench::upstream::{self, PLAIN_MODEL};

/// A kind of load. Measurements with the same one are compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadShape {
    pub stream: bool,
    pub body_kb: u16,
    pub connections: u16,
}

/// A case through a proxy.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The index of the proxy.
    pub proxy: usize,
    /// `None` for the plain Envoy, which knows no cases.
    pub scenario: Option<&'static Scenario>,
    /// The model in the request.
    pub model: String,
}

/// The measurements of a load that are repeated in each round.
#[derive(Debug)]
pub struct Comparison {
    pub shape: LoadShape,
    pub baseline: Trial,
    pub trials: Vec<Trial>,
}

impl LoadShape {
    /// Returns the loads that the options ask for: the first number of connections with every
    /// size, the others with the first size, and streams with the first size only.
    pub fn all(sizes: &[u16], connections: &[u16]) -> Vec<Self> {
        let mut shapes = Vec::new();
        for stream in [false, true] {
            for (size_number, body_kb) in sizes.iter().enumerate() {
                for (number, connections) in connections.iter().enumerate() {
                    if size_number == 0 || (number == 0 && !stream) {
                        let shape = Self {
                            stream,
                            body_kb: *body_kb,
                            connections: *connections,
                        };
                        if !shapes.contains(&shape) {
                            shapes.push(shape);
                        }
                    }
                }
            }
        }
        shapes
    }

    /// Returns a heading for its figures.
    pub fn title(self) -> String {
        let kind = if self.stream { "Streams" } else { "Answers" };
        let Self {
            body_kb,
            connections,
            ..
        } = self;
        format!("{kind}, requests of {body_kb} KB, {connections} connections")
    }
}

impl Trial {
    /// Returns the load that makes the measurement.
    pub fn load(&self, proxy: &MeasuredProxy, shape: LoadShape) -> RequestLoad {
        let api = self
            .scenario
            .map_or(Api::CHAT_COMPLETIONS, |scenario| scenario.api);
        let body = upstream::request(api, &self.model, shape.stream, shape.body_kb.into());
        let path = format!("{}{}", proxy.path_prefix, api.path());
        RequestLoad {
            address: proxy.address,
            request: upstream::with_head(&path, &proxy.headers, &body),
            connections: shape.connections,
        }
    }
}

/// Returns the comparisons of a run. The first proxy is the plain Envoy.
pub fn comparisons(
    options: &BenchOptions,
    proxies: &[MeasuredProxy],
) -> Result<Vec<Comparison>, String> {
    let scenarios = scenarios::choose(&options.only, options.every_case)?;
    let comparisons = LoadShape::all(&options.body_kb, &options.connections)
        .into_iter()
        .map(|shape| Comparison {
            shape,
            baseline: Trial {
                proxy: 0,
                scenario: None,
                model: PLAIN_MODEL.to_owned(),
            },
            trials: trials(&scenarios, shape, proxies, &options.peer_models),
        });
    Ok(comparisons
        .filter(|comparison| !comparison.trials.is_empty())
        .collect())
}

fn trials(
    scenarios: &[&'static Scenario],
    shape: LoadShape,
    proxies: &[MeasuredProxy],
    peer_models: &[PeerModel],
) -> Vec<Trial> {
    let mut trials = Vec::new();
    for scenario in scenarios.iter().filter(|one| one.stream == shape.stream) {
        for (proxy, measured) in proxies.iter().enumerate().skip(1) {
            if let Some(model) = model(measured.kind, scenario, peer_models) {
                trials.push(Trial {
                    proxy,
                    scenario: Some(scenario),
                    model,
                });
            }
        }
    }
    trials
}

/// Returns the model that a proxy knows a case by; `None` if it doesn't take part in the case.
fn model(kind: ProxyKind, scenario: &Scenario, peer_models: &[PeerModel]) -> Option<String> {
    let is_passthrough = scenario.is_passthrough();
    match kind {
        ProxyKind::Plain => None,
        ProxyKind::NoFilter => is_passthrough.then(|| PLAIN_MODEL.to_owned()),
        ProxyKind::Gateway => Some(scenario.model.to_owned()),
        ProxyKind::Peer => match peer_models {
            [] => is_passthrough.then(|| PLAIN_MODEL.to_owned()),
            models => models
                .iter()
                .find(|one| one.scenario == scenario.name)
                .map(|one| one.model.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{LoadShape, ProxyKind, model};
    use crate::bench::options::PeerModel;
    use crate::bench::scenarios::SCENARIOS;

    #[test]
    fn sizes_and_connections_vary_separately() {
        let shapes: Vec<_> = LoadShape::all(&[1, 20, 200], &[32, 400])
            .into_iter()
            .map(|shape| (shape.stream, shape.body_kb, shape.connections))
            .collect();
        let answers = [
            (false, 1, 32),
            (false, 1, 400),
            (false, 20, 32),
            (false, 200, 32),
        ];
        let streams = [(true, 1, 32), (true, 1, 400)];
        assert_eq!(shapes, [&answers[..], &streams[..]].concat());
    }

    #[test]
    fn a_value_that_is_given_twice_counts_once() {
        assert_eq!(LoadShape::all(&[1, 1], &[32, 32]).len(), 2);
    }

    #[test]
    fn a_gateway_takes_part_in_every_case_and_other_proxies_in_what_they_know() {
        let cases = |kind, models: &[PeerModel]| {
            let known = |scenario: &&_| model(kind, scenario, models).is_some();
            let known = SCENARIOS.iter().filter(known);
            known.map(|scenario| scenario.name).collect::<Vec<_>>()
        };
        let passthrough = ["OpenAI, passed through", "OpenAI, SSE"];
        assert_eq!(cases(ProxyKind::Gateway, &[]).len(), SCENARIOS.len());
        assert_eq!(cases(ProxyKind::NoFilter, &[]), passthrough);
        assert_eq!(cases(ProxyKind::Peer, &[]), passthrough);
        let claude = PeerModel {
            scenario: "OpenAI to Anthropic",
            model: "claude".to_owned(),
        };
        assert_eq!(cases(ProxyKind::Peer, &[claude]), ["OpenAI to Anthropic"]);
        assert!(cases(ProxyKind::Plain, &[]).is_empty());
    }
}
