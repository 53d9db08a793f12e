//! Parses the next page of a listing from the `Link` header (RFC 8288). Pure.

use super::response::InvalidResponse;

/// The address of `rel="next"` in a `Link` header. An unparsable header that mentions a next page is an error: otherwise a
/// partial listing would look complete.
pub(super) fn next_link(header: &[u8]) -> Result<Option<&str>, InvalidResponse> {
    let found = std::str::from_utf8(header).map_err(|_| Unreadable).and_then(read_next_link);
    let spoken_of = || header.to_ascii_lowercase().windows(4).any(|word| word == b"next");
    match found {
        Ok(found) => Ok(found),
        Err(Unreadable) if spoken_of() => {
            Err(InvalidResponse::Wrong("its link to the next page cannot be parsed".to_owned()))
        }
        Err(Unreadable) => Ok(None),
    }
}

/// The header violates its RFC.
struct Unreadable;

fn read_next_link(header: &str) -> Result<Option<&str>, Unreadable> {
    const BETWEEN: [char; 3] = [' ', '\t', ','];
    let mut rest = header.trim_start_matches(BETWEEN);
    while !rest.is_empty() {
        let link = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let (address, after) = link.filter(|(address, _)| !address.trim().is_empty()).ok_or(Unreadable)?;
        let (mut parameters, links) = split_unquoted(after, ',').ok_or(Unreadable)?;
        while !parameters.is_empty() {
            let (parameter, more) = split_unquoted(parameters, ';').ok_or(Unreadable)?;
            if is_rel_next(parameter) {
                return Ok(Some(address));
            }
            parameters = more;
        }
        rest = links.trim_start_matches(BETWEEN);
    }
    Ok(None)
}

fn is_rel_next(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        name.trim().eq_ignore_ascii_case("rel")
            && value.trim().trim_matches('"').split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
    })
}

/// The text before and after the first `mark` outside of quotes. `None` if a quote is unterminated.
fn split_unquoted(text: &str, mark: char) -> Option<(&str, &str)> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == mark && !quoted => return Some((&text[..at], &text[at + c.len_utf8()..])),
            _ => {}
        }
    }
    (!quoted).then_some((text, ""))
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    #[test]
    fn the_next_page_is_found() {
        let next = |header: &'static str| next_link(header.as_bytes()).unwrap();
        assert_eq!(next(r#"<https://h/x?cursor=a%2Cb>; rel="next""#), Some("https://h/x?cursor=a%2Cb"));
        assert_eq!(next("<https://h/x?a=b,c;d>;rel=next"), Some("https://h/x?a=b,c;d"));
        assert_eq!(next(r#"</p>; rel="prev", </n>; title=x; REL=next"#), Some("/n"));
        assert_eq!(next(r#"</p,q>; title="a, <b>; \"c"; rel=prev , </n> ; rel="last next""#), Some("/n"));
        assert_eq!(next(r#"<https://h/next>; rel="xet-auth""#), None);
        assert_eq!(next("</p>; rel=prev, , </n>; rel=next,"), Some("/n"));
        assert_eq!(next("nonsense"), None);
        assert_eq!(next(""), None);
    }

    #[test]
    fn an_unparsable_next_page_is_an_error() {
        for header in [
            &br#"https://h/x; rel="next""#[..],
            br#"<https://h/x; rel="next""#,
            br#"<https://h/x>; rel="next"#,
            br#"<>; rel="next""#,
            br#"nonsense, <https://h/x>; rel="next""#,
            b"<https://h/\xff>; rel=\"Next\"",
        ] {
            let refused = next_link(header);
            assert!(
                matches!(&refused, Err(InvalidResponse::Wrong(what)) if what.contains("next page")),
                "{}",
                header.escape_ascii()
            );
        }
    }
}
