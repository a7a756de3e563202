//! The operations that a connection takes pushes of.

/// A small sorted set; empty, it holds no memory.
///
/// Boxed although a vector owns its memory already: most connections have few
/// operations or none, and one word is all that each then pays.
#[allow(clippy::box_collection)]
#[derive(Clone, Debug, Default)]
pub struct Accepts(Option<Box<Vec<i32>>>);

impl Accepts {
    /// Whether pushes of `op` reach the connection.
    pub fn contains(&self, op: i32) -> bool {
        self.0
            .as_ref()
            .is_some_and(|ops| ops.binary_search(&op).is_ok())
    }

    /// Adds operations up to `ops_max` in all; `false` if some did not fit.
    pub fn add(&mut self, added: impl IntoIterator<Item = i32>, ops_max: usize) -> bool {
        let mut fits = true;
        for op in added {
            let ops = self.0.get_or_insert_default();
            if let Err(at) = ops.binary_search(&op) {
                if ops.len() >= ops_max {
                    fits = false;
                    break;
                }
                ops.insert(at, op);
            }
        }
        self.shrink();
        fits
    }

    /// Takes operations out.
    pub fn remove(&mut self, removed: impl IntoIterator<Item = i32>) {
        let Some(ops) = self.0.as_mut() else {
            return;
        };
        for op in removed {
            if let Ok(at) = ops.binary_search(&op) {
                ops.remove(at);
            }
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        match self.0.as_mut() {
            Some(ops) if ops.is_empty() => self.0 = None,
            Some(ops) => ops.shrink_to_fit(),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_as_a_set() {
        let mut accepts = Accepts::default();

        assert!(accepts.add([3, 1, 3, -2], 8));
        accepts.remove([1, 9]);

        assert!(accepts.contains(3) && accepts.contains(-2));
        assert!(!accepts.contains(1));
        accepts.remove([3, -2]);
        assert!(accepts.0.is_none(), "an empty set holds memory");
    }

    #[test]
    fn s8_a_full_set_takes_no_more() {
        let mut accepts = Accepts::default();

        assert!(!accepts.add(0..10, 4));
        assert!(accepts.contains(3) && !accepts.contains(4));
    }
}
