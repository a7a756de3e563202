//! A node that answers every call, for the tests of those who call it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes, Frame};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::{Code, Status};
use tower::{Service, ServiceExt as _};

use super::{Trust, health};
use crate::Readiness;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const NAME: &str = "test.Node";

/// A gRPC server on loopback, until it is dropped.
pub(crate) struct Node {
    pub(crate) addr: String,
    /// Calls wait for their answer until this is false.
    pub(crate) is_silent: watch::Sender<bool>,
    /// The answers' bodies do not end until this is false.
    pub(crate) is_slow: watch::Sender<bool>,
    /// Every answer is that it cannot do its work.
    pub(crate) is_unable: Arc<AtomicBool>,
    is_away: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    _end: DropGuard,
}

impl Node {
    pub(crate) async fn start(trust: &Trust) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr: SocketAddr = listener.local_addr().unwrap();
        let is_away = Arc::new(AtomicBool::new(false));
        let (is_silent, is_slow) = (watch::Sender::new(false), watch::Sender::new(false));
        let answers = Answers {
            calls: Arc::default(),
            is_silent: is_silent.subscribe(),
            is_slow: is_slow.subscribe(),
            is_unable: Arc::default(),
        };
        let is_unable = Arc::clone(&answers.is_unable);
        let calls = Arc::clone(&answers.calls);
        let end = CancellationToken::new();
        let (away, accepting) = (Arc::clone(&is_away), trust.clone());
        let incoming = stream::unfold(listener, move |listener| {
            let (away, trust) = (Arc::clone(&away), accepting.clone());
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    if !away.load(Ordering::Relaxed) {
                        return Some((std::io::Result::Ok(trust.accept(stream)), listener));
                    }
                }
            }
        });
        let serving = Server::builder()
            .layer(trust.layer())
            .add_service(answers)
            .add_service(health::service(Readiness::default(), &[NAME]))
            .serve_with_incoming(incoming);
        let ended = end.clone();
        TaskTracker::new().spawn(async move { ended.run_until_cancelled(serving).await });
        Self {
            addr: addr.to_string(),
            is_silent,
            is_slow,
            is_unable,
            is_away,
            calls,
            _end: end.drop_guard(),
        }
    }

    /// New connections are closed as soon as they are accepted.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// What a call is answered with, once its answer has begun.
pub(crate) async fn begin<S>(service: S) -> Result<http::Response<Body>, Status>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    begin_with(service, request()).await
}

pub(crate) async fn begin_with<S>(
    service: S,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Status>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let sent = tokio::time::timeout(PATIENCE, service.oneshot(request));
    match sent.await.expect("an answer in time") {
        Ok(response) => Ok(response),
        Err(error) => Err(Status::from_error(error.into())),
    }
}

pub(crate) fn request() -> http::Request<Body> {
    http::Request::post(format!("/{NAME}/Call"))
        .header("content-type", "application/grpc")
        .body(Body::empty())
        .unwrap()
}

/// The status at the end of an answer.
pub(crate) async fn end(response: http::Response<Body>) -> Code {
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status.code();
    }
    let mut body = response.into_body();
    let trailers = async {
        loop {
            let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
            let frame = frame.await.expect("trailers").expect("a frame");
            if let Ok(trailers) = frame.into_trailers() {
                return trailers;
            }
        }
    };
    let trailers = tokio::time::timeout(PATIENCE, trailers).await;
    Status::from_header_map(&trailers.expect("an end in time"))
        .expect("a status")
        .code()
}

/// Makes a call to its end.
pub(crate) async fn call<S>(service: S) -> Result<Code, Status>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Ok(end(begin(service).await?).await)
}

#[derive(Clone)]
struct Answers {
    calls: Arc<AtomicUsize>,
    is_silent: watch::Receiver<bool>,
    is_slow: watch::Receiver<bool>,
    is_unable: Arc<AtomicBool>,
}

impl NamedService for Answers {
    const NAME: &'static str = NAME;
}

impl Service<http::Request<Body>> for Answers {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: http::Request<Body>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.is_unable.load(Ordering::Relaxed) {
            let unable = Status::unavailable("backend is away").into_http();
            return Box::pin(std::future::ready(Ok(unable)));
        }
        let (mut is_silent, mut is_slow) = (self.is_silent.clone(), self.is_slow.clone());
        Box::pin(async move {
            let _ = is_silent.wait_for(|is_silent| !is_silent).await;
            let trailers = Trailers(Box::pin(async move {
                let _ = is_slow.wait_for(|is_slow| !is_slow).await;
            }));
            Ok(http::Response::builder()
                .header("content-type", "application/grpc")
                .body(Body::new(trailers))
                .unwrap())
        })
    }
}

/// A body without data whose trailers wait.
struct Trailers(Pin<Box<dyn Future<Output = ()> + Send>>);

impl HttpBody for Trailers {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        std::task::ready!(self.0.as_mut().poll(context));
        self.0 = Box::pin(std::future::pending());
        let ok = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static("0"),
        )]);
        Poll::Ready(Some(Ok(Frame::trailers(ok))))
    }
}
