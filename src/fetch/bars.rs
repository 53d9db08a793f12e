//! Progress bars for a terminal: an overall line, and one for each file being downloaded.
//!
//! The lines are formatted here to the width of the terminal and only drawn by `indicatif`: its own rates would count resumed
//! bytes as downloaded, and show an unknown rate as zero.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{Current, Event, Progress};
use crate::{terminal, text, units};

/// The redraw interval.
const INTERVAL: Duration = Duration::from_millis(100);
/// The window over which the rate is averaged.
const WINDOW: Duration = Duration::from_secs(10);
/// The minimum time span of samples before a rate is shown.
const MIN_SPAN: Duration = Duration::from_millis(800);
/// The maximum number of file lines.
const MAX_FILES: usize = 10;
/// The width of `999.9 MiB`.
const SIZES: usize = 9;
/// The minimum width of a bar or of a file name.
const MIN_WIDTH: usize = 10;

/// Draws on the terminal of stderr. Never returns; the lines are erased on drop.
pub async fn show(progress: &Progress) {
    let lines = terminal::Lines::begin();
    let mut rates = Rates::default();
    loop {
        let (width, height) = terminal::size();
        let files = progress.current();
        let event = progress.event();
        let now = Instant::now();
        rates.sample(now, progress.fetched(), &files);
        lines.draw(picture(&event, &files, &rates, width, height).join("\n"));
        tokio::time::sleep(INTERVAL).await;
    }
}

/// A rate, from samples of a counter.
#[derive(Debug, Default)]
struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    fn sample(&mut self, now: Instant, done: u64) {
        // The counter was reset.
        if self.0.back().is_some_and(|(_, before)| *before > done) {
            self.0.clear();
        }
        self.0.push_back((now, done));
        while self.0.get(1).is_some_and(|(second, _)| now.duration_since(*second) >= WINDOW) {
            self.0.pop_front();
        }
    }

    /// Bytes per second. `None` before there are enough samples.
    fn per_second(&self) -> Option<u64> {
        let ((begin, before), (end, after)) = (self.0.front()?, self.0.back()?);
        let time = end.duration_since(*begin);
        (time >= MIN_SPAN && (after > before || time >= WINDOW)).then(|| {
            let millis = time.as_millis().max(1);
            u64::try_from(u128::from(after - before) * 1000 / millis).unwrap_or(u64::MAX)
        })
    }
}

/// The overall rate, and that of each file by path.
#[derive(Debug, Default)]
struct Rates {
    all: Rate,
    fetched: u64,
    files: HashMap<String, (u64, u64, Rate)>,
}

impl Rates {
    fn sample<F: AsFile>(&mut self, now: Instant, fetched: u64, files: &[F]) {
        self.all.sample(now, fetched);
        // A file cannot have downloaded more than all of them together: the rest was resumed.
        let most = fetched.saturating_sub(self.fetched);
        self.fetched = fetched;
        self.files.retain(|path, _| files.iter().any(|file| file.path() == path));
        for file in files {
            let done = file.done();
            let (before, came, rate) =
                self.files.entry(file.path().to_owned()).or_insert_with(|| (done, 0, Rate::default()));
            *came = if done < *before { 0 } else { *came + (done - *before).min(most) };
            *before = done;
            rate.sample(now, *came);
        }
    }

    fn of(&self, path: &str) -> Option<u64> {
        self.files.get(path).and_then(|(.., rate)| rate.per_second())
    }
}

/// The file data that a line needs.
trait AsFile {
    fn path(&self) -> &str;
    fn size(&self) -> u64;
    fn done(&self) -> u64;
}

impl AsFile for std::sync::Arc<Current> {
    fn path(&self) -> &str {
        &self.path
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn done(&self) -> u64 {
        Current::done(self)
    }
}

/// All lines. Each is narrower than the terminal, and there are fewer than it has rows.
fn picture<F: AsFile>(event: &Event, files: &[F], rates: &Rates, width: usize, height: usize) -> Vec<String> {
    // Terminals wrap a line that uses the last column.
    let width = width.saturating_sub(1);
    if event.total_bytes == 0 && event.total_files == 0 {
        return vec![cut("Asking the Hub…", width)];
    }
    let mut lines = vec![overall(event, rates.all.per_second(), width)];
    let room = MAX_FILES.min(height.saturating_sub(3));
    let shown = if files.len() > room { room.saturating_sub(1) } else { files.len() };
    let names = files.iter().take(shown).map(|file| text::width(file.path())).max().unwrap_or_default();
    lines.extend(files.iter().take(shown).map(|file| of_file(file, rates.of(file.path()), names, width)));
    if shown < files.len() {
        lines.push(cut(&format!("  and {} more", files.len() - shown), width));
    }
    lines
}

/// `3/17 files ━━━━━━╸           42 %  1.2 GiB of 2.9 GiB  45.3 MiB/s  38s left`
fn overall(event: &Event, rate: Option<u64>, width: usize) -> String {
    let Event { downloaded_bytes: done, total_bytes: total, .. } = *event;
    let files = format!("{}/{} files", event.files, event.total_files);
    let of = format!("{} of {}", padded(&units::size(done), SIZES), units::size(total));
    let words = fitting(
        // In display order, each with its priority: the highest number is dropped first.
        &[(0, percent(done, total)), (3, of), (1, speed(rate)), (2, left(total.saturating_sub(done), rate))],
        width.saturating_sub(text::width(&files) + 1),
    );
    let room = width.saturating_sub(text::width(&files) + text::width(&words) + 2);
    let bar = if room >= MIN_WIDTH { format!(" {}", bar(done, total, room.min(40))) } else { String::new() };
    cut(&format!("{files}{bar} {words}"), width)
}

/// `  …/model-00002-of-00003.safetensors    80 %  12 MiB/s  25s left`. `longest`: the width of the longest name.
fn of_file(file: &impl AsFile, rate: Option<u64>, longest: usize, width: usize) -> String {
    let (done, total) = (file.done().min(file.size()), file.size());
    let of = format!("of {}", padded(&units::size(total), SIZES));
    let name = longest.min(width / 2).max(MIN_WIDTH);
    let words = fitting(
        &[(0, percent(done, total)), (3, of), (1, speed(rate)), (2, left(total - done, rate))],
        width.saturating_sub(name + 4),
    );
    let room = width.saturating_sub(text::width(&words) + 4).min(longest);
    let name = shortened(file.path(), room);
    let space = " ".repeat(room.saturating_sub(text::width(&name)));
    cut(&format!("  {name}{space}  {words}"), width)
}

/// As many of the words as fit, by priority.
fn fitting<const N: usize>(words: &[(usize, String); N], width: usize) -> String {
    let mut kept = [false; N];
    let mut used = 0;
    for rank in 0..N {
        for ((own, word), kept) in words.iter().zip(&mut kept) {
            let needed = text::width(word) + if used == 0 { 0 } else { 2 };
            if *own == rank && used + needed <= width {
                *kept = true;
                used += needed;
            }
        }
    }
    let kept: Vec<_> =
        words.iter().zip(kept).filter(|(_, kept)| *kept).map(|((_, word), _)| word.as_str()).collect();
    kept.join("  ")
}

fn percent(done: u64, total: u64) -> String {
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    format!("{:>3} %", percent.min(100))
}

fn speed(rate: Option<u64>) -> String {
    padded(&rate.map_or_else(|| "…".to_owned(), |rate| format!("{}/s", units::size(rate))), SIZES + 2)
}

fn left(bytes: u64, rate: Option<u64>) -> String {
    let left = match rate {
        Some(0) => "stalled".to_owned(),
        Some(rate) => format!("{} left", duration(bytes.div_ceil(rate))),
        None => String::new(),
    };
    padded(&left, "10m30s left".len())
}

/// Right-aligned to a fixed width, so that columns do not jump.
fn padded(word: &str, width: usize) -> String {
    format!("{word:>width$}")
}

/// `38s`, `2m10s`, `1h05m`, `3d`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn bar(done: u64, total: u64, width: usize) -> String {
    let halves = u128::from(done.min(total)) * (width as u128) * 2 / u128::from(total.max(1));
    let halves = usize::try_from(halves).unwrap_or(width * 2);
    let full = "━".repeat(halves / 2);
    let half = if halves % 2 == 1 { "╸" } else { "" };
    format!("{full}{half}{}", " ".repeat(width - halves.div_ceil(2)))
}

/// A long path shortened to its end, which is more distinctive than its beginning.
fn shortened(path: &str, width: usize) -> String {
    if text::width(path) <= width {
        return path.to_owned();
    }
    format!("…{}", text::ending(path, width.saturating_sub(1)))
}

fn cut(line: &str, width: usize) -> String {
    text::beginning(line, width).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::text::testing::{assert_safe, nasty};

    struct File(&'static str, u64, u64);

    impl AsFile for File {
        fn path(&self) -> &str {
            self.0
        }

        fn size(&self) -> u64 {
            self.2
        }

        fn done(&self) -> u64 {
            self.1
        }
    }

    const MIB: u64 = 1 << 20;
    const LONG: &str = "some/folder/in/the/repo/model-00002-of-00003.safetensors";

    fn event(done: u64, total: u64) -> Event {
        Event { downloaded_bytes: done, total_bytes: total, files: 3, total_files: 17, percent: 0 }
    }

    /// The lines after two seconds in which each file received 10 MiB.
    fn drawn(width: usize, height: usize, files: &[File]) -> Vec<String> {
        let begin = Instant::now();
        let mut rates = Rates::default();
        let before: Vec<_> = files.iter().map(|file| File(file.0, file.1 - 10 * MIB, file.2)).collect();
        rates.sample(begin, 0, &before);
        rates.sample(begin + Duration::from_secs(2), 10 * MIB * files.len() as u64, files);
        picture(&event(1200 * MIB, 3000 * MIB), files, &rates, width, height)
    }

    #[test]
    fn eighty_columns_fit_everything() {
        let files = [File("config.bin", 40 * MIB, 80 * MIB), File(LONG, 900 * MIB, 1024 * MIB)];
        assert_eq!(
            drawn(80, 24, &files),
            [
                "3/17 files ━━━━━╸          40 %    1.2 GiB of 2.9 GiB     10 MiB/s   3m00s left",
                "  config.bin                                     50 %      5 MiB/s      8s left",
                "  …n/the/repo/model-00002-of-00003.safetensors   87 %      5 MiB/s     25s left",
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_the_percentage_is_kept() {
        let files = [
            File(LONG, 900 * MIB, 1024 * MIB),
            File("größe/模型模型模型模型模型模型模型.bin", 20 * MIB, 30 * MIB),
        ];
        for width in 20..200 {
            let lines = drawn(width, 24, &files);
            assert_eq!(lines.len(), 3);
            for line in lines {
                assert!(text::width(&line) < width, "{width}: {line:?}");
                assert!(line.contains(" %"), "{width}: {line:?}");
            }
        }
        for width in 0..20 {
            assert!(drawn(width, 24, &files).iter().all(|line| text::width(line) <= width));
        }
    }

    #[test]
    fn hostile_file_names_neither_control_the_terminal_nor_widen_a_line() {
        for (case, path) in nasty(200) {
            let all = std::sync::Arc::new(Progress::default());
            let file = all.file(&path, 30 * MIB, 1);
            file.resume(20 * MIB);
            for line in picture(&event(1, 2), &all.current(), &Rates::default(), 60, 24) {
                assert_safe(&line, 60 * 5, case);
                assert!(text::width(&line) < 60, "case {case}: {line:?}");
            }
        }
    }

    #[test]
    fn many_files_do_not_fill_the_terminal() {
        let files: Vec<_> = (0..32).map(|_| File("a.bin", 20 * MIB, 30 * MIB)).collect();
        let lines = drawn(80, 50, &files);
        assert_eq!((lines.len(), lines[MAX_FILES].as_str()), (MAX_FILES + 1, "  and 23 more"));
        assert_eq!(drawn(80, 6, &files).len(), 4);
        assert_eq!(drawn(80, 2, &files).len(), 2);
    }

    #[test]
    fn a_rate_is_shown_once_it_is_known() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut rate = Rate::default();
        rate.sample(at(0), 500);
        assert_eq!(rate.per_second(), None);
        rate.sample(at(100), 600);
        assert_eq!((rate.per_second(), speed(None).trim(), left(9, None).trim()), (None, "…", ""));
        rate.sample(at(1000), 2500);
        assert_eq!(rate.per_second(), Some(2000));
        rate.sample(at(1100), 10);
        assert_eq!(rate.per_second(), None, "the counter was reset");
        rate.sample(at(11_200), 10);
        assert_eq!((rate.per_second(), left(9, Some(0)).trim()), (Some(0), "stalled"));
        rate.sample(at(12_200), 1010);
        assert!(rate.per_second().is_some_and(|rate| rate < 100), "only the last ten seconds count");
    }

    #[test]
    fn resumed_bytes_do_not_count_as_speed() {
        let begin = Instant::now();
        let mut rates = Rates::default();
        rates.sample(begin, 0, &[File("a", 0, 1000 * MIB)]);
        // Part of the file is resumed from an earlier run, and little is downloaded.
        rates.sample(begin + Duration::from_secs(1), MIB, &[File("a", 900 * MIB, 1000 * MIB)]);
        assert_eq!((rates.of("a"), rates.all.per_second()), (Some(MIB), Some(MIB)));
    }

    #[test]
    fn before_the_plan_there_are_no_totals() {
        let nothing = Event { downloaded_bytes: 0, total_bytes: 0, files: 0, total_files: 0, percent: 0 };
        assert_eq!(picture::<File>(&nothing, &[], &Rates::default(), 80, 24), ["Asking the Hub…"]);
        let empty = Event { total_files: 2, ..nothing };
        assert!(picture::<File>(&empty, &[], &Rates::default(), 80, 24)[0].starts_with("0/2 files "));
    }

    #[test]
    fn times_have_two_units() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (130, "2m10s"), (3_900, "1h05m"), (200_000, "2d")] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn long_paths_keep_their_end() {
        assert_eq!(shortened("a/b.bin", 36), "a/b.bin");
        let long = format!("{}/model.bin", "ä".repeat(60));
        assert_eq!(text::width(&shortened(&long, 36)), 36);
        assert!(shortened(&long, 36).ends_with("ä/model.bin"));
    }
}
