//! The HTTP API: goim's nine routes, a demo page, and what operators ask.
//!
//! goim's answers are kept to the byte. What Halley adds has statuses of its
//! own, in the same envelope: 401 without a key, 409 and 422 for a key of
//! [idempotency](self::idempotency), 413 for too much, 503 when the node cannot
//! take a push now, 504 when it took too long.

mod access;
mod body;
mod demo;
mod envelope;
mod go;
mod idempotency;
mod in_process;
mod params;
mod pushes;
mod reads;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{LOCATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use halley_node::admin;
use tokio::time::{Instant, timeout};

use self::access::Keys;
use self::demo::Demo;
pub(crate) use self::idempotency::UnderWay;
pub use self::in_process::HttpForTests;
use crate::core::Core;
use crate::metrics::HttpRoute;

/// All of logic's HTTP.
pub(crate) fn router(core: Arc<Core>) -> Router {
    let admin = admin::router(Arc::clone(&core.registry), core.readiness.clone());
    Router::new()
        .fallback(answer)
        .with_state(Api::new(core))
        .merge(admin)
}

/// What every request needs.
#[derive(Debug)]
struct Api {
    core: Arc<Core>,
    keys: Keys,
    demo: Option<Demo>,
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
    Demo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PushRoute {
    Keys,
    Mids,
    Room,
    All,
}

impl Route {
    fn of(method: &Method, path: &str) -> Option<Self> {
        let (expected, route) = match path {
            "/goim/push/keys" => (Method::POST, Self::Push(PushRoute::Keys)),
            "/goim/push/mids" => (Method::POST, Self::Push(PushRoute::Mids)),
            "/goim/push/room" => (Method::POST, Self::Push(PushRoute::Room)),
            "/goim/push/all" => (Method::POST, Self::Push(PushRoute::All)),
            "/goim/online/top" => (Method::GET, Self::OnlineTop),
            "/goim/online/room" => (Method::GET, Self::OnlineRoom),
            "/goim/online/total" => (Method::GET, Self::OnlineTotal),
            "/goim/nodes/weighted" => (Method::GET, Self::NodesWeighted),
            "/goim/nodes/instances" => (Method::GET, Self::NodesInstances),
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
            Self::OnlineTop => HttpRoute::OnlineTop,
            Self::OnlineRoom => HttpRoute::OnlineRoom,
            Self::OnlineTotal => HttpRoute::OnlineTotal,
            Self::NodesWeighted => HttpRoute::NodesWeighted,
            Self::NodesInstances => HttpRoute::NodesInstances,
            Self::Demo => HttpRoute::Demo,
        }
    }
}

async fn answer(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    let start = Instant::now();
    let route = Route::of(request.method(), request.uri().path());
    let response = match route {
        Some(route) => api.handle_in_time(route, request).await,
        None => redirect(&request).unwrap_or_else(envelope::not_found),
    };
    let label = route.map_or(HttpRoute::Unknown, Route::label);
    let status = response.status().as_u16();
    api.core.metrics.request(label, status, start.elapsed());
    response
}

impl Api {
    fn new(core: Arc<Core>) -> Arc<Self> {
        let config = &core.config;
        Arc::new(Self {
            keys: Keys::new(config.http.keys.iter().map(String::as_str)),
            demo: config
                .http
                .demo
                .then(|| Demo::new(config.nodes.ws_port, config.nodes.wss_port)),
            core,
        })
    }

    async fn handle_in_time(&self, route: Route, request: Request) -> Response<Body> {
        let deadline = self.core.config.http.request_timeout;
        timeout(deadline, self.handle(route, request))
            .await
            .unwrap_or_else(|_| {
                envelope::refused(StatusCode::GATEWAY_TIMEOUT, "request took too long")
            })
    }

    async fn handle(&self, route: Route, request: Request) -> Response<Body> {
        let core = &self.core;
        match route {
            Route::Push(route) => {
                if self.keys.admit(request.headers()) {
                    pushes::answer(core, route, request).await
                } else {
                    unauthorized()
                }
            }
            Route::OnlineTop => reads::online_top(core, query_of(&request)).await,
            Route::OnlineRoom => reads::online_room(core, query_of(&request)).await,
            Route::OnlineTotal => reads::online_total(core),
            Route::NodesWeighted => {
                let client = access::client_ip(&request, &core.config.http.trusted_proxies);
                reads::nodes_weighted(core, query_of(&request), client)
            }
            Route::NodesInstances => reads::nodes_instances(core),
            Route::Demo => match &self.demo {
                Some(demo) => demo.respond(),
                None => envelope::not_found(),
            },
        }
    }
}

fn query_of(request: &Request) -> &str {
    request.uri().query().unwrap_or_default()
}

fn unauthorized() -> Response<Body> {
    let mut response = envelope::refused(StatusCode::UNAUTHORIZED, "missing or wrong key");
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// goim's router sends a path with one slash too many to the right one.
fn redirect(request: &Request) -> Option<Response<Body>> {
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
