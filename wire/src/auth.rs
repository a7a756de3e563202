//! The body of a login packet, read by the rules of Go's `encoding/json`.

use std::fmt;

use serde::Serialize;

mod json;

/// What a client says about itself at login.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct AuthBody {
    /// The user; 0 or below is anonymous.
    pub mid: i64,
    /// The name of the connection; empty lets the server choose one.
    pub key: String,
    /// The first room, in full; empty for none.
    pub room_id: String,
    /// Free text.
    pub platform: String,
    /// Operations to accept.
    pub accepts: Vec<i32>,
    /// Halley's addition: proof of who the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// A login body that goim would refuse. The client is at fault; the text never
/// repeats what it sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Empty, or not JSON.
    #[error("login body is not json")]
    Syntax(#[source] serde_json::Error),
    /// JSON, but neither an object nor `null`.
    #[error("login body is not an object")]
    NotAnObject,
    /// A field of the wrong type or out of range.
    #[error("login field {0} has the wrong type")]
    Field(&'static str),
}

impl AuthBody {
    /// Reads a login body.
    ///
    /// Names are compared without regard to case, unknown ones are skipped, `null`
    /// leaves a default, and of equal names the last one counts. As goim knows no
    /// `token`, one that is not a string counts as none.
    pub fn parse(body: &[u8]) -> Result<Self, AuthError> {
        json::parse(body)
    }

    /// Writes a login body.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("invariant: strings and integers are always json")
    }
}

/// Leaves out the token, which is a secret.
impl fmt::Debug for AuthBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthBody")
            .field("mid", &self.mid)
            .field("key", &self.key)
            .field("room_id", &self.room_id)
            .field("platform", &self.platform)
            .field("accepts", &self.accepts)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .finish()
    }
}
