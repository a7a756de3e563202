use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_lc_rs::{constant_time, digest};
use futures_util::future::Either;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

const SCHEME: &str = "Bearer ";
/// Whoever asks whether a node is well, such as an orchestrator, is no node.
const HEALTH_PREFIX: &str = "/grpc.health.v1.Health/";

/// The secrets that nodes share: the first is sent, each is accepted.
pub(super) struct Secrets {
    authorization: HeaderValue,
    accepted: Vec<digest::Digest>,
}

impl Secrets {
    /// Takes visible ASCII, at least one secret.
    pub(super) fn new(secrets: &[&str]) -> Self {
        let text = format!("{SCHEME}{}", secrets[0]);
        let mut authorization =
            HeaderValue::try_from(text).expect("invariant: visible ASCII fits into a header");
        authorization.set_sensitive(true);
        Self {
            authorization,
            accepted: secrets.iter().map(|secret| digest_of(secret)).collect(),
        }
    }

    pub(super) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(secret) = bearer(headers) else {
            return false;
        };
        // Digests have one length, and every secret is compared in full, so that
        // the time taken tells nothing about the secrets.
        let given = digest_of(secret);
        self.accepted.iter().fold(false, |found, accepted| {
            let equal = constant_time::verify_slices_are_equal(accepted.as_ref(), given.as_ref());
            found | equal.is_ok()
        })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(secret)
}

fn digest_of(secret: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, secret.as_bytes())
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.accepted.len())
    }
}

/// The layer of a server that lets pass only calls with the secret, and those
/// that ask about its health.
#[derive(Clone, Debug)]
pub struct Admit(Option<Arc<Secrets>>);

/// A service behind [`Admit`].
#[derive(Clone, Debug)]
pub struct Admitted<S> {
    inner: S,
    secrets: Option<Arc<Secrets>>,
}

impl Admit {
    pub(super) fn new(secrets: Option<Arc<Secrets>>) -> Self {
        Self(secrets)
    }
}

impl<S> Layer<S> for Admit {
    type Service = Admitted<S>;

    fn layer(&self, inner: S) -> Admitted<S> {
        Admitted {
            inner,
            secrets: self.0.clone(),
        }
    }
}

impl<S, B> Service<http::Request<B>> for Admitted<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let is_admitted = match &self.secrets {
            None => true,
            Some(secrets) => {
                request.uri().path().starts_with(HEALTH_PREFIX) || secrets.admit(request.headers())
            }
        };
        if is_admitted {
            Either::Left(self.inner.call(request))
        } else {
            let refusal = Status::unauthenticated("missing or wrong secret of the nodes");
            Either::Right(ready(Ok(refusal.into_http())))
        }
    }
}
