//! Hostile texts for tests, generated from a seed, and the check for safe output.

use fastrand::Rng;

/// The pieces of the texts, with their effects when displayed unescaped.
const PIECES: [&str; 40] = [
    "a",
    "model.safetensors",
    " ",
    "größe",
    "模型",
    "🤗",
    "❤\u{fe0f}",
    "e\u{301}",
    "\n", // forges a line
    "\r", // writes over one
    "\t",
    "\0",
    "\u{7}",
    "\u{8}\u{8}\u{8}", // takes back what was written
    "\u{1b}[31m",      // colours
    "\u{1b}]0;t\u{7}", // names the window
    "\u{1b}[2J",       // wipes
    "\u{7f}",
    "\u{85}",
    "\u{9b}31m", // the same in one byte of C1
    "\u{202e}",  // turns
    "\u{202a}\u{202c}",
    "\u{2066}\u{2069}",
    "\u{200e}\u{200f}\u{61c}",
    "\u{200b}", // hides
    "\u{200c}\u{200d}",
    "\u{2060}\u{2063}",
    "\u{feff}",
    "\u{ad}",
    "\u{e0041}\u{e007f}",
    "\u{fe01}\u{e0100}",
    "\u{fff9}\u{fffb}",
    "\u{2028}\u{2029}",
    "\u{e000}\u{10fffd}", // private
    "\u{378}\u{ffff}",    // not assigned
    "\u{115f}\u{3164}\u{2800}",
    "\u{a0}\u{2003}",
    "z\u{336}\u{336}\u{336}\u{336}\u{336}\u{336}\u{336}\u{336}",
    "\\u{202e}",
    "\"'`$(x)",
];

/// Hostile texts with their numbers. The number is the seed, so that each can be reproduced alone.
pub fn nasty(cases: u64) -> impl Iterator<Item = (u64, String)> {
    (0..cases).map(|case| {
        let mut rng = Rng::with_seed(case);
        let pieces = if case % 50 == 49 { 3_000 } else { rng.usize(1..12) };
        let mut text = String::new();
        for _ in 0..pieces {
            // Any character at all, in addition to known bad ones.
            if rng.u8(0..8) == 0 {
                text.push(rng.char(..));
            } else {
                text.push_str(PIECES[rng.usize(..PIECES.len())]);
            }
        }
        (case, text)
    })
}

/// Asserts that a text is one line of at most `most` characters without unsafe ones, by an independent list of ranges.
#[track_caller]
pub fn assert_safe(shown: &str, most: usize, case: u64) {
    assert!(shown.chars().count() <= most, "case {case} is longer than {most}: {shown:?}");
    let mut before = None;
    for c in shown.chars() {
        let dangerous = matches!(c,
            '\0'..='\u{1f}' | '\u{7f}'..='\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}'
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}'
            | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}' | '\u{fffe}' | '\u{ffff}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..);
        assert!(!dangerous, "case {case} shows {c:?}: {shown:?}");
        let varied = matches!(c, '\u{fe0e}' | '\u{fe0f}');
        assert!(!varied || before.is_some_and(|b| b >= '\u{a9}'), "case {case} varies {before:?}: {shown:?}");
        before = Some(c);
    }
}
