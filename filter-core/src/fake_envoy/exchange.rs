//! One exchange of a client with an upstream, through a stage.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::fake_envoy::FakeEnvoy;
use crate::fake_envoy::host::{Http, Pairs};
use crate::host::{Action, Host};
use crate::stream::{Stage, Stream};

/// The headers of Envoy's own replies behind the internal listener, by its `local_reply_config`.
pub const LOCAL_REPLY: [(&str, &str); 2] =
    [("x-opentracy-local-reply", "1"), ("x-opentracy-retry", "1")];

/// A request and its response, as Envoy carries them through a stage.
pub struct Exchange {
    id: u32,
    envoy: FakeEnvoy,
    stream: Stream<FakeEnvoy>,
    is_request_complete: bool,
    is_response_complete: bool,
    upstream: SentMessage,
    /// The requests that reached the upstream in the passes before the last restart.
    earlier: Vec<SentMessage>,
    client: SentMessage,
    is_closed: bool,
}

/// The part of a request or a response that has left Envoy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentMessage {
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub trailers: BTreeMap<String, String>,
    pub is_complete: bool,
}

impl SentMessage {
    /// Returns the value of a header; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Returns all headers.
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        let pair = |(name, value)| (String::as_str(name), String::as_str(value));
        self.headers.iter().map(pair).collect()
    }

    pub fn status(&self) -> u16 {
        self.header(":status").parse().unwrap_or(0)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn begin(&mut self, headers: &Pairs) {
        if self.headers.is_empty() {
            self.headers = texts(headers);
        }
    }
}

fn texts(headers: &Pairs) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let own = |(name, value): &(String, Vec<u8>)| (name.clone(), text(value));
    headers.iter().map(own).collect()
}

fn pairs(headers: &[(&str, &str)]) -> Pairs {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.as_bytes().to_vec());
    headers.iter().map(own).collect()
}

impl Exchange {
    /// Sends the headers of a request.
    pub(super) fn open(
        envoy: FakeEnvoy,
        id: u32,
        stream: Stream<FakeEnvoy>,
        headers: &[(&str, &str)],
        end_of_stream: bool,
    ) -> Self {
        let http = Http {
            request_headers: pairs(headers),
            response_details: "via_upstream".to_owned(),
            ..Http::default()
        };
        envoy.state(|state| state.streams.insert(id, http));
        let mut exchange = Self {
            id,
            envoy,
            stream,
            is_request_complete: end_of_stream,
            is_response_complete: false,
            upstream: SentMessage::default(),
            earlier: Vec::new(),
            client: SentMessage::default(),
            is_closed: false,
        };
        let action = exchange.run(|stage, host| stage.on_request_headers(host, end_of_stream));
        exchange.after_request(action);
        exchange
    }

    /// Sends more of the request's body.
    pub fn send(&mut self, chunk: &[u8], end_of_stream: bool) {
        self.is_request_complete = end_of_stream;
        let size = self.http(|http| {
            http.request_buffer.extend_from_slice(chunk);
            http.request_buffer.len()
        });
        let action = self.run(|stage, host| stage.on_request_body(host, size, end_of_stream));
        self.after_request(action);
    }

    /// Ends the request with trailers.
    pub fn send_trailers(&mut self, trailers: &[(&str, &str)]) {
        self.is_request_complete = true;
        self.http(|http| http.request_trailers = pairs(trailers));
        let action = self.run(|stage, host| stage.on_request_trailers(host));
        self.after_request(action);
    }

    /// Sends the upstream's whole response.
    pub fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let passes = self.earlier.len();
        self.begin_response(status, headers, body.is_empty());
        // A restart ends the call upstream.
        if !body.is_empty() && passes == self.earlier.len() {
            self.respond_more(body, true);
        }
    }

    /// Sends the response that another stage has sent.
    pub fn respond_as(&mut self, response: &SentMessage) {
        let mut headers = response.pairs();
        headers.retain(|(name, _)| *name != ":status");
        self.respond(response.status(), &headers, &response.body);
    }

    /// Sends the headers of the upstream's response.
    pub fn begin_response(&mut self, status: u16, headers: &[(&str, &str)], end_of_stream: bool) {
        let mut all: Pairs = vec![(":status".to_owned(), status.to_string().into_bytes())];
        all.extend(pairs(headers));
        self.respond_with(all, end_of_stream);
    }

    /// Sends more of the response's body.
    pub fn respond_more(&mut self, chunk: &[u8], end_of_stream: bool) {
        self.is_response_complete = end_of_stream;
        let size = self.http(|http| {
            http.response_buffer.extend_from_slice(chunk);
            http.response_buffer.len()
        });
        let action = self.run(|stage, host| stage.on_response_body(host, size, end_of_stream));
        self.after_response(action);
    }

    /// Ends the response with trailers.
    pub fn respond_trailers(&mut self, trailers: &[(&str, &str)]) {
        self.is_response_complete = true;
        self.http(|http| http.response_trailers = pairs(trailers));
        let action = self.run(|stage, host| stage.on_response_trailers(host));
        self.after_response(action);
    }

    /// Answers as Envoy does when the upstream gives no response.
    pub fn fail(&mut self, status: u16, details: &str, headers: &[(&str, &str)]) {
        self.http(|http| http.response_details = details.to_owned());
        self.respond(status, headers, b"upstream connect error");
    }

    /// Cuts the response off after its beginning.
    pub fn cut(&mut self, details: &str) {
        self.http(|http| http.response_details = details.to_owned());
        self.is_closed = true;
    }

    /// Ends the exchange, which makes its record.
    pub fn end(mut self) {
        self.settle();
        self.envoy.enter(self.id);
        self.stream.with(|stage| stage.on_log(&self.envoy));
        self.envoy.state(|state| {
            state.streams.remove(&self.id);
            // Envoy cancels the calls of a stream that ends. The SDK drops an answer that comes.
            state.grpc.retain(|call| call.context != self.id);
            state.http.retain(|call| call.context != self.id);
        });
    }

    /// Returns what has reached the upstream.
    pub fn upstream(&mut self) -> &SentMessage {
        self.settle();
        &self.upstream
    }

    /// Returns what has reached the upstream in each pass before the last restart.
    pub fn earlier(&mut self) -> &[SentMessage] {
        self.settle();
        &self.earlier
    }

    /// Makes Envoy keep a body that the upstream did not take.
    pub fn keep_body(&mut self, body: &[u8]) {
        self.http(|http| http.request_buffer = body.to_vec());
    }

    /// Returns what has reached the client.
    pub fn client(&mut self) -> &SentMessage {
        self.settle();
        &self.client
    }

    /// Returns whether the client's connection was closed in the middle of the response.
    pub fn is_closed(&mut self) -> bool {
        self.settle();
        self.is_closed
    }

    /// Returns the values for Envoy's access log.
    pub fn access_log(&self) -> BTreeMap<String, String> {
        self.http(|http| http.log.clone())
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Runs a callback, then handles what it has told Envoy to do.
    pub(super) fn run<R>(
        &mut self,
        callback: impl FnOnce(&mut dyn Stage<FakeEnvoy>, &FakeEnvoy) -> R,
    ) -> R {
        self.envoy.enter(self.id);
        let result = self.stream.with(|stage| callback(stage, &self.envoy));
        self.settle();
        result
    }

    /// Begins another pass of the request. Envoy forgets all but the body that the upstream did not
    /// take.
    fn restart(&mut self, headers: Pairs) {
        let kept = self.http(|http| {
            let kept = std::mem::take(&mut http.request_buffer);
            *http = Http {
                request_headers: headers,
                response_details: "via_upstream".to_owned(),
                ..Http::default()
            };
            kept
        });
        self.earlier.push(std::mem::take(&mut self.upstream));
        self.is_response_complete = false;
        self.is_request_complete = kept.is_empty();
        let end_of_stream = self.is_request_complete;
        let action = self.run(|stage, host| stage.on_request_headers(host, end_of_stream));
        self.after_request(action);
        if !end_of_stream {
            self.send(&kept, true);
        }
    }

    /// Handles a restart, a response that a stage has sent, and resumptions.
    pub(super) fn settle(&mut self) {
        if let Some(headers) = self.http(|http| http.restart.take()) {
            self.restart(headers);
            return;
        }
        let (is_request_resumed, is_response_resumed) = self.http(|http| {
            (
                std::mem::take(&mut http.is_request_resumed),
                std::mem::take(&mut http.is_response_resumed),
            )
        });
        if is_request_resumed {
            self.after_request(Action::Continue);
        }
        if is_response_resumed {
            self.after_response(Action::Continue);
        }
        let Some((status, headers, body)) = self.http(|http| http.own_response.take()) else {
            return;
        };
        if !self.client.headers.is_empty() {
            self.is_closed = true;
            return;
        }
        let mut all: Pairs = vec![(":status".to_owned(), status.to_string().into_bytes())];
        all.extend(headers);
        // Envoy leads a stage's own response through the stage, too.
        self.http(|http| http.response_buffer.clear());
        self.respond_with(all, body.is_empty());
        if !body.is_empty() {
            self.respond_more(&body, true);
        }
    }

    fn respond_with(&mut self, headers: Pairs, end_of_stream: bool) {
        self.is_response_complete = end_of_stream;
        self.http(|http| http.response_headers = headers);
        let action = self.run(|stage, host| stage.on_response_headers(host, end_of_stream));
        self.after_response(action);
    }

    fn after_request(&mut self, action: Action) {
        if action == Action::Pause || !self.client.headers.is_empty() {
            return;
        }
        let (headers, chunk, trailers) = self.http(|http| {
            let chunk = std::mem::take(&mut http.request_buffer);
            (
                http.request_headers.clone(),
                chunk,
                texts(&http.request_trailers),
            )
        });
        self.upstream.begin(&headers);
        self.upstream.body.extend(chunk);
        self.upstream.trailers = trailers;
        self.upstream.is_complete = self.is_request_complete;
    }

    fn after_response(&mut self, action: Action) {
        if action == Action::Pause || self.is_closed || self.client.is_complete {
            return;
        }
        let (headers, chunk, trailers) = self.http(|http| {
            let chunk = std::mem::take(&mut http.response_buffer);
            (
                http.response_headers.clone(),
                chunk,
                texts(&http.response_trailers),
            )
        });
        self.client.begin(&headers);
        self.client.body.extend(chunk);
        self.client.trailers = trailers;
        self.client.is_complete = self.is_response_complete;
    }

    fn http<R>(&self, act: impl FnOnce(&mut Http) -> R) -> R {
        self.envoy
            .state(|state| act(state.streams.entry(self.id).or_default()))
    }
}
