//! A VM of a fake Envoy, with its control plane.

use std::time::Duration;

use opentracy_proto::v1;
use prost::Message as _;

use crate::fake_envoy::exchange::Exchange;
use crate::fake_envoy::host::{FakeEnvoy, PendingGrpc, PendingHttp, ROOT};
use crate::host::Host as _;
use crate::root::{Root, TICK};

/// The plugin configuration of each stage.
pub const GATEWAY: &str = r#"{"stage":"gateway","grpc_token":"secret"}"#;
pub const PROVIDER: &str = r#"{"stage":"provider","grpc_token":"secret"}"#;

/// The VM of one stage. Its state is thread-local, so a test that needs a fresh VM needs a thread.
pub struct Vm {
    pub envoy: FakeEnvoy,
    root: Root<FakeEnvoy>,
    next_context: u32,
}

impl Vm {
    /// Starts a gateway stage without a configuration.
    pub fn gateway() -> Self {
        Self::start(FakeEnvoy::new(), GATEWAY)
    }

    /// Starts a gateway stage that has this configuration.
    pub fn gateway_with(snapshot: v1::Snapshot) -> Self {
        let mut vm = Self::gateway();
        vm.configure(snapshot);
        vm
    }

    /// Starts a gateway stage that has this configuration, behind a `jwt_authn` filter that leaves
    /// the payload of a token in this header.
    pub fn gateway_with_tokens(snapshot: v1::Snapshot, header: &str) -> Self {
        let plugin = format!(r#"{{"stage":"gateway","jwt_header":"{header}"}}"#);
        let mut vm = Self::start(FakeEnvoy::new(), &plugin);
        vm.configure(snapshot);
        vm
    }

    /// Starts a provider stage that has this configuration.
    pub fn provider_with(snapshot: v1::Snapshot) -> Self {
        let mut vm = Self::start(FakeEnvoy::new(), PROVIDER);
        vm.configure(snapshot);
        vm
    }

    /// Starts a stage with this plugin configuration.
    pub(super) fn start(envoy: FakeEnvoy, plugin: &str) -> Self {
        let mut root = Root::new(envoy.clone(), ROOT);
        envoy.enter(ROOT);
        assert!(root.on_configure(plugin.as_bytes()));
        Self {
            envoy,
            root,
            next_context: ROOT,
        }
    }

    /// Hands out a configuration as the control plane does.
    pub fn configure(&mut self, snapshot: v1::Snapshot) {
        self.tick(Duration::from_secs(1));
        let version = format!("{:x}", snapshot.encoded_len());
        let response = v1::GetSnapshotResponse {
            version,
            snapshot: Some(snapshot),
            vms: 1,
            status: Some(v1::ControlPlaneStatus::default()),
            ..v1::GetSnapshotResponse::default()
        };
        self.answer("GetSnapshot", &response);
    }

    /// Lets time pass, tick by tick.
    pub fn tick(&mut self, duration: Duration) {
        let end = self.envoy.now() + duration;
        while self.envoy.now() < end {
            let step = TICK.min(end - self.envoy.now());
            self.envoy.advance(step);
            self.envoy.enter(ROOT);
            self.root.on_tick();
        }
    }

    /// Sends a request with a whole body.
    pub fn request(&mut self, headers: &[(&str, &str)], body: &[u8]) -> Exchange {
        let mut exchange = self.open(headers, body.is_empty());
        if !body.is_empty() {
            exchange.send(body, true);
        }
        exchange
    }

    /// Sends a JSON body to a path.
    pub fn post(&mut self, path: &str, body: &serde_json::Value) -> Exchange {
        let headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "localhost:8080"),
            (":path", path),
            ("content-type", "application/json"),
        ];
        self.request(&headers, body.to_string().as_bytes())
    }

    /// Sends the headers of a request.
    pub fn open(&mut self, headers: &[(&str, &str)], end_of_stream: bool) -> Exchange {
        self.next_context += 1;
        let id = self.next_context;
        let stream = self.root.open_stream(id).expect("a configured stage");
        Exchange::open(self.envoy.clone(), id, stream, headers, end_of_stream)
    }

    /// Returns the gRPC calls of a method that wait for an answer.
    pub fn pending(&self, method: &str) -> Vec<PendingGrpc> {
        let grpc = self.envoy.state(|state| state.grpc.clone());
        grpc.into_iter()
            .filter(|call| call.method == method)
            .collect()
    }

    /// Returns the HTTP requests of the filter's own that wait for an answer.
    pub fn pending_http(&self) -> Vec<PendingHttp> {
        self.envoy.state(|state| state.http.clone())
    }

    /// Decodes the request of the oldest waiting gRPC call of a method.
    pub fn asked<M: prost::Message + Default>(&self, method: &str) -> M {
        let calls = self.pending(method);
        let call = calls.first().expect("a waiting call");
        M::decode(call.message.as_slice()).expect("a message")
    }

    /// Answers the oldest waiting gRPC call of the root context.
    pub fn answer(&mut self, method: &str, response: &impl prost::Message) {
        let call = self.take(method, ROOT);
        self.deliver(&call, 0, response.encode_to_vec(), None);
    }

    /// Fails the oldest waiting gRPC call of the root context.
    pub fn fail(&mut self, method: &str, status: u32) {
        let call = self.take(method, ROOT);
        self.deliver(&call, status, Vec::new(), None);
    }

    /// Answers the oldest waiting gRPC call of an exchange.
    pub fn answer_for(
        &mut self,
        exchange: &mut Exchange,
        method: &str,
        response: &impl prost::Message,
    ) {
        let call = self.take(method, exchange.id());
        self.deliver(&call, 0, response.encode_to_vec(), Some(exchange));
    }

    /// Fails the oldest waiting gRPC call of an exchange.
    pub fn fail_for(&mut self, exchange: &mut Exchange, method: &str, status: u32) {
        let call = self.take(method, exchange.id());
        self.deliver(&call, status, Vec::new(), Some(exchange));
    }

    /// Answers the oldest waiting HTTP request of an exchange.
    pub fn answer_http(&mut self, exchange: &mut Exchange, answer: Option<(u16, &[u8])>) {
        let call = self.envoy.state(|state| {
            state.http_answer = answer.map(|(status, body)| (status, body.to_vec()));
            state.http.remove(0)
        });
        assert_eq!(call.context, exchange.id());
        let size = answer.map_or(0, |(_, body)| body.len());
        exchange.run(|stage, host| stage.on_http_answer(host, call.id, size));
    }

    /// Returns the records that were delivered to the control plane, and acknowledges them.
    pub fn records(&mut self) -> v1::IngestRequest {
        self.tick(TICK);
        let mut all = v1::IngestRequest::default();
        while !self.pending("Ingest").is_empty() {
            let batch: v1::IngestRequest = self.asked("Ingest");
            all.traces.extend(batch.traces);
            all.attempts.extend(batch.attempts);
            self.answer("Ingest", &v1::IngestResponse::default());
        }
        all
    }

    /// Tells the VM that it ends.
    pub fn finish(&mut self) {
        self.envoy.enter(ROOT);
        self.root.on_done();
    }

    fn take(&mut self, method: &str, context: u32) -> PendingGrpc {
        self.envoy.state(|state| {
            let is_it = |call: &PendingGrpc| call.method == method && call.context == context;
            let index = state.grpc.iter().position(is_it);
            state.grpc.remove(index.expect("a waiting call"))
        })
    }

    fn deliver(
        &mut self,
        call: &PendingGrpc,
        status: u32,
        message: Vec<u8>,
        exchange: Option<&mut Exchange>,
    ) {
        let size = message.len();
        self.envoy.state(|state| state.message = message);
        match exchange {
            Some(exchange) => {
                exchange.run(|stage, host| stage.on_grpc_answer(host, call.id, status, size));
            }
            None => {
                self.envoy.enter(ROOT);
                self.root.on_grpc_answer(call.id, status, size);
            }
        }
    }
}
