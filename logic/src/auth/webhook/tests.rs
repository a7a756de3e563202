use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;
use crate::testing::{Measured, PATIENCE, Received, Reply, Server};

const IDENTITY: &str = r#"{"mid":7,"key":"k"}"#;

fn webhook(url: &str, change: impl FnOnce(&mut WebhookConfig)) -> (Webhook, Measured) {
    let mut config = WebhookConfig {
        url: url.to_owned(),
        timeout: PATIENCE,
        retries_max: 0,
        ..WebhookConfig::default()
    };
    config.backoff.min = Duration::from_millis(1);
    config.backoff.max = Duration::from_millis(1);
    change(&mut config);
    let measured = Measured::new();
    let webhook = Webhook::new(&config, Arc::clone(&measured.metrics)).unwrap();
    (webhook, measured)
}

async fn login(webhook: &Webhook, token: &str) -> Result<Identity, AuthError> {
    let credentials = Credentials {
        server: "comet-1",
        cookie: "a=b",
        token: token.as_bytes(),
    };
    timeout(PATIENCE, webhook.authenticate(credentials))
        .await
        .expect("an answer in time")
}

async fn answering(status: u16, body: &'static str) -> Server {
    Server::start(move |_, _| Reply::Answer(status, body.to_owned())).await
}

fn attempts(measured: &Measured, outcome: &str) -> u64 {
    measured.value(&format!(
        "halley_logic_auth_webhook_attempts_total{{outcome=\"{outcome}\"}}"
    ))
}

#[tokio::test]
async fn the_service_says_who_the_client_is() {
    let server = answering(
        200,
        r#"{"mid":7,"key":"k","room_id":"chat://1","accepts":[1,2],"rooms":["live://*"],
            "ops":[1],"expires_ms":5,"unknown":true}"#,
    )
    .await;
    let (webhook, _) = webhook(&server.url, |_| {});

    let identity = login(&webhook, "to\u{0}ken").await.unwrap();

    assert_eq!(identity.mid, 7);
    assert_eq!(identity.key, Key::Given("k".to_owned()));
    assert_eq!(identity.room_id, "chat://1");
    assert_eq!(identity.accepts, [1]);
    let grant = identity.grant.unwrap();
    assert_eq!(grant.rooms, ["live://*", "chat://1"]);
    assert_eq!(grant.ops, [1]);
    assert_eq!(grant.expires_ms, 5);
    let Received { headers, body } = &server.received()[0];
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(
        serde_json::from_slice::<Value>(body).unwrap(),
        json!({"server": "comet-1", "token": "dG8Aa2Vu", "cookie": "a=b"})
    );
}

#[tokio::test]
async fn a_refusal_is_final_and_remembered_shortly() {
    for status in [400, 401, 403, 404] {
        let server = answering(status, "").await;
        let (webhook, measured) = webhook(&server.url, |config| {
            config.retries_max = 3;
            config.refusal_ttl = PATIENCE;
        });

        for _ in 0..3 {
            let refused = login(&webhook, "token").await;
            assert!(matches!(refused, Err(AuthError::Refused(_))), "{status}");
        }
        assert_eq!(server.received().len(), 1);
        assert_eq!(attempts(&measured, "refused"), 1);
    }
}

#[tokio::test]
async fn server_errors_are_tried_again_within_the_limit() {
    let server = Server::start(|index, _| {
        if index < 2 {
            Reply::Answer(503, String::new())
        } else {
            Reply::Answer(200, IDENTITY.to_owned())
        }
    })
    .await;
    let (patient, measured) = webhook(&server.url, |config| config.retries_max = 2);
    assert_eq!(login(&patient, "token").await.unwrap().mid, 7);
    assert_eq!(attempts(&measured, "failed"), 2);
    assert_eq!(attempts(&measured, "accepted"), 1);

    let server = answering(500, "").await;
    let (hasty, _) = webhook(&server.url, |config| config.retries_max = 1);
    assert!(matches!(
        login(&hasty, "token").await,
        Err(AuthError::Unavailable(_))
    ));
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn too_late_and_too_many_are_no_refusals_and_not_tried_again() {
    for status in [408, 429] {
        let server = answering(status, "").await;
        let (webhook, measured) = webhook(&server.url, |config| {
            config.retries_max = 3;
            config.refusal_ttl = PATIENCE;
        });

        for _ in 0..2 {
            let failed = login(&webhook, "token").await;
            assert!(matches!(failed, Err(AuthError::Unavailable(_))), "{status}");
        }
        assert_eq!(server.received().len(), 2, "asked anew, and once each");
        assert_eq!(attempts(&measured, "failed"), 2);
    }
}

#[tokio::test]
async fn a_service_out_of_reach_is_tried_again() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let (webhook, measured) = webhook(&url, |config| config.retries_max = 2);

    assert_eq!(
        login(&webhook, "token").await,
        Err(AuthError::Unavailable("service cannot be reached"))
    );
    assert_eq!(attempts(&measured, "unreachable"), 3);
}

#[tokio::test]
async fn further_attempts_have_a_budget() {
    let server = answering(500, "").await;
    let (webhook, _) = webhook(&server.url, |config| {
        config.retries_max = 1;
        config.retry_percent_max = 0;
        config.retries_min = 2;
    });

    for token in ["1", "2", "3", "4", "5"] {
        assert!(login(&webhook, token).await.is_err());
    }

    assert_eq!(server.received().len(), 5 + 2);
}

#[tokio::test]
async fn a_silent_service_is_given_up_after_one_deadline() {
    let server = Server::start(|_, _| Reply::Silence).await;
    let (webhook, measured) = webhook(&server.url, |config| {
        config.timeout = Duration::from_millis(100);
        config.retries_max = 5;
    });

    assert_eq!(
        login(&webhook, "token").await,
        Err(AuthError::Unavailable("service does not answer in time"))
    );
    assert_eq!(attempts(&measured, "timeout"), 1);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn failures_are_not_remembered() {
    let server = Server::start(|index, _| {
        if index == 0 {
            Reply::Answer(500, String::new())
        } else {
            Reply::Answer(200, IDENTITY.to_owned())
        }
    })
    .await;
    let (webhook, _) = webhook(&server.url, |_| {});

    assert!(login(&webhook, "token").await.is_err());
    assert!(login(&webhook, "token").await.is_ok());
}

#[tokio::test]
async fn a_failing_service_is_left_alone_and_then_tried_again() {
    let server = Server::start(|index, _| {
        if index < 2 {
            Reply::Answer(500, String::new())
        } else {
            Reply::Answer(200, IDENTITY.to_owned())
        }
    })
    .await;
    let (webhook, _) = webhook(&server.url, |config| {
        config.breaker_failures_max = 2;
        config.breaker_open = Duration::from_millis(200);
    });
    for token in ["1", "2"] {
        assert!(login(&webhook, token).await.is_err());
    }

    assert_eq!(
        login(&webhook, "3").await,
        Err(AuthError::Unavailable("service fails and is left alone"))
    );
    assert_eq!(server.received().len(), 2);
    let works_again = async {
        while login(&webhook, "4").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, works_again).await.unwrap();
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn those_who_ask_the_same_share_one_request_but_no_key() {
    let go = Arc::new(Notify::new());
    let server = {
        let go = Arc::clone(&go);
        Server::start(move |_, _| Reply::After(Arc::clone(&go), 200, r#"{"mid":7}"#.to_owned()))
            .await
    };
    // Nothing is remembered, and yet they share.
    let (webhook, _) = webhook(&server.url, |config| config.cache_ttl = Duration::ZERO);

    let (one, other, third, ()) = tokio::join!(
        login(&webhook, "token"),
        login(&webhook, "token"),
        login(&webhook, "token"),
        async {
            server.wait_for(1).await;
            go.notify_one();
        }
    );

    assert_eq!(server.received().len(), 1);
    let keys = [one, other, third].map(|identity| identity.unwrap().key.into_name(None));
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
}

#[tokio::test]
async fn identities_are_remembered_by_token_and_cookie() {
    let server = answering(200, IDENTITY).await;
    let (remembering, _) = webhook(&server.url, |config| config.cache_ttl = PATIENCE);
    let with_cookie = |cookie| Credentials {
        server: "comet-1",
        cookie,
        token: b"token",
    };

    for cookie in ["a", "a", "b", "a"] {
        remembering.authenticate(with_cookie(cookie)).await.unwrap();
    }
    assert_eq!(server.received().len(), 2);

    let server = answering(200, IDENTITY).await;
    let (forgetting, _) = webhook(&server.url, |config| config.cache_ttl = Duration::ZERO);
    for _ in 0..3 {
        forgetting.authenticate(with_cookie("a")).await.unwrap();
    }
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn an_identity_is_not_remembered_beyond_its_own_end() {
    let server = answering(200, r#"{"mid":7,"expires_ms":1}"#).await;
    let (webhook, _) = webhook(&server.url, |config| config.cache_ttl = PATIENCE);

    for _ in 0..2 {
        login(&webhook, "token").await.unwrap();
    }
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn answers_that_make_no_sense_are_failures() {
    for (status, body) in [
        (200, ""),
        (200, "[7]"),
        (200, r#"{"code":-1}"#),
        (200, r#"{"mid":"7"}"#),
        (204, ""),
    ] {
        let server = answering(status, body).await;
        let (webhook, measured) = webhook(&server.url, |config| config.retries_max = 3);

        assert_eq!(
            login(&webhook, "token").await,
            Err(AuthError::Unavailable("service gives no valid answer")),
            "{status} {body}"
        );
        assert_eq!(attempts(&measured, "invalid"), 1);
    }
}

#[tokio::test]
async fn a_large_answer_is_not_read_to_its_end() {
    let server = Server::start(|_, _| {
        let filler = "x".repeat(1000);
        Reply::Answer(200, format!(r#"{{"mid":7,"filler":"{filler}"}}"#))
    })
    .await;
    let (webhook, measured) = webhook(&server.url, |config| config.answer_bytes_max = 1000);

    assert!(login(&webhook, "token").await.is_err());
    assert_eq!(attempts(&measured, "invalid"), 1);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = answering(200, IDENTITY).await;
    let server = {
        let url = elsewhere.url.clone();
        Server::start(move |_, _| Reply::Redirect(url.clone())).await
    };
    let (webhook, _) = webhook(&server.url, |_| {});

    assert!(login(&webhook, "token").await.is_err());
    assert_eq!(elsewhere.received().len(), 0);
}

#[tokio::test]
async fn too_many_logins_at_a_time_are_refused() {
    let go = Arc::new(Notify::new());
    let server = {
        let go = Arc::clone(&go);
        Server::start(move |_, _| Reply::After(Arc::clone(&go), 200, IDENTITY.to_owned())).await
    };
    let (webhook, _) = webhook(&server.url, |config| config.concurrent_max = 1);

    let (first, ()) = tokio::join!(login(&webhook, "1"), async {
        server.wait_for(1).await;
        assert_eq!(
            login(&webhook, "2").await,
            Err(AuthError::Unavailable("too many logins at a time"))
        );
        go.notify_one();
    });
    assert!(first.is_ok());
}

#[test]
fn only_http_is_spoken() {
    for url in ["ftp://127.0.0.1/", "127.0.0.1", ""] {
        let config = WebhookConfig {
            url: url.to_owned(),
            ..WebhookConfig::default()
        };
        assert!(
            Webhook::new(&config, Measured::new().metrics).is_err(),
            "{url}"
        );
    }
}
