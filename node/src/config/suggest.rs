/// Below this, two names have nothing to do with each other.
const SIMILARITY_MIN: f64 = 0.7;

/// The name that was most likely meant by `wrong`.
pub(super) fn nearest(wrong: &str, known: &[&'static str]) -> Option<&'static str> {
    let wrong = wrong.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|name| (*name, similarity(&wrong, name)))
        .filter(|(_, similarity)| *similarity >= SIMILARITY_MIN)
        .max_by(|(_, one), (_, other)| one.total_cmp(other))
        .map(|(name, _)| name)
}

fn similarity(wrong: &str, name: &str) -> f64 {
    let similarity = strsim::jaro_winkler(wrong, name);
    // A unit or a qualifier that was left out or added: `timeout_ms`, `rate`.
    if wrong.len() > 2 && (name.contains(wrong) || wrong.contains(name)) {
        similarity.max(SIMILARITY_MIN)
    } else {
        similarity
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const KNOWN: &[&str] = &["bind", "handshake_deadline", "connections_max", "tls"];

    #[test]
    fn typing_errors_find_the_name() {
        assert_eq!(nearest("bnd", KNOWN), Some("bind"));
        assert_eq!(nearest("Bind", KNOWN), Some("bind"));
        assert_eq!(nearest("conections_max", KNOWN), Some("connections_max"));
        assert_eq!(
            nearest("handshake-deadline", KNOWN),
            Some("handshake_deadline")
        );
        assert_eq!(nearest("deadline", KNOWN), Some("handshake_deadline"));
    }

    #[test]
    fn a_foreign_name_finds_none() {
        assert_eq!(nearest("zookeeper", KNOWN), None);
        assert_eq!(nearest("x", KNOWN), None);
        assert_eq!(nearest("bind", &[]), None);
    }
}
