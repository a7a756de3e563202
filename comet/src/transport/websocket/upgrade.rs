//! The HTTP request that becomes a WebSocket, and its answer.

use httparse::{EMPTY_HEADER, Request, Status};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Header fields of one request.
const HEADERS_MAX: usize = 64;

/// What the server upgrades.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    /// The one request target.
    pub(crate) path: &'a str,
    /// Origins that browsers may connect from; empty: all.
    pub(crate) allowed_origins: &'a [String],
}

impl Rules<'_> {
    fn allow_origin(self, origin: &[u8]) -> bool {
        let origin = origin.trim_ascii();
        self.allowed_origins.is_empty()
            || self
                .allowed_origins
                .iter()
                .any(|allowed| allowed.as_bytes() == origin)
    }
}

/// A request that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Upgrade {
    /// Bytes of the request.
    pub(crate) consumed: usize,
    /// First value of the cookie header.
    pub(crate) cookie: String,
    /// What to answer.
    pub(crate) response: Vec<u8>,
}

/// A request that is not upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    status: &'static str,
    text: &'static str,
    header: &'static str,
}

impl Rejected {
    const fn new(status: &'static str, text: &'static str) -> Self {
        Self {
            status,
            text,
            header: "",
        }
    }

    /// The HTTP answer.
    pub(crate) fn response(self) -> Vec<u8> {
        let Self {
            status,
            text,
            header,
        } = self;
        let bytes = text.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n{header}\
             Content-Length: {bytes}\r\nConnection: close\r\n\r\n{text}\n"
        )
        .into_bytes()
    }
}

const MALFORMED: Rejected = Rejected::new("400 Bad Request", "malformed request");
const NOT_FOUND: Rejected = Rejected::new("404 Not Found", "no such path");
const FORBIDDEN: Rejected = Rejected::new("403 Forbidden", "origin not allowed");
const NO_KEY: Rejected = Rejected::new("400 Bad Request", "missing or bad Sec-WebSocket-Key");
const METHOD: Rejected = Rejected {
    status: "405 Method Not Allowed",
    text: "use GET",
    header: "Allow: GET\r\n",
};
const NO_UPGRADE: Rejected = Rejected {
    status: "426 Upgrade Required",
    text: "this is a WebSocket endpoint",
    header: "Upgrade: websocket\r\n",
};
const VERSION: Rejected = Rejected {
    status: "426 Upgrade Required",
    text: "only version 13 is spoken",
    header: "Sec-WebSocket-Version: 13\r\n",
};
/// Longer than the limit.
pub(crate) const TOO_LARGE: Rejected =
    Rejected::new("431 Request Header Fields Too Large", "request too large");

/// Reads a request from the front of `input`; `None`: it is not all there yet.
pub(crate) fn parse(input: &[u8], rules: Rules<'_>) -> Result<Option<Upgrade>, Rejected> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let consumed = match request.parse(input) {
        Ok(Status::Complete(consumed)) => consumed,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
        Err(_) => return Err(MALFORMED),
    };
    if request.path != Some(rules.path) {
        return Err(NOT_FOUND);
    }
    if request.method != Some("GET") {
        return Err(METHOD);
    }
    let is =
        |name, value: &str| tokens(&request, name).any(|token| token.eq_ignore_ascii_case(value));
    if !is("upgrade", "websocket") || !is("connection", "upgrade") {
        return Err(NO_UPGRADE);
    }
    if field(&request, "sec-websocket-version") != Some("13") {
        return Err(VERSION);
    }
    // Browsers always say where a page is from: a client that does not is none.
    let mut origins = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("origin"));
    if !origins.all(|origin| rules.allow_origin(origin.value)) {
        return Err(FORBIDDEN);
    }
    let key = field(&request, "sec-websocket-key").filter(|key| !key.is_empty());
    let accept = derive_accept_key(key.ok_or(NO_KEY)?.as_bytes());
    Ok(Some(Upgrade {
        consumed,
        cookie: field(&request, "cookie").unwrap_or_default().to_owned(),
        response: format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .into_bytes(),
    }))
}

fn field<'a>(request: &Request<'_, 'a>, name: &str) -> Option<&'a str> {
    let header = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(std::str::from_utf8(header.value).ok()?.trim())
}

/// The comma-separated tokens of every field of that name.
fn tokens<'a>(request: &'a Request<'_, 'a>, name: &'a str) -> impl Iterator<Item = &'a str> {
    request
        .headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .filter_map(|header| std::str::from_utf8(header.value).ok())
        .flat_map(|value| value.split(',').map(str::trim))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules<'_> = Rules {
        path: "/sub",
        allowed_origins: &[],
    };
    const GOOD: &str = "GET /sub HTTP/1.1\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: sid=1\r\n\r\n";

    fn rejected(request: &str) -> String {
        match parse(request.as_bytes(), RULES) {
            Err(rejected) => String::from_utf8(rejected.response()).expect("text"),
            Ok(other) => panic!("not rejected: {other:?}"),
        }
    }

    #[test]
    fn goims_handshake_is_answered_byte_for_byte() {
        let upgrade = parse(GOOD.as_bytes(), RULES).expect("good").expect("whole");
        let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

        assert_eq!(upgrade.response, expected.as_bytes());
        assert_eq!(upgrade.cookie, "sid=1");
        assert_eq!(upgrade.consumed, GOOD.len());
    }

    #[test]
    fn bare_line_feeds_are_accepted() {
        let request = GOOD.replace("\r\n", "\n");
        assert!(parse(request.as_bytes(), RULES).expect("good").is_some());
    }

    #[test]
    fn a_request_in_pieces_is_waited_for() {
        for end in 0..GOOD.len() {
            assert_eq!(parse(&GOOD.as_bytes()[..end], RULES), Ok(None), "at {end}");
        }
    }

    #[test]
    fn each_fault_is_named() {
        let cases = [
            (GOOD.replace("/sub", "/sub?x=1"), "404 "),
            (GOOD.replace("/sub", "/sub/"), "404 "),
            (GOOD.replace("GET", "POST"), "405 "),
            (GOOD.replace("WebSocket", "h2c"), "426 "),
            (GOOD.replace(": 13", ": 8"), "426 "),
            (GOOD.replace("dGhlIHNhbXBsZSBub25jZQ==", ""), "400 "),
            ("\u{1}\r\n\r\n".to_owned(), "400 "),
            (
                format!("GET /sub HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65)),
                "431 ",
            ),
        ];
        for (request, status) in cases {
            let response = rejected(&request);
            assert!(
                response.starts_with(&format!("HTTP/1.1 {status}")),
                "{response}"
            );
        }
    }

    #[test]
    fn pages_connect_from_listed_origins_only_and_other_clients_from_anywhere() {
        let allowed = ["https://a.example".to_owned()];
        let rules = Rules {
            allowed_origins: &allowed,
            ..RULES
        };
        let with = |origin: &str| GOOD.replace("Cookie", &format!("Origin: {origin}\r\nCookie"));

        assert!(parse(with("https://a.example").as_bytes(), rules).is_ok());
        assert_eq!(
            parse(with("https://b.example").as_bytes(), rules),
            Err(FORBIDDEN)
        );
        assert_eq!(parse(with("null").as_bytes(), rules), Err(FORBIDDEN));
        assert_eq!(parse(with("").as_bytes(), rules), Err(FORBIDDEN));
        assert!(parse(GOOD.as_bytes(), rules).is_ok(), "no browser sent it");
    }
}
