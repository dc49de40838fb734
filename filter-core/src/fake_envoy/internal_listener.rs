//! The internal listener of a fake Envoy: the way from the gateway stage to the provider stage.

use std::collections::BTreeMap;
use std::time::Duration;

use opentracy_proto::v1;

use crate::fake_envoy::{Exchange, FakeEnvoy, LOCAL_REPLY, PROVIDER, SentMessage, Vm, VmThread};
use crate::host::Host as _;
use crate::root::TICK;

/// The longest silence of a provider that a test waits for.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// The internal listener, with the VM of the provider stage.
pub struct InternalListener {
    envoy: FakeEnvoy,
    pub stage: VmThread,
}

/// The behavior of a provider in one attempt.
pub struct Upstream {
    after: Duration,
    reply: Reply,
}

enum Reply {
    Answer(SentMessage),
    /// Envoy's own reply, with its response code details.
    Failure(u16, &'static str),
    Silence,
    Refusal,
    Trap,
}

impl Upstream {
    /// Answers at once.
    pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        Self::new(Reply::Answer(message(status, headers, body.into())))
    }

    /// Gives no answer, so that Envoy replies.
    pub fn failure(status: u16, details: &'static str) -> Self {
        Self::new(Reply::Failure(status, details))
    }

    /// Sends nothing until the stage gives up.
    pub fn silence() -> Self {
        Self::new(Reply::Silence)
    }

    /// Gets no request, because the stage refuses the attempt.
    pub fn refusal() -> Self {
        Self::new(Reply::Refusal)
    }

    /// Gets no request, because the stage traps.
    pub fn trap() -> Self {
        Self::new(Reply::Trap)
    }

    /// Waits before it answers.
    pub fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    fn new(reply: Reply) -> Self {
        Self {
            after: Duration::ZERO,
            reply,
        }
    }

    /// Plays the provider of an attempt. `marks` are the headers of Envoy's own replies.
    fn play(self, vm: &mut Vm, exchange: &mut Exchange, marks: &[(&str, &str)]) {
        vm.tick(self.after);
        match self.reply {
            Reply::Answer(answer) => exchange.respond_as(&answer),
            Reply::Failure(status, details) => exchange.fail(status, details, marks),
            Reply::Silence => {
                let end = vm.envoy.now() + MAX_SILENCE;
                let passes = exchange.earlier().len();
                while exchange.client().headers.is_empty()
                    && exchange.earlier().len() == passes
                    && vm.envoy.now() < end
                {
                    vm.tick(TICK);
                }
            }
            Reply::Refusal | Reply::Trap => panic!("the provider got a request"),
        }
    }
}

/// Plays the providers of a call whose stage restarts the request for each attempt. Returns the
/// requests that reached a provider.
pub fn play_passes(vm: &mut Vm, call: &mut Exchange, upstreams: Vec<Upstream>) -> Vec<SentMessage> {
    let mut requests = Vec::new();
    for upstream in upstreams {
        // The stage passes over a candidate that it refuses to call.
        if !matches!(upstream.reply, Reply::Refusal) {
            let asked = call.upstream().clone();
            assert!(asked.is_complete, "no further attempt");
            requests.push(asked);
            upstream.play(vm, call, &[]);
        }
    }
    requests
}

impl InternalListener {
    /// Starts the provider stage in a gateway's Envoy, with this configuration.
    pub fn start(envoy: &FakeEnvoy, snapshot: v1::Snapshot) -> Self {
        let stage = VmThread::start(envoy, PROVIDER);
        stage.run(|vm| vm.configure(snapshot));
        Self {
            envoy: envoy.clone(),
            stage,
        }
    }

    /// Makes the attempts of a planned call, as the route's retry policy does: while an answer has
    /// the retry mark and the gateway stage allows more. Returns the requests that reached a
    /// provider.
    pub fn relay(&mut self, call: &mut Exchange, upstreams: Vec<Upstream>) -> Vec<SentMessage> {
        let request = call.upstream().clone();
        assert_eq!(request.header(":authority"), "opentracy-internal");
        let retries = request.header("x-envoy-max-retries").parse();
        let retries: u32 = retries.expect("a number");
        let mut upstreams = upstreams.into_iter();
        let mut requests = Vec::new();
        let mut number = 1;
        let last = loop {
            let upstream = upstreams.next().expect("no further attempt");
            let (asked, got) = self.attempt(request.clone(), number, upstream);
            requests.extend(asked);
            if got.header("x-opentracy-retry").is_empty() || number > retries {
                break got;
            }
            number += 1;
        };
        assert_eq!(upstreams.count(), 0, "attempts that were not made");
        call.respond_as(&last);
        requests
    }

    /// Returns the records of the provider stage.
    pub fn records(&self) -> v1::IngestRequest {
        self.stage.run(Vm::records)
    }

    /// Begins an attempt of a planned request.
    pub fn begin(vm: &mut Vm, request: &SentMessage, number: u32) -> Exchange {
        let number = number.to_string();
        let mut headers = request.pairs();
        headers.push(("x-envoy-attempt-count", &number));
        vm.request(&headers, &request.body)
    }

    /// Makes one attempt. Returns the request to the provider, if there was one, and the answer.
    fn attempt(
        &mut self,
        request: SentMessage,
        number: u32,
        upstream: Upstream,
    ) -> (Option<SentMessage>, SentMessage) {
        if matches!(upstream.reply, Reply::Trap) {
            // Envoy starts the VM again, without its memory.
            self.stage = VmThread::start(&self.envoy, PROVIDER);
            return (None, message(503, &LOCAL_REPLY, b"wasm".to_vec()));
        }
        self.stage.run(move |vm| {
            let mut exchange = Self::begin(vm, &request, number);
            let asked = exchange.upstream().clone();
            let asked = asked.is_complete.then_some(asked);
            match &asked {
                Some(_) => upstream.play(vm, &mut exchange, &LOCAL_REPLY),
                None => assert!(matches!(upstream.reply, Reply::Refusal)),
            }
            let got = exchange.client().clone();
            exchange.end();
            (asked, got)
        })
    }
}

fn message(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> SentMessage {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    let mut headers: BTreeMap<String, String> = headers.iter().map(own).collect();
    headers.insert(":status".to_owned(), status.to_string());
    SentMessage {
        headers,
        body,
        ..SentMessage::default()
    }
}
