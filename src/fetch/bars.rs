//! Progress for a person at a terminal: one bar for all, and one for each file that is being downloaded.

use std::{collections::HashMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Progress;

/// How often the bars move.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest path that is shown whole.
const LONGEST: usize = 36;

/// Draws bars on the terminal of stderr. Never returns; they vanish when it is dropped.
pub async fn show(progress: &Progress) {
    let bars = Bars(MultiProgress::new());
    let total =
        bars.0.add(bar(0, "{msg} {bar:30} {percent:>3} % of {total_bytes}, {bytes_per_sec}, {eta} left"));
    let mut files: HashMap<String, ProgressBar> = HashMap::new();
    loop {
        let event = progress.event();
        total.set_message(format!("{}/{} files", event.files, event.total_files));
        total.set_length(event.total_bytes);
        total.set_position(event.downloaded_bytes);
        let current = progress.current();
        files.retain(|path, bar| {
            let kept = current.iter().any(|file| file.path == *path);
            if !kept {
                bars.0.remove(bar);
            }
            kept
        });
        for file in current {
            let bar = files.entry(file.path.clone()).or_insert_with(|| {
                let bar = bar(file.size, "  {msg:36} {bar:20} {percent:>3} % of {total_bytes}");
                bars.0.add(bar.with_message(shortened(&file.path)))
            });
            bar.set_position(file.done());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The bars, wiped from the terminal in the end: the report follows in their place.
struct Bars(MultiProgress);

impl Drop for Bars {
    fn drop(&mut self) {
        // A terminal that is gone needs no wiping.
        let _ = self.0.clear();
    }
}

fn bar(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style.progress_chars("━╸ "))
}

/// The end of a long path, which tells more than its beginning.
fn shortened(path: &str) -> String {
    let length = path.chars().count();
    if length <= LONGEST {
        return path.to_owned();
    }
    let end: String = path.chars().skip(length - LONGEST + 1).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_keep_their_end() {
        assert_eq!(shortened("a/b.bin"), "a/b.bin");
        let long = format!("{}/model.bin", "ä".repeat(60));
        assert_eq!(shortened(&long).chars().count(), LONGEST);
        assert!(shortened(&long).ends_with("ä/model.bin"));
    }
}
