//! How a stream arrives.

/// The ends of what has arrived after each read of `chunk_bytes` bytes. The last
/// one is the end of the stream.
pub(crate) fn ends(stream_bytes: usize, chunk_bytes: usize) -> impl Iterator<Item = usize> {
    (0..stream_bytes)
        .step_by(chunk_bytes.max(1))
        .skip(1)
        .chain([stream_bytes])
}

#[cfg(test)]
mod tests {
    use super::ends;

    #[test]
    fn everything_arrives() {
        assert_eq!(ends(0, 3).collect::<Vec<_>>(), [0]);
        assert_eq!(ends(3, 0).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(ends(6, 3).collect::<Vec<_>>(), [3, 6]);
        assert_eq!(ends(7, 3).collect::<Vec<_>>(), [3, 6, 7]);
        assert_eq!(ends(7, 100).collect::<Vec<_>>(), [7]);
    }
}
