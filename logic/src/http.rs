//! The HTTP API: goim's nine routes, pushes in batches, hot rooms, a demo page,
//! and what operators ask.
//!
//! goim's answers are kept to the byte. What Halley adds has statuses of its
//! own, in the same envelope: 401 without a key, 409 and 422 for a key of
//! [idempotency](self::idempotency), 413 for too much, 503 when the node cannot
//! take a push now, 504 when it took too long.

mod access;
mod batch;
mod body;
mod demo;
mod envelope;
mod go;
mod idempotency;
mod in_process;
mod params;
mod pushes;
mod reads;

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::{LOCATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use self::access::Keys;
use self::demo::Demo;
pub use self::in_process::HttpForTests;
use crate::core::Core;
use crate::metrics::HttpRoute;

/// Every answer is whole when it is given.
pub(crate) type Answer = Response<Full<Bytes>>;

/// All of logic's HTTP, apart from what every process answers.
#[derive(Debug)]
pub(crate) struct Api {
    core: Arc<Core>,
    keys: Keys,
    demo: Option<Demo>,
    /// Pushes that are not answered.
    pushes: TaskTracker,
}

/// What a path and method name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Push(PushRoute),
    OnlineTop,
    OnlineRoom,
    OnlineTotal,
    NodesWeighted,
    NodesInstances,
    HotRooms,
    Demo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PushRoute {
    Keys,
    Mids,
    Room,
    All,
    Batch,
}

impl Route {
    fn of(method: &Method, path: &str) -> Option<Self> {
        let (expected, route) = match path {
            "/goim/push/keys" => (Method::POST, Self::Push(PushRoute::Keys)),
            "/goim/push/mids" => (Method::POST, Self::Push(PushRoute::Mids)),
            "/goim/push/room" => (Method::POST, Self::Push(PushRoute::Room)),
            "/goim/push/all" => (Method::POST, Self::Push(PushRoute::All)),
            "/v1/push" => (Method::POST, Self::Push(PushRoute::Batch)),
            "/goim/online/top" => (Method::GET, Self::OnlineTop),
            "/goim/online/room" => (Method::GET, Self::OnlineRoom),
            "/goim/online/total" => (Method::GET, Self::OnlineTotal),
            "/goim/nodes/weighted" => (Method::GET, Self::NodesWeighted),
            "/goim/nodes/instances" => (Method::GET, Self::NodesInstances),
            "/v1/rooms/hot" => (Method::GET, Self::HotRooms),
            "/demo" => (Method::GET, Self::Demo),
            _ => return None,
        };
        (*method == expected).then_some(route)
    }

    fn label(self) -> HttpRoute {
        match self {
            Self::Push(PushRoute::Keys) => HttpRoute::PushKeys,
            Self::Push(PushRoute::Mids) => HttpRoute::PushMids,
            Self::Push(PushRoute::Room) => HttpRoute::PushRoom,
            Self::Push(PushRoute::All) => HttpRoute::PushAll,
            Self::Push(PushRoute::Batch) => HttpRoute::PushBatch,
            Self::OnlineTop => HttpRoute::OnlineTop,
            Self::OnlineRoom => HttpRoute::OnlineRoom,
            Self::OnlineTotal => HttpRoute::OnlineTotal,
            Self::NodesWeighted => HttpRoute::NodesWeighted,
            Self::NodesInstances => HttpRoute::NodesInstances,
            Self::HotRooms => HttpRoute::HotRooms,
            Self::Demo => HttpRoute::Demo,
        }
    }
}

impl Api {
    /// Requests that push are in `pushes` until they are answered.
    pub(crate) fn new(core: Arc<Core>, pushes: TaskTracker) -> Self {
        let config = &core.config;
        Self {
            keys: Keys::new(config.http.keys.iter().map(String::as_str)),
            demo: config
                .http
                .demo
                .then(|| Demo::new(config.nodes.ws_port, config.nodes.wss_port)),
            core,
            pushes,
        }
    }

    /// Answers a request of the client at `peer`.
    pub(crate) async fn answer<B>(&self, peer: IpAddr, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes, Error: Display> + Unpin,
    {
        let start = Instant::now();
        let route = Route::of(request.method(), request.uri().path());
        let response = match route {
            Some(route) => self.handle_in_time(route, peer, request).await,
            None => redirect(&request).unwrap_or_else(envelope::not_found),
        };
        let label = route.map_or(HttpRoute::Unknown, Route::label);
        let status = response.status().as_u16();
        self.core.metrics.request(label, status, start.elapsed());
        response
    }

    async fn handle_in_time<B>(&self, route: Route, peer: IpAddr, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes, Error: Display> + Unpin,
    {
        let deadline = self.core.config.http.request_timeout;
        timeout(deadline, self.handle(route, peer, request))
            .await
            .unwrap_or_else(|_| {
                envelope::refused(StatusCode::GATEWAY_TIMEOUT, "request took too long")
            })
    }

    async fn handle<B>(&self, route: Route, peer: IpAddr, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes, Error: Display> + Unpin,
    {
        let core = &self.core;
        match route {
            Route::Push(route) => {
                if self.keys.admit(request.headers()) {
                    pushes::answer(core, route, request, self.pushes.token()).await
                } else {
                    let (parts, mut body) = request.into_parts();
                    body::pass_over(&parts.headers, &mut body).await;
                    unauthorized()
                }
            }
            Route::OnlineTop => reads::online_top(core, query_of(&request)).await,
            Route::OnlineRoom => reads::online_room(core, query_of(&request)).await,
            Route::OnlineTotal => reads::online_total(core),
            Route::NodesWeighted => {
                let proxies = &core.config.http.trusted_proxies;
                let client = access::client_ip(peer, request.headers(), proxies);
                reads::nodes_weighted(core, query_of(&request), client)
            }
            Route::NodesInstances => reads::nodes_instances(core),
            Route::HotRooms => reads::hot_rooms(core, query_of(&request)),
            Route::Demo => match &self.demo {
                Some(demo) => demo.respond(),
                None => envelope::not_found(),
            },
        }
    }
}

fn query_of<B>(request: &Request<B>) -> &str {
    request.uri().query().unwrap_or_default()
}

fn unauthorized() -> Answer {
    let mut response = envelope::refused(StatusCode::UNAUTHORIZED, "missing or wrong key");
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// goim's router sends a path with one slash too many to the right one.
fn redirect<B>(request: &Request<B>) -> Option<Answer> {
    let path = request.uri().path().strip_suffix('/')?;
    Route::of(request.method(), path)?;
    let location = match request.uri().query() {
        Some(query) => HeaderValue::try_from([path, "?", query].concat()).ok()?,
        None => HeaderValue::try_from(path).ok()?,
    };
    let status = if request.method() == Method::GET {
        StatusCode::MOVED_PERMANENTLY
    } else {
        StatusCode::TEMPORARY_REDIRECT
    };
    Some(envelope::bare(status, LOCATION, location))
}
