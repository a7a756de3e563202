//! From claims and wishes to an identity.

use std::time::Duration;

use halley_wire::auth::AuthBody;
use serde::Deserialize;
use serde_json::{Number, Value};

use super::super::grant::Allowed;
use super::super::{AuthError, Identity, Key};
use crate::config::JwtConfig;

/// The claims that matter here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Claims {
    mid: Option<i64>,
    sub: Option<Value>,
    key: Option<String>,
    room_id: Option<String>,
    rooms: Option<Vec<String>>,
    accepts: Option<Vec<i32>>,
    ops: Option<Vec<i32>>,
    exp: Option<Number>,
}

impl Claims {
    /// Grants the `wishes` as far as the claims allow them.
    pub(super) fn identity(
        self,
        wishes: &AuthBody,
        config: &JwtConfig,
    ) -> Result<Identity, AuthError> {
        let mid = self.mid();
        let key = match self.key {
            Some(key) if !key.is_empty() => Key::Given(key),
            // Strangers have no name in common under which to wish.
            _ if mid <= 0 || wishes.key.is_empty() => Key::Fresh(format!("{}:", mid.max(0))),
            _ => Key::Given(format!("{mid}:{}", wishes.key)),
        };
        let mut allowed = Allowed {
            rooms: self.rooms,
            ops: self.ops,
            expires_ms: self
                .exp
                .as_ref()
                .map_or(0, |exp| expires_ms(exp, config.leeway)),
        };
        let claimed_room = self.room_id.unwrap_or_default();
        if !claimed_room.is_empty() {
            allowed.add_room(&claimed_room);
        }
        let room_id = match &*wishes.room_id {
            "" => claimed_room,
            wish if allowed.room(wish) => wish.to_owned(),
            _ => return Err(AuthError::Refused("room is not allowed")),
        };
        let mut accepts = if wishes.accepts.is_empty() {
            self.accepts.unwrap_or_default()
        } else {
            wishes.accepts.clone()
        };
        accepts.retain(|&op| allowed.op(op));
        Ok(Identity {
            mid,
            key,
            room_id,
            accepts,
            grant: allowed.into_grant(),
        })
    }

    /// The user; 0 when the claims name none by number.
    fn mid(&self) -> i64 {
        let of_sub = || match self.sub.as_ref()? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        self.mid.or_else(of_sub).unwrap_or(0)
    }
}

/// The end of a connection whose token expires at `exp`, in Unix milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float saturates, and a year beyond 2 million is never"
)]
fn expires_ms(exp: &Number, leeway: Duration) -> i64 {
    let expires_s = exp.as_f64().unwrap_or(0.0) + leeway.as_secs_f64();
    // 0 would mean never.
    ((expires_s * 1000.0) as i64).max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn identity(claims: Value, wishes: &Value) -> Result<Identity, AuthError> {
        let claims: Claims = serde_json::from_value(claims).unwrap();
        let wishes = AuthBody::parse(wishes.to_string().as_bytes()).unwrap();
        claims.identity(&wishes, &JwtConfig::default())
    }

    #[test]
    fn the_user_is_the_mid_or_a_numeric_sub() {
        for (claims, mid) in [
            (json!({"mid": 7, "sub": "8"}), 7),
            (json!({"sub": "8"}), 8),
            (json!({"sub": 9}), 9),
            (json!({"sub": "alice"}), 0),
            (json!({}), 0),
        ] {
            let identity = identity(claims, &json!({"mid": 99})).unwrap();
            assert_eq!(identity.mid, mid);
        }
    }

    #[test]
    fn the_key_of_the_claims_stands_above_the_wish() {
        let identity = identity(json!({"mid": 7, "key": "phone"}), &json!({"key": "x"})).unwrap();

        assert_eq!(identity.key, Key::Given("phone".to_owned()));
    }

    #[test]
    fn a_wished_key_is_of_the_users_own() {
        let given = identity(json!({"mid": 7}), &json!({"key": "8:phone"})).unwrap();
        let fresh = identity(json!({"mid": 7}), &json!({})).unwrap();

        assert_eq!(given.key, Key::Given("7:8:phone".to_owned()));
        assert_eq!(fresh.key, Key::Fresh("7:".to_owned()));
        assert!(fresh.key.into_name(None).starts_with("7:"));
    }

    #[test]
    fn strangers_cannot_wish_each_others_key() {
        for claims in [json!({}), json!({"mid": 0}), json!({"mid": -7})] {
            let identity = identity(claims, &json!({"key": "k"})).unwrap();
            assert_eq!(identity.key, Key::Fresh("0:".to_owned()));
        }
    }

    #[test]
    fn a_wished_room_must_be_allowed() {
        let claims = json!({"rooms": ["live://*"], "room_id": "chat://1"});
        let room = |wish| identity(claims.clone(), &json!({"room_id": wish}));

        assert_eq!(room("").unwrap().room_id, "chat://1");
        assert_eq!(room("live://7").unwrap().room_id, "live://7");
        assert_eq!(room("chat://1").unwrap().room_id, "chat://1");
        assert_eq!(
            room("chat://2"),
            Err(AuthError::Refused("room is not allowed"))
        );
        let grant = room("").unwrap().grant.unwrap();
        assert_eq!(grant.rooms, ["live://*", "chat://1"]);
    }

    #[test]
    fn wished_operations_are_cut_to_the_allowed() {
        let claims = json!({"ops": [1000, 1001], "accepts": [1001, 1002]});
        let accepts = |wish: Value| {
            identity(claims.clone(), &json!({"accepts": wish}))
                .unwrap()
                .accepts
        };

        assert_eq!(accepts(json!([1000, 1003])), [1000]);
        assert_eq!(accepts(json!([])), [1001]);
    }

    #[test]
    fn the_connection_ends_with_the_token_and_the_leeway() {
        let expires_ms = |exp| {
            let identity = identity(json!({"exp": exp}), &json!({})).unwrap();
            identity.grant.unwrap().expires_ms
        };

        assert_eq!(expires_ms(json!(1_000)), 1_005_000);
        assert_eq!(expires_ms(json!(1_000.5)), 1_005_500);
        assert_eq!(expires_ms(json!(-9_000)), 1);
        assert_eq!(expires_ms(json!(1e300)), i64::MAX);
    }

    #[test]
    fn claims_without_restrictions_are_no_grant() {
        assert_eq!(identity(json!({"mid": 1}), &json!({})).unwrap().grant, None);
    }
}
