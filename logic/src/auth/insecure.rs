//! goim's own way: the login's JSON is believed.

use halley_wire::auth::AuthBody;

use super::{AuthError, Credentials, Identity, Key};

pub(super) fn authenticate(credentials: Credentials<'_>) -> Result<Identity, AuthError> {
    let body =
        AuthBody::parse(credentials.token).map_err(|_| AuthError::Malformed("not goim's json"))?;
    Ok(Identity {
        mid: body.mid,
        key: if body.key.is_empty() {
            Key::Fresh(String::new())
        } else {
            Key::Given(body.key)
        },
        room_id: body.room_id,
        accepts: body.accepts,
        grant: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(token: &str) -> Result<Identity, AuthError> {
        authenticate(Credentials {
            server: "comet-1",
            cookie: "",
            token: token.as_bytes(),
        })
    }

    #[test]
    fn what_the_client_says_is_believed() {
        let identity =
            login(r#"{"mid":7,"key":"k","room_id":"live://1","accepts":[1,2]}"#).unwrap();

        assert_eq!(
            identity,
            Identity {
                mid: 7,
                key: Key::Given("k".to_owned()),
                room_id: "live://1".to_owned(),
                accepts: vec![1, 2],
                grant: None,
            }
        );
    }

    #[test]
    fn a_client_without_a_key_gets_one_of_its_own() {
        let [one, other] = [0, 1].map(|_| login(r#"{"mid":7}"#).unwrap().key.into_name(None));

        assert_ne!(one, other);
        let uuid = uuid::Uuid::parse_str(&one).unwrap();
        assert_eq!(uuid.get_version_num(), 4);
    }

    #[test]
    fn what_goim_refuses_is_refused() {
        for token in ["", "x", r#"{"mid":"7"}"#] {
            assert!(
                matches!(login(token), Err(AuthError::Malformed(_))),
                "{token}"
            );
        }
    }
}
