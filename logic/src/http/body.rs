//! Reads a request body up to a limit.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::Pin;

use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use bytes::{Bytes, BytesMut};
use hyper::body::Body;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("request body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("request body broke off: {0}")]
    Broken(String),
}

/// Up to so many bytes are copied out of what was read from the connection, which
/// would otherwise have to get a new buffer of thousands.
const COPIED_BYTES_MAX: usize = 1024;

/// The most that is read of a body that nobody wants.
const PASSED_OVER_BYTES_MAX: usize = 16 << 20;

/// Reads the whole body; a large one that came in one piece is not copied.
pub(super) async fn read<B>(body: &mut B, bytes_max: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let too_large = BodyError::TooLarge(bytes_max);
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large);
    }
    let Some(first) = next(body).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > bytes_max {
        return Err(too_large);
    }
    let Some(second) = next(body).await? else {
        return Ok(if first.len() <= COPIED_BYTES_MAX {
            Bytes::copy_from_slice(&first)
        } else {
            first
        });
    };
    let mut whole = BytesMut::from(first);
    let mut piece = Some(second);
    while let Some(bytes) = piece {
        if bytes.len() > bytes_max - whole.len() {
            return Err(too_large);
        }
        whole.extend_from_slice(&bytes);
        piece = next(body).await?;
    }
    Ok(whole.freeze())
}

/// Reads on to the end of a body that nobody wants. Who sends it may look for the
/// answer only then, and a connection that is closed with something unread is
/// reset, which takes the answer back.
pub(super) async fn pass_over<B>(headers: &HeaderMap, body: &mut B)
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    // Asked for, it would come; not asked for, it does not.
    if headers.contains_key(EXPECT) {
        return;
    }
    let mut left = PASSED_OVER_BYTES_MAX;
    while let Ok(Some(bytes)) = next(body).await {
        let Some(rest) = left.checked_sub(bytes.len()) else {
            return;
        };
        left = rest;
    }
}

/// The next piece of data; trailers are skipped.
async fn next<B>(body: &mut B) -> Result<Option<Bytes>, BodyError>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    loop {
        if body.is_end_stream() {
            return Ok(None);
        }
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            Some(Err(error)) => return Err(BodyError::Broken(error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tokio_stream as stream;

    use super::*;

    fn pieces(pieces: &[&'static str]) -> Body {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece.as_bytes())))
            .collect();
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn pieces_are_joined() {
        assert_eq!(
            read(&mut pieces(&["ab", "c", "def"]), 6).await.unwrap(),
            "abcdef"
        );
        assert_eq!(read(&mut pieces(&[]), 0).await.unwrap(), "");
        assert_eq!(read(&mut Body::empty(), 0).await.unwrap(), "");
        assert_eq!(read(&mut Body::from("abc"), 3).await.unwrap(), "abc");
    }

    #[tokio::test]
    async fn a_byte_too_many_is_refused() {
        for mut body in [pieces(&["abcd"]), pieces(&["ab", "cd"]), Body::from("abcd")] {
            let read = read(&mut body, 3).await;
            assert!(matches!(read, Err(BodyError::TooLarge(3))));
        }
    }

    #[tokio::test]
    async fn a_broken_body_is_an_error() {
        let mut broken = Body::from_stream(stream::iter([
            Ok(Bytes::from_static(b"a")),
            Err(std::io::Error::other("gone")),
        ]));

        assert!(matches!(
            read(&mut broken, 3).await,
            Err(BodyError::Broken(_))
        ));
    }
}
