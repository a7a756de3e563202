//! Runs every input of the committed corpora. A target without one fails: its
//! inputs would otherwise be lost unnoticed.

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let entries =
        fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut inputs = 0;
    for entry in entries {
        let path = entry.expect("list the corpus").path();
        // Shown only if the check below fails.
        println!("{}", path.display());
        check(&fs::read(&path).expect("read an input"));
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", corpus.display());
}

#[test]
fn http_api() {
    replay("http_api", halley_fuzz::http_api);
}

#[test]
fn session() {
    replay("session", halley_fuzz::session);
}

#[test]
fn tcp_decoder() {
    replay("tcp_decoder", halley_fuzz::tcp_decoder);
}

#[test]
fn websocket() {
    replay("websocket", halley_fuzz::websocket);
}
