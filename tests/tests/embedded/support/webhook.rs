//! A service of the operator's that the gateway posts to.

use std::future::IntoFuture;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// Answers a request with a status and a body, given how many came before.
type Answers = dyn Fn(usize, &Bytes) -> (u16, String) + Send + Sync;

pub(crate) struct Webhook {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Posted>>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Clone)]
struct Service {
    requests: Arc<Mutex<Vec<Posted>>>,
    answers: Arc<Answers>,
}

impl Webhook {
    pub(crate) async fn start(
        answers: impl Fn(usize, &Bytes) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let requests = Arc::default();
        let service = Service {
            requests: Arc::clone(&requests),
            answers: Arc::new(answers),
        };
        let router = Router::new().fallback(answer).with_state(service);
        TaskTracker::new().spawn(axum::serve(listener, router).into_future());
        Self { url, requests }
    }

    /// All that was posted until now.
    pub(crate) fn requests(&self) -> Vec<Posted> {
        self.requests.lock().clone()
    }
}

impl Posted {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).expect("the header is there");
        value.to_str().expect("text")
    }
}

async fn answer(
    State(service): State<Service>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let before = {
        let mut requests = service.requests.lock();
        requests.push(Posted {
            headers,
            body: body.clone(),
        });
        requests.len() - 1
    };
    let (status, text) = (service.answers)(before, &body);
    (StatusCode::from_u16(status).expect("a status"), text)
}
