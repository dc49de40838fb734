//! `RouteService`.

use std::sync::Arc;

use opentracy_proto::v1;
use opentracy_proto::v1::route_service_server::RouteService;
use tonic::{Request, Response, Status};

use opentracy_routing::{About, Answer, Question, RoutingError, candidates, explain};
use opentracy_state::AppState;

pub struct Service {
    pub shared: AppState,
}

#[tonic::async_trait]
impl RouteService for Service {
    async fn route(
        &self,
        request: Request<v1::RouteRequest>,
    ) -> Result<Response<v1::RouteResponse>, Status> {
        let request = request.into_inner();
        let snapshot = Arc::clone(&self.shared.snapshot.borrow());
        let alias = snapshot.config.aliases.get(&request.alias).ok_or_else(|| {
            Status::not_found(format!("the alias \"{}\" does not exist", request.alias))
        })?;
        let ids = match request.candidates {
            candidates if candidates.is_empty() => alias.value.in_order(),
            candidates => candidates,
        };
        let needs = request.needs.unwrap_or_default();
        let question = Question {
            about: About::Text(request.prompt),
            weights: alias.value.routing.weights(request.cost_weight),
        };
        let decided = self
            .shared
            .router
            .decide(&question, |pack| {
                candidates::part(&ids, &needs, &snapshot, pack, &self.shared.live)
            })
            .await;
        Ok(Response::new(match decided {
            Ok(answer) => response(&answer),
            Err(undecided) => without_decision(ids, &undecided),
        }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let shared = &self.shared;
        let snapshot = Arc::clone(&shared.snapshot.borrow());
        let question = request.into_inner().body;
        let (status, body) =
            explain::answer(&shared.router, &snapshot, &shared.live, &question).await;
        Ok(Response::new(v1::ExplainResponse {
            status: u32::from(status),
            body,
        }))
    }
}

fn response(answer: &Answer) -> v1::RouteResponse {
    let first = answer.scores.first();
    v1::RouteResponse {
        candidates: answer.order.clone(),
        cluster_id: Some(answer.assessment.membership.cluster),
        expected_error: first.map(|score| score.error),
        decision: Some(v1::Decision {
            outcome: answer.outcome().to_owned(),
            pack: answer.pack.clone(),
            score: first.map(|score| score.total),
            cost_weight: Some(answer.cost_weight),
            embedding_micros: u64::try_from(answer.embedding.as_micros()).unwrap_or(u64::MAX),
            reason: answer.reason(),
        }),
    }
}

fn without_decision(candidates: Vec<String>, undecided: &RoutingError) -> v1::RouteResponse {
    v1::RouteResponse {
        candidates,
        decision: Some(v1::Decision {
            outcome: undecided.word().to_owned(),
            reason: format!("{undecided}: the alias's candidates were tried in their order"),
            ..v1::Decision::default()
        }),
        ..v1::RouteResponse::default()
    }
}
