//! The terminal of stderr, shared by the progress bars and the logs.

use std::{
    io::{self, IsTerminal as _},
    sync::Mutex,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::termios::tcgetwinsize;

use crate::sync::locked;

/// The default columns and rows, for a terminal that does not report them.
const SIZE: (usize, usize) = (80, 24);

/// The currently drawn lines, for other writers to the same terminal.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Whether stderr is a terminal that supports redrawing lines, and plain text was not requested.
#[must_use]
pub fn can_draw() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    io::stderr().is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

/// Writes to the terminal above the drawn lines.
pub fn suspend<T>(write: impl FnOnce() -> T) -> T {
    let drawn = locked(&DRAWN).clone();
    match drawn {
        Some(lines) => lines.suspend(write),
        None => write(),
    }
}

/// Lines that are redrawn on stderr. Erased on drop, so that the report takes their place.
pub struct Lines(ProgressBar);

impl Lines {
    /// Starts without drawing anything.
    #[must_use]
    pub fn begin() -> Self {
        let lines = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        lines.set_style(
            ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        *locked(&DRAWN) = Some(lines.clone());
        Self(lines)
    }

    /// Replaces the drawn lines.
    pub fn draw(&self, text: String) {
        self.0.set_message(text);
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        *locked(&DRAWN) = None;
        self.0.finish_and_clear();
    }
}

/// The columns and rows of the terminal.
#[must_use]
pub fn size() -> (usize, usize) {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => SIZE,
    }
}
