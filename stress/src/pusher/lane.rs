//! One keep-alive connection to logic.

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
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

use super::course::Started;
use super::{BATCH_PATH, Target};

/// goim answers with two short fields, Halley with a short result for each push of a batch.
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

#[derive(Deserialize)]
struct Results {
    data: ResultsData,
}

#[derive(Deserialize)]
struct ResultsData {
    results: Vec<BatchResult>,
}

#[derive(Deserialize)]
struct BatchResult {
    error: Option<String>,
}

impl Lane {
    pub(super) fn new(target: Arc<Target>, tracker: TaskTracker) -> Self {
        Self {
            target,
            tracker,
            link: None,
        }
    }

    /// Makes one request for each push.
    pub(super) async fn post_each(&mut self, pushes: &[Started]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(pushes.len());
        for push in pushes {
            let answer = match self.post(&push.path, push.body.clone()).await {
                Ok((status, body)) => judge(status, &body),
                Err(cause) => Answer::Unknown(cause),
            };
            if let Answer::Unknown(_) = answer {
                self.link = None;
            }
            answers.push(answer);
        }
        answers
    }

    /// Makes one request for all pushes.
    pub(super) async fn post_batch(&mut self, pushes: &[Started]) -> Vec<Answer> {
        let body = batch_body(pushes).into();
        let judged = match self.post(BATCH_PATH, body).await {
            Ok((status, body)) => judge_batch(status, &body, pushes.len()),
            Err(cause) => Err(Answer::Unknown(cause)),
        };
        judged.unwrap_or_else(|answer| {
            if let Answer::Unknown(_) = answer {
                self.link = None;
            }
            vec![answer; pushes.len()]
        })
    }

    async fn post(&mut self, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), String> {
        let deadline = self.target.timeout;
        timeout(deadline, self.exchange(path, body))
            .await
            .unwrap_or_else(|_| Err("timed out".to_owned()))
    }

    async fn exchange(&mut self, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), String> {
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
        Ok((status, body))
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

/// The messages of a batch, each with its body.
fn batch_body(pushes: &[Started]) -> String {
    let bytes = |push: &Started| push.path.len() + 2 * push.body.len();
    let mut json = String::with_capacity(pushes.iter().map(bytes).sum());
    json.push_str(r#"{"messages":["#);
    for (at, push) in pushes.iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        json.push_str(&push.path);
        BASE64.encode_string(&push.body, &mut json);
        json.push_str("\"}");
    }
    json.push_str("]}");
    json
}

/// How each push of a batch ended; an error is how all of them did.
fn judge_batch(status: StatusCode, body: &[u8], pushes: usize) -> Result<Vec<Answer>, Answer> {
    let answer = judge(status, body);
    if answer != Answer::Accepted {
        return Err(answer);
    }
    let answer: Results = serde_json::from_slice(body)
        .map_err(|_| Answer::Unknown("no results of a batch".to_owned()))?;
    let results = answer.data.results;
    if results.len() != pushes {
        return Err(Answer::Unknown("not as many results as pushes".to_owned()));
    }
    let judged = results.into_iter().map(|result| match result.error {
        Some(error) => Answer::Unknown(error),
        None => Answer::Accepted,
    });
    Ok(judged.collect())
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
    fn each_push_of_a_batch_has_its_result() {
        let judge = |body: &str| judge_batch(StatusCode::OK, body.as_bytes(), 2);
        let refused = Answer::Unknown("no keys".to_owned());
        for (results, answers) in [
            (
                r#"{"accepted":1,"offline":[]},{"accepted":1,"offline":[]}"#,
                Some([Answer::Accepted, Answer::Accepted]),
            ),
            (
                r#"{"accepted":0,"offline":["a"]},{"error":"no keys"}"#,
                Some([Answer::Accepted, refused]),
            ),
            (r#"{"accepted":1,"offline":[]}"#, None),
        ] {
            let body = format!(r#"{{"code":0,"message":"","data":{{"results":[{results}]}}}}"#);
            assert_eq!(judge(&body).ok(), answers.map(Vec::from), "{results}");
        }
        assert!(judge(r#"{"code":0,"message":""}"#).is_err());
        let refusal = judge_batch(StatusCode::SERVICE_UNAVAILABLE, b"", 2);
        assert_eq!(
            refusal,
            Err(Answer::Refused(StatusCode::SERVICE_UNAVAILABLE))
        );
    }

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
