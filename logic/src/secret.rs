//! Secrets, kept out of logs.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// A secret read from a file. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    /// The file's content without white space at its end, which editors add.
    pub(crate) fn read(file: &Path) -> io::Result<Self> {
        let mut bytes = fs::read(file)?;
        bytes.truncate(bytes.trim_ascii_end().len());
        Ok(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_end_in_a_newline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "s3cret\r\n").unwrap();

        assert_eq!(Secret::read(file.path()).unwrap().bytes(), b"s3cret");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret(b"visible".to_vec())), "Secret");
    }
}
