//! The state of a fake Envoy, and its host calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::headers::HeaderList;
use crate::host::{CallId, GrpcCall, Host, MetricId, MetricKind, SharedEntry};
use crate::metric_names;

/// The id of the root context.
pub const ROOT: u32 = 1;

/// 2026-01-02T03:04:05Z, the time at which each fake Envoy starts.
const START: Duration = Duration::from_secs(1_767_323_045);

/// A handle to a fake Envoy, for one of its VMs.
#[derive(Clone)]
pub struct FakeEnvoy {
    vm: Arc<Mutex<State>>,
    shared: Arc<Mutex<Shared>>,
}

/// The parts of an Envoy that all of its VMs use.
struct Shared {
    start: Instant,
    elapsed: Duration,
    /// The last random number.
    random: u128,
    data: BTreeMap<String, SharedEntry>,
    metrics: Vec<(String, i64)>,
}

/// The parts of one stream that Envoy holds.
#[derive(Default)]
pub(super) struct Http {
    pub request_headers: Pairs,
    /// The part of the request's body that has not been forwarded.
    pub request_buffer: Vec<u8>,
    pub request_trailers: Pairs,
    pub is_request_resumed: bool,
    pub response_headers: Pairs,
    /// The part of the response's body that has not been forwarded.
    pub response_buffer: Vec<u8>,
    pub response_trailers: Pairs,
    pub is_response_resumed: bool,
    pub response_details: String,
    /// The headers of the next pass, once a stage has restarted the request.
    pub restart: Option<Pairs>,
    /// The response that a stage has sent, until Envoy has handled it.
    pub own_response: Option<(u16, Pairs, Vec<u8>)>,
    pub log: BTreeMap<String, String>,
}

pub(super) type Pairs = Vec<(String, Vec<u8>)>;

/// A gRPC call that waits for its answer.
#[derive(Debug, Clone)]
pub struct PendingGrpc {
    pub id: CallId,
    /// The context that made the call.
    pub context: u32,
    pub method: String,
    pub message: Vec<u8>,
}

/// An HTTP request of the filter's own that waits for its answer.
#[derive(Debug, Clone)]
pub struct PendingHttp {
    pub id: CallId,
    pub context: u32,
    pub cluster: String,
    pub headers: Vec<(String, String)>,
}

/// The parts of an Envoy that belong to one VM.
#[derive(Default)]
pub(super) struct State {
    memory: usize,
    /// The context that the current callback is for.
    pub context: u32,
    pub streams: BTreeMap<u32, Http>,
    next_call: CallId,
    pub grpc: Vec<PendingGrpc>,
    pub http: Vec<PendingHttp>,
    /// Set if Envoy refuses calls at once.
    refuses_calls: bool,
    /// Set if stages can restart requests.
    can_restart: bool,
    /// The message of the gRPC answer that is being delivered.
    pub message: Vec<u8>,
    /// The HTTP answer that is being delivered.
    pub http_answer: Option<(u16, Vec<u8>)>,
    /// The number of host calls, by name. Calls that cost an Envoy next to nothing aren't counted.
    calls: BTreeMap<&'static str, usize>,
}

impl FakeEnvoy {
    pub fn new() -> Self {
        Self {
            vm: Arc::default(),
            shared: Arc::new(Mutex::new(Shared {
                start: Instant::now(),
                elapsed: Duration::ZERO,
                random: 0,
                data: BTreeMap::new(),
                metrics: Vec::new(),
            })),
        }
    }

    /// Returns a handle for another VM of the same Envoy.
    pub fn another_vm(&self) -> Self {
        Self {
            vm: Arc::default(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Moves the clocks forward.
    pub fn advance(&self, duration: Duration) {
        self.shared(|shared| shared.elapsed += duration);
    }

    /// Sets the bytes of memory in use.
    pub fn set_memory(&self, bytes: usize) {
        self.state(|state| state.memory = bytes);
    }

    /// Makes Envoy refuse calls to other clusters at once, or not.
    pub fn refuse_calls(&self, refuses: bool) {
        self.state(|state| state.refuses_calls = refuses);
    }

    /// Lets stages restart requests.
    pub fn allow_restarts(&self) {
        self.state(|state| state.can_restart = true);
    }

    /// Returns the value of a counter or a gauge, or the sum of a histogram's samples.
    pub fn metric(&self, name: &str) -> i64 {
        self.shared(|shared| {
            let metric = shared.metrics.iter().find(|(own, _)| own == name);
            metric.map_or(0, |(_, value)| *value)
        })
    }

    /// Returns the host calls of this VM since the last time, by name.
    pub fn take_calls(&self) -> Vec<(&'static str, usize)> {
        let calls = self.state(|state| std::mem::take(&mut state.calls));
        calls.into_iter().collect()
    }

    fn note_call(&self, name: &'static str) {
        self.state(|state| *state.calls.entry(name).or_default() += 1);
    }

    pub(super) fn state<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.vm.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn shared<R>(&self, act: impl FnOnce(&mut Shared) -> R) -> R {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn http<R>(&self, act: impl FnOnce(&mut Http) -> R) -> R {
        self.state(|state| act(state.streams.entry(state.context).or_default()))
    }
}

fn pairs(headers: &HeaderList<'_>) -> Pairs {
    let own = |(name, value): (&str, &[u8])| (name.to_owned(), value.to_vec());
    headers.iter().map(own).collect()
}

fn from(bytes: &[u8], start: usize) -> Vec<u8> {
    bytes.get(start..).unwrap_or_default().to_vec()
}

impl Host for FakeEnvoy {
    fn now(&self) -> Instant {
        self.shared(|shared| shared.start + shared.elapsed)
    }

    fn wall_clock(&self) -> SystemTime {
        UNIX_EPOCH + START + self.shared(|shared| shared.elapsed)
    }

    fn random(&self) -> [u8; 16] {
        self.shared(|shared| {
            shared.random += 1;
            shared.random.to_le_bytes()
        })
    }

    fn memory_in_use(&self) -> usize {
        self.state(|state| state.memory)
    }

    fn request_headers(&self) -> HeaderList<'static> {
        self.note_call("request_headers");
        HeaderList::from_pairs(self.http(|http| http.request_headers.clone()))
    }

    fn set_request_headers(&self, headers: &HeaderList<'_>) {
        self.note_call("set_request_headers");
        self.http(|http| http.request_headers = pairs(headers));
    }

    fn set_request_header(&self, name: &str, value: &str) {
        self.note_call("set_request_header");
        self.http(|http| {
            http.request_headers.retain(|(own, _)| own != name);
            http.request_headers
                .push((name.to_owned(), value.as_bytes().to_vec()));
        });
    }

    fn request_body(&self, start: usize) -> Vec<u8> {
        self.note_call("request_body");
        self.http(|http| from(&http.request_buffer, start))
    }

    fn replace_request_body(&self, length: usize, body: &[u8]) {
        self.note_call("replace_request_body");
        self.http(|http| {
            let length = length.min(http.request_buffer.len());
            http.request_buffer.splice(..length, body.iter().copied());
        });
    }

    fn drop_request_trailers(&self) {
        self.http(|http| http.request_trailers.clear());
    }

    fn clear_route_cache(&self) {
        self.note_call("clear_route_cache");
    }

    fn resume_request(&self) {
        self.http(|http| http.is_request_resumed = true);
    }

    fn can_restart(&self) -> bool {
        self.state(|state| state.can_restart)
    }

    fn restart_request(&self, headers: &HeaderList<'_>) {
        assert!(self.can_restart());
        self.http(|http| http.restart = Some(pairs(headers)));
    }

    fn response_headers(&self) -> HeaderList<'static> {
        self.note_call("response_headers");
        HeaderList::from_pairs(self.http(|http| http.response_headers.clone()))
    }

    fn response_status(&self) -> u16 {
        self.note_call("response_status");
        let headers = self.http(|http| HeaderList::from_pairs(http.response_headers.clone()));
        let status = headers.get(":status");
        status.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn set_response_headers(&self, headers: &HeaderList<'_>) {
        self.note_call("set_response_headers");
        self.http(|http| http.response_headers = pairs(headers));
    }

    fn response_body(&self, start: usize) -> Vec<u8> {
        self.note_call("response_body");
        self.http(|http| from(&http.response_buffer, start))
    }

    fn set_response_body(&self, body: &[u8]) {
        self.note_call("set_response_body");
        self.http(|http| http.response_buffer = body.to_vec());
    }

    fn drop_response_trailers(&self) {
        self.http(|http| http.response_trailers.clear());
    }

    fn resume_response(&self) {
        self.http(|http| http.is_response_resumed = true);
    }

    fn response_details(&self) -> String {
        self.note_call("response_details");
        self.http(|http| http.response_details.clone())
    }

    fn send_response(&self, status: u16, headers: &HeaderList<'_>, body: &[u8]) {
        let own = (status, pairs(headers), body.to_vec());
        self.http(|http| http.own_response = Some(own));
    }

    fn keep_for_log(&self, name: &str, value: &str) {
        self.http(|http| http.log.insert(name.to_owned(), value.to_owned()));
    }

    fn enter(&self, context: u32) -> bool {
        self.state(|state| {
            let exists = context == ROOT || state.streams.contains_key(&context);
            if exists {
                state.context = context;
            }
            exists
        })
    }

    fn shared_data(&self, key: &str) -> Option<SharedEntry> {
        self.note_call("shared_data");
        self.shared(|shared| shared.data.get(key).cloned())
    }

    fn set_shared_data(&self, key: &str, bytes: Option<&[u8]>, version: Option<u32>) -> bool {
        self.note_call("set_shared_data");
        self.shared(|shared| {
            let current = shared.data.get(key).map_or(0, |entry| entry.version);
            if version.is_some_and(|version| version != current) {
                return false;
            }
            match bytes {
                Some(bytes) => {
                    let entry = SharedEntry {
                        bytes: bytes.to_vec(),
                        version: current + 1,
                    };
                    shared.data.insert(key.to_owned(), entry);
                }
                None => {
                    shared.data.remove(key);
                }
            }
            true
        })
    }

    fn call_grpc(&self, call: &GrpcCall<'_>) -> Option<CallId> {
        self.note_call("call_grpc");
        self.state(|state| {
            if state.refuses_calls {
                return None;
            }
            let id = state.next_call;
            state.next_call += 1;
            state.grpc.push(PendingGrpc {
                id,
                context: state.context,
                method: call.method.to_owned(),
                message: call.message.to_vec(),
            });
            Some(id)
        })
    }

    fn grpc_message(&self, size: usize) -> Option<Vec<u8>> {
        self.state(|state| state.message.get(..size).map(<[u8]>::to_vec))
    }

    fn call_http(
        &self,
        cluster: &str,
        headers: Vec<(&str, &str)>,
        _timeout: Duration,
    ) -> Option<CallId> {
        self.state(|state| {
            if state.refuses_calls {
                return None;
            }
            let id = state.next_call;
            state.next_call += 1;
            let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            state.http.push(PendingHttp {
                id,
                context: state.context,
                cluster: cluster.to_owned(),
                headers: headers.into_iter().map(own).collect(),
            });
            Some(id)
        })
    }

    fn http_response(&self, _size: usize) -> Option<(u16, Vec<u8>)> {
        self.state(|state| state.http_answer.clone())
    }

    fn define_metric(&self, _kind: MetricKind, name: &str) -> Option<MetricId> {
        // Some hosts have to know the reasons in advance.
        assert!(
            !metric_names::ends_in_a_reason(name) || metric_names::of_all_reasons().contains(name),
            "{name} isn't in the list of all reasons"
        );
        self.shared(|shared| {
            let known = shared.metrics.iter().position(|(own, _)| own == name);
            let index = known.unwrap_or_else(|| {
                shared.metrics.push((name.to_owned(), 0));
                shared.metrics.len() - 1
            });
            MetricId::try_from(index).ok()
        })
    }

    fn increment_metric(&self, metric: MetricId, amount: i64) {
        self.note_call("increment_metric");
        assert_ne!(amount, 0, "an error in Envoy");
        self.shared(|shared| shared.metrics[metric as usize].1 += amount);
    }

    fn record_metric(&self, metric: MetricId, value: u64) {
        self.note_call("record_metric");
        let value = i64::try_from(value).unwrap();
        self.shared(|shared| shared.metrics[metric as usize].1 += value);
    }
}
