//! Shortens an answer about a revision while it is read: the Hub lists all files of the commit in it, of which only the number is
//! used. For a large repo that list has a hundred megabytes. Pure.

const LIST: &[u8] = b"siblings";

/// Replaces each item of the list `siblings` of an object with `0`. All else stays, and is left to the parser.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// The last string of the object itself, as far as it is needed to recognize the list.
    key: Vec<u8>,
    list: List,
}

/// Where the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum List {
    #[default]
    Outside,
    /// In the list, before its next item.
    Between,
    /// In one of its items.
    Item,
}

impl Siblings {
    /// Adds the next bytes of an answer, shortened.
    pub(super) fn shorten(&mut self, chunk: &[u8], into: &mut Vec<u8>) {
        for &byte in chunk {
            if self.is_kept(byte) {
                into.push(byte);
            } else if self.list == List::Between && !byte.is_ascii_whitespace() {
                self.list = List::Item;
                into.push(b'0');
            }
        }
    }

    /// Whether a byte stays as it is.
    fn is_kept(&mut self, byte: u8) -> bool {
        let is_within = self.list != List::Outside;
        if self.in_string {
            self.pass_string(byte);
            return !is_within;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                if self.depth == 1 {
                    self.key.clear();
                }
            }
            b'{' | b'[' => {
                if byte == b'[' && self.depth == 1 && self.key == LIST {
                    self.list = List::Between;
                }
                self.depth += 1;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth <= 1 {
                    self.list = List::Outside;
                }
            }
            b',' if is_within && self.depth == 2 => {
                self.list = List::Between;
                return true;
            }
            _ => {}
        }
        !is_within || self.list == List::Outside
    }

    fn pass_string(&mut self, byte: u8) {
        if self.is_escaped {
            self.is_escaped = false;
        } else if byte == b'\\' {
            self.is_escaped = true;
        } else if byte == b'"' {
            self.in_string = false;
            return;
        }
        // One more than the name has, so that a longer one differs.
        if self.depth == 1 && self.key.len() <= LIST.len() {
            self.key.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    /// However the bytes come.
    fn shortened(answer: &str) -> String {
        let in_chunks = |size| {
            let (mut siblings, mut kept) = (Siblings::default(), Vec::new());
            answer.as_bytes().chunks(size).for_each(|chunk| siblings.shorten(chunk, &mut kept));
            String::from_utf8(kept).unwrap()
        };
        let whole = in_chunks(answer.len().max(1));
        for size in 1..8 {
            assert_eq!(in_chunks(size), whole, "{size}");
        }
        whole
    }

    #[test]
    fn of_the_files_their_number_is_kept() {
        for (answer, expected) in [
            (
                r#"{"sha":"x","siblings":[{"rfilename":"a,]}\"\\"},{"b":[1,{}]} , "c",7],"id":"y"}"#,
                r#"{"sha":"x","siblings":[0,0,0,0],"id":"y"}"#,
            ),
            (r#"{"siblings": [ ], "id": 1}"#, r#"{"siblings": [], "id": 1}"#),
            (r#"{"siblings":null}"#, r#"{"siblings":null}"#),
        ] {
            assert_eq!(shortened(answer), expected);
        }
    }

    #[test]
    fn all_else_stays_as_it_is() {
        for answer in [
            r#"{"id":"siblings","tags":["a",{"siblings":[{"a":1}]}],"siblings_of":[1,2],"sibling":[{"a":1}]}"#,
            r#"[{"siblings":[{"a":1}]}]"#,
            "<html>[1,2]</html>",
            "",
            "]]}{[",
        ] {
            assert_eq!(shortened(answer), answer);
        }
    }
}
