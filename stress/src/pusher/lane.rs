//! One keep-alive connection to logic.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::Target;

/// goim answers with two short fields.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How goim's envelope of a success begins.
const SUCCESS: &[u8] = b"{\"code\":0,";

/// How a push ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    /// The server says that it did not take the push.
    Refused(StatusCode),
    /// Anything may have happened.
    Unknown(String),
}

pub(super) struct Lane {
    target: Arc<Target>,
    tracker: TaskTracker,
    link: Option<SendRequest<Full<Bytes>>>,
}

#[derive(Deserialize)]
struct Envelope {
    code: i64,
}

impl Lane {
    pub(super) fn new(target: Arc<Target>, tracker: TaskTracker) -> Self {
        Self {
            target,
            tracker,
            link: None,
        }
    }

    pub(super) async fn post(&mut self, path: &str, body: Bytes) -> Answer {
        let deadline = self.target.timeout;
        let answer = match timeout(deadline, self.exchange(path, body)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(cause)) => Answer::Unknown(cause),
            Err(_) => Answer::Unknown("timed out".to_owned()),
        };
        if let Answer::Unknown(_) = answer {
            self.link = None;
        }
        answer
    }

    async fn exchange(&mut self, path: &str, body: Bytes) -> Result<Answer, String> {
        let response = loop {
            let reused = self.link.is_some();
            let mut link = match self.link.take() {
                Some(link) => link,
                None => self.connect().await.map_err(|error| error.to_string())?,
            };
            let request = self.request(path, body.clone())?;
            match link.send_request(request).await {
                Ok(response) => {
                    self.link = Some(link);
                    break response;
                }
                // The server closed an idle connection: the push was never written, so it may go again.
                Err(error) if reused && error.is_canceled() => {}
                Err(error) => return Err(describe(&error)),
            }
        };
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        Ok(judge(status, &body))
    }

    fn request(&self, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::post(format!("{}{path}", self.target.base_path))
            .header(HOST, &self.target.authority)
            .header(CONTENT_TYPE, "application/octet-stream");
        if let Some(push_key) = &self.target.push_key {
            request = request.header(AUTHORIZATION, format!("Bearer {push_key}"));
        }
        request
            .body(Full::new(body))
            .map_err(|error| error.to_string())
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.target.address).await?;
        stream.set_nodelay(true)?;
        let (mut link, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        self.tracker.spawn(async move {
            // A failed connection fails the request on it, which is where it is counted.
            let _ = connection.await;
        });
        link.ready().await.map_err(io::Error::other)?;
        Ok(link)
    }
}

fn judge(status: StatusCode, body: &[u8]) -> Answer {
    if matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    ) {
        return Answer::Refused(status);
    }
    if status != StatusCode::OK {
        return Answer::Unknown(format!("status {}", status.as_u16()));
    }
    if body.starts_with(SUCCESS) {
        return Answer::Accepted;
    }
    match serde_json::from_slice::<Envelope>(body) {
        Ok(Envelope { code: 0 }) => Answer::Accepted,
        Ok(Envelope { code }) => Answer::Unknown(format!("code {code}")),
        Err(_) => Answer::Unknown("not goim's envelope".to_owned()),
    }
}

fn describe(error: &hyper::Error) -> String {
    use std::error::Error;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_goims_success_is_accepted() {
        for (status, body, answer) in [
            (200, &br#"{"code":0,"message":""}"#[..], Answer::Accepted),
            (200, br#"{ "message": "", "code": 0 }"#, Answer::Accepted),
            (
                200,
                br#"{"code":-500,"message":"x"}"#,
                Answer::Unknown("code -500".to_owned()),
            ),
            (
                200,
                b"hello",
                Answer::Unknown("not goim's envelope".to_owned()),
            ),
            (
                400,
                br#"{"code":0,"message":""}"#,
                Answer::Unknown("status 400".to_owned()),
            ),
            (503, b"", Answer::Refused(StatusCode::SERVICE_UNAVAILABLE)),
            (429, b"", Answer::Refused(StatusCode::TOO_MANY_REQUESTS)),
        ] {
            assert_eq!(judge(StatusCode::from_u16(status).unwrap(), body), answer);
        }
    }
}
