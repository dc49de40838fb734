//! The way of a request to its provider, or back with an error.
//!
//! The steps, in order: check the caller's limits, look for a cached answer, choose the first
//! candidate, check that candidate's limits. If a step needs the control plane, the request waits
//! and resumes there.

use std::rc::Rc;

use opentracy_proto::v1::{self, Strategy};
use opentracy_translate::error::ApiError;
use opentracy_translate::openai::envelope::Envelope;

use crate::gateway::cache::{self, CachedAnswer};
use crate::gateway::call::ClientCall;
use crate::gateway::charge::{self, Charge, Consumption};
use crate::gateway::limits::{self, Admission};
use crate::gateway::planner::{self, ProviderModel};
use crate::gateway::send::send;
use crate::gateway::strategy::{self, StrategyInput};
use crate::gateway::{access, budget, context, named_files, privacy, router, session};
use crate::headers::{self, HeaderList};
use crate::health;
use crate::host::Host;
use crate::snapshot::Snapshot;

/// The result of dispatching a request.
pub enum DispatchOutcome {
    Sent(Box<ClientCall>),
    /// The request waits for the control plane.
    Waiting(Box<WaitingCall>),
    /// The cache has the answer.
    Known(Box<ClientCall>, CachedAnswer),
    Refused(Box<ClientCall>, ApiError),
}

/// A request that waits for the control plane.
pub struct WaitingCall {
    call: Box<ClientCall>,
    request: HeaderList<'static>,
    question: Question,
}

enum Question {
    /// The remaining limits of the caller.
    Caller(limits::PendingAcquire),
    /// The ownership of the files that the conversation names.
    Files(named_files::PendingCheck),
    /// The choice of a candidate for the prompt.
    Route(router::PendingDecision),
    /// The remaining limits of the first candidate.
    Model(limits::PendingAcquire),
}

impl WaitingCall {
    pub fn is_call(&self, grpc_call: u32) -> bool {
        let own = match &self.question {
            Question::Caller(asked) | Question::Model(asked) => asked.grpc_call,
            Question::Files(asked) => asked.grpc_call,
            Question::Route(asked) => asked.grpc_call,
        };
        own == grpc_call
    }

    pub fn into_call(self) -> ClientCall {
        *self.call
    }
}

/// Parses, plans and sends a complete request.
pub fn start(
    host: &impl Host,
    mut call: Box<ClientCall>,
    request: HeaderList<'static>,
) -> DispatchOutcome {
    let snapshot = match call.trace.configuration() {
        Ok(snapshot) => snapshot,
        Err(error) => return DispatchOutcome::Refused(call, error),
    };
    let body = Rc::clone(&call.body);
    let parsed = privacy::check(&request).and_then(|()| Envelope::parse(call.api, &body));
    let planned = parsed.and_then(|envelope| {
        plan(&mut call, &envelope, &snapshot)?;
        Ok(envelope)
    });
    match planned {
        Ok(envelope) => {
            let admission = limits::admit(host, &call.trace.intended_charges, &snapshot);
            let flow = Flow {
                call,
                request,
                envelope: &envelope,
                snapshot: &snapshot,
            };
            flow.on_caller(host, admission)
        }
        Err(error) => DispatchOutcome::Refused(call, error),
    }
}

/// Resumes with the control plane's answer.
pub fn resume(host: &impl Host, waiting: WaitingCall, status: u32, size: usize) -> DispatchOutcome {
    let WaitingCall {
        call,
        request,
        question,
    } = waiting;
    let body = Rc::clone(&call.body);
    let (Ok(envelope), Ok(snapshot)) =
        (Envelope::parse(call.api, &body), call.trace.configuration())
    else {
        // The body was parsed successfully before.
        let error = ApiError::new(500, "The gateway can't parse the request again");
        return DispatchOutcome::Refused(call, error);
    };
    let mut flow = Flow {
        call,
        request,
        envelope: &envelope,
        snapshot: &snapshot,
    };
    match question {
        Question::Caller(asked) => {
            let charges = &flow.call.trace.intended_charges;
            let admission = limits::resume(host, charges, asked, &snapshot, status, size);
            flow.on_caller(host, admission)
        }
        Question::Files(asked) => match named_files::check(host, &asked, status, size) {
            Ok(()) => flow.on_files(host),
            Err(error) => DispatchOutcome::Refused(flow.call, error),
        },
        Question::Route(asked) => {
            match router::read_answer(host, &mut flow.call, &asked, status, size) {
                Ok(()) => flow.on_order(host),
                Err(error) => DispatchOutcome::Refused(flow.call, error),
            }
        }
        Question::Model(asked) => {
            let charges = model_charges(&flow.call, &snapshot);
            let admission = limits::resume(host, &charges, asked, &snapshot, status, size);
            flow.on_model(host, charges, admission)
        }
    }
}

/// Fills in the call from the parsed request.
fn plan(
    call: &mut ClientCall,
    envelope: &Envelope<'_>,
    snapshot: &Snapshot,
) -> Result<(), ApiError> {
    call.trace.requested_model = envelope.model.clone().into_owned();
    call.stream = envelope.stream;
    call.include_usage = envelope.include_usage;
    call.has_tools = envelope.has_tools;
    if let Some(user) = &envelope.user {
        call.user = user.clone().into_owned();
    }
    call.metadata = envelope.metadata();
    let target = planner::resolve(snapshot, &envelope.model)?;
    call.trace.alias = target.alias.map(|alias| alias.name.clone());
    call.plan = target.candidates;
    access::retain_allowed(&call.trace.caller, &envelope.model, &mut call.plan)?;
    context::retain_fitting(&mut call.plan, envelope, snapshot)?;
    call.budget = budget::check(call.trace.client(), target.alias)?;
    call.estimate = Consumption::estimate(envelope.text.len(), envelope.max_tokens);
    call.trace.charge_caller(snapshot, &call.estimate);
    Ok(())
}

/// Returns the charges against the first candidate's limits.
fn model_charges(call: &ClientCall, snapshot: &Snapshot) -> Vec<Charge> {
    let Some(candidate) = call.plan.first() else {
        return Vec::new();
    };
    let (provider, model) = (&candidate.provider.name, &candidate.model);
    charge::charges_of_model(snapshot, provider, model, &call.estimate)
}

/// A request on its way through the steps.
struct Flow<'a> {
    call: Box<ClientCall>,
    request: HeaderList<'static>,
    envelope: &'a Envelope<'a>,
    snapshot: &'a Rc<Snapshot>,
}

impl Flow<'_> {
    fn wait(self, question: Question) -> DispatchOutcome {
        DispatchOutcome::Waiting(Box::new(WaitingCall {
            call: self.call,
            request: self.request,
            question,
        }))
    }

    fn alias(&self) -> Option<&v1::Alias> {
        self.call.trace.alias(self.snapshot)
    }

    fn on_caller(mut self, host: &impl Host, admission: Admission) -> DispatchOutcome {
        match admission {
            Admission::Refused(error) => {
                limits::count_refusal(host, &error);
                return DispatchOutcome::Refused(self.call, error);
            }
            Admission::Pending(asked) => return self.wait(Question::Caller(asked)),
            Admission::Admitted => self.call.trace.on_admitted(),
        }
        match named_files::ask(host, &mut self.call, self.snapshot) {
            Ok(None) => self.on_files(host),
            Ok(Some(asked)) => self.wait(Question::Files(asked)),
            Err(error) => DispatchOutcome::Refused(self.call, error),
        }
    }

    /// Continues once the caller is known to own the files that the conversation names.
    fn on_files(mut self, host: &impl Host) -> DispatchOutcome {
        let call = &self.call;
        let key = self.alias().and_then(|alias| {
            cache::key(
                alias,
                call.trace.key_name(),
                call.api,
                &call.body,
                &self.request,
            )
        });
        self.call.cache_key = key;
        if let Some(known) = self
            .call
            .cache_key
            .as_ref()
            .and_then(|key| cache::find(host, key))
        {
            return DispatchOutcome::Known(self.call, known);
        }
        let preferred = self.request.get(headers::PREFER);
        let preferred = preferred
            .filter(|_| self.call.trace.caller.is_internal)
            .map(str::to_owned);
        // A session on another model, such as one that an alias no longer has, decides nothing.
        let is_candidate =
            |model: &String| (self.call.plan.iter()).any(|candidate| candidate.id() == *model);
        let session = self.call.session.as_deref();
        let session_model = session.and_then(session::model_of).filter(is_candidate);
        if let Some(model) = preferred.or(session_model) {
            planner::reorder(&mut self.call.plan, &[model]);
            return self.on_order(host);
        }
        let Some(alias) = self.call.trace.alias(self.snapshot) else {
            return self.on_order(host);
        };
        if alias.strategy() == Strategy::Auto {
            let weight = match router::cost_weight(&self.request) {
                Ok(weight) => weight,
                Err(error) => return DispatchOutcome::Refused(self.call, error),
            };
            return match router::ask(host, &mut self.call, self.envelope, alias, weight) {
                Ok(Some(asked)) => self.wait(Question::Route(asked)),
                Ok(None) => self.on_order(host),
                Err(error) => DispatchOutcome::Refused(self.call, error),
            };
        }
        let call = &mut self.call;
        let input = StrategyInput {
            trace_id: &call.trace.id,
            sticky: strategy::sticky(
                call.session.as_deref(),
                &call.user,
                self.envelope.conversation.get(),
            ),
            input_tokens: call.estimate.tokens,
            output_tokens: self.envelope.max_tokens.unwrap_or_default(),
            latency_us: &|model| health::of(host, model).latency_us(),
        };
        strategy::order(&mut call.plan, alias, &input, self.snapshot);
        self.on_order(host)
    }

    /// Continues once the candidates are in order: moves unhealthy ones to the end.
    fn on_order(mut self, host: &impl Host) -> DispatchOutcome {
        let wait = strategy::by_health(host, &mut self.call.plan);
        if let (Some(seconds), [only]) = (wait, self.call.plan.as_slice()) {
            let error = strategy::circuit_open(&only.id(), seconds);
            return DispatchOutcome::Refused(self.call, error);
        }
        self.admit_model(host)
    }

    /// Adds the headers that give an agent its caller and its session.
    fn introduce(&mut self, host: &impl Host) {
        if self
            .call
            .plan
            .iter()
            .any(|candidate| candidate.provider.is_agents())
        {
            let model = self.call.trace.requested_model.clone();
            let session = self
                .call
                .session
                .get_or_insert_with(|| session::issue(host, &model))
                .clone();
            let name = self.call.trace.key_name().to_owned();
            self.request.set(headers::SESSION_ID, session);
            self.request.set(headers::ON_BEHALF_OF, name);
        }
    }

    fn admit_model(self, host: &impl Host) -> DispatchOutcome {
        let charges = model_charges(&self.call, self.snapshot);
        let admission = limits::admit(host, &charges, self.snapshot);
        self.on_model(host, charges, admission)
    }

    fn on_model(
        mut self,
        host: &impl Host,
        charges: Vec<Charge>,
        admission: Admission,
    ) -> DispatchOutcome {
        match admission {
            Admission::Admitted => {
                self.call.trace.charges.extend(charges);
                if let Err(error) = take_turn(host, &self.call.plan) {
                    return DispatchOutcome::Refused(self.call, error);
                }
                self.introduce(host);
                match send(host, &mut self.call, self.envelope, self.request) {
                    Ok(()) => DispatchOutcome::Sent(self.call),
                    Err(error) => DispatchOutcome::Refused(self.call, error),
                }
            }
            Admission::Pending(asked) => self.wait(Question::Model(asked)),
            // The next candidate may be within its limits.
            Admission::Refused(_) if self.call.plan.len() > 1 => {
                self.call.plan.remove(0);
                self.admit_model(host)
            }
            Admission::Refused(error) => {
                limits::count_refusal(host, &error);
                DispatchOutcome::Refused(self.call, error)
            }
        }
    }
}

/// Claims the half-open probe of the first candidate if its breaker is half-open. Only a request
/// that is within all limits may: one that is refused would leave the model without a probe.
/// Returns an error if another request was first, and no other candidate is left.
fn take_turn(host: &impl Host, plan: &[ProviderModel]) -> Result<(), ApiError> {
    let Some(first) = plan.first() else {
        return Ok(());
    };
    match strategy::wait_for(host, &first.id()) {
        Some(seconds) if plan.len() == 1 => Err(strategy::circuit_open(&first.id(), seconds)),
        _ => Ok(()),
    }
}
