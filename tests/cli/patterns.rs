//! Compares pattern matching with the official client, for thousands of generated cases.

use modelcache::hub::{InvalidPattern, Patterns};
use serde_json::json;

use crate::official::{ask, chance, text};

/// The pieces of patterns, mostly special characters.
const PATTERN: &[&str] = &[
    "*", "*", "?", "[", "]", "[!", "[]", "[!]", "[a-c]", "[!a-c]", "[c-a]", "[--0]", "[a-c-e]", "[]-a]",
    "[!]-]", "[^a]", "**", "**/", "/", "\\", "!", "-", "^", "a", "b", "c", "z", ".", ".json", "model", "ü",
    "🤗", "&&", "||", "~~", "{a,b}", "$", "(", ")", "|", "+", " ", "A",
];
/// The pieces of names.
const NAME: &[&str] = &[
    "a", "b", "c", "d", "z", "A", "/", "/", ".", "-", "[", "]", "!", "^", "&", "|", "~", "ü", "🤗", "model",
    ".json", "*", "?", " ", "{", "$", "(", "+", ",",
];

#[test]
fn patterns_select_what_the_official_client_selects() {
    let mut chance = chance("patterns");
    let mut cases = Vec::new();
    let mut refused = 0;
    while cases.len() < 6000 {
        let mut list = |longest: usize| -> Vec<String> {
            let length = chance.usize(..=longest);
            (0..length).map(|_| text(&mut chance, PATTERN, 6)).collect()
        };
        let (include, exclude) = (list(3), list(2));
        let mut names: Vec<_> = (0..8).map(|_| text(&mut chance, NAME, 6)).collect();
        // Names similar to a pattern: few of the longer ones match by chance.
        names.extend(include.iter().chain(&exclude).map(|pattern| pattern.replace(['*', '!', '\\'], "a")));
        match Patterns::parse(&include, &exclude) {
            Ok(ours) => cases.push((ours, json!({ "include": include, "exclude": exclude, "names": names }))),
            // The client accepts an empty pattern, which matches only an empty name.
            Err(error) => {
                assert_eq!(error, InvalidPattern::Empty);
                assert!(include.iter().chain(&exclude).any(String::is_empty));
                refused += 1;
            }
        }
    }
    let questions: Vec<_> = cases.iter().map(|(_, question)| question.clone()).collect();
    let (mut yes, mut no) = (0, 0);
    for ((ours, question), theirs) in cases.iter().zip(ask("patterns", &questions)) {
        for (name, theirs) in question["names"].as_array().unwrap().iter().zip(theirs.as_array().unwrap()) {
            let name = name.as_str().unwrap();
            assert_eq!(ours.matches(name), theirs.as_bool().unwrap(), "{name:?} of {question}");
            *if ours.matches(name) { &mut yes } else { &mut no } += 1;
        }
    }
    println!("{yes} selected, {no} not; {refused} cases refused");
    assert!(yes > 5000 && no > 5000 && refused > 0);
}

#[test]
fn patterns_that_only_the_client_accepts_are_rejected() {
    let none = [""; 0];
    assert!(matches!(Patterns::parse(["a\nb"], none), Err(InvalidPattern::Control("include", 1))));
    assert!(matches!(Patterns::parse(none, ["a".repeat(257)]), Err(InvalidPattern::TooLong("exclude", 1))));
    assert!(matches!(Patterns::parse(vec!["a"; 65], none), Err(InvalidPattern::TooMany(65))));
}
