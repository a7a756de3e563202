//! Lists of operations in subscribe and unsubscribe packets: decimal numbers
//! separated by commas, without spaces.

use std::fmt::Write;

/// Reads a list; `None` if any item of it is not a decimal `i32`, in which case
/// nothing of the list applies. An empty body is an empty list.
pub fn parse(body: &[u8]) -> Option<Vec<i32>> {
    if body.is_empty() {
        return Some(Vec::new());
    }
    let list = std::str::from_utf8(body).ok()?;
    list.split(',').map(|item| item.parse().ok()).collect()
}

/// Writes a list.
pub fn format(ops: &[i32]) -> String {
    let mut list = String::new();
    for (index, op) in ops.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        write!(list, "{separator}{op}").expect("invariant: writing to a string does not fail");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        assert_eq!(parse(b""), Some(vec![]));
        assert_eq!(parse(b"1003"), Some(vec![1003]));
        assert_eq!(parse(b"1003,-4,+5,007"), Some(vec![1003, -4, 5, 7]));
        assert_eq!(
            parse(b"2147483647,-2147483648"),
            Some(vec![i32::MAX, i32::MIN])
        );
    }

    #[test]
    fn one_bad_item_spoils_the_list() {
        let lists: [&[u8]; 12] = [
            b",",
            b"1,",
            b",1",
            b"1,,2",
            b"1, 2",
            b" 1",
            b"1;2",
            b"0x10",
            b"1_0",
            b"2147483648",
            b"1.0",
            b"\xff",
        ];
        for list in lists {
            assert_eq!(parse(list), None, "{:?}", String::from_utf8_lossy(list));
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for list in [vec![], vec![7], vec![1003, -4, i32::MIN]] {
            assert_eq!(parse(format(&list).as_bytes()), Some(list));
        }
    }
}
