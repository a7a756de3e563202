//! The standard health service, `grpc.health.v1`: what [`Readiness`] says, for
//! those who ask over gRPC.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::readiness::{Phase, Readiness};

/// Answers for the whole process, which callers name with an empty text, and
/// for each of `services`.
pub fn service(readiness: Readiness, services: &'static [&'static str]) -> HealthServer<Health> {
    HealthServer::new(Health {
        readiness,
        services,
    })
}

/// The service behind [`service`].
#[derive(Clone, Debug)]
pub struct Health {
    readiness: Readiness,
    services: &'static [&'static str],
}

impl Health {
    fn knows(&self, service: &str) -> Result<(), Status> {
        if service.is_empty() || self.services.contains(&service) {
            Ok(())
        } else {
            Err(Status::not_found("unknown service"))
        }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.knows(&request.get_ref().service)?;
        Ok(Response::new(answer(self.readiness.phase())))
    }

    /// Tells of every change up to the last, which is the one to draining.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.knows(&request.get_ref().service)?;
        let readiness = self.readiness.clone();
        let phases = stream::unfold((readiness, None), |(readiness, told)| async move {
            let phase = match told {
                None => readiness.phase(),
                // A stream that went on would hold up the drain of the server.
                Some(Phase::Draining) => return None,
                Some(told) => readiness.phase_after(told).await,
            };
            Some((phase, (readiness, Some(phase))))
        });
        let answers = phases.map(|phase| Ok(answer(phase)));
        Ok(Response::new(answers.boxed()))
    }
}

fn answer(phase: Phase) -> HealthCheckResponse {
    let status = match phase {
        Phase::Ready => ServingStatus::Serving,
        Phase::Starting | Phase::Draining => ServingStatus::NotServing,
    };
    HealthCheckResponse {
        status: status.into(),
    }
}

#[cfg(test)]
mod tests;
