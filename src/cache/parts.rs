//! The progress of a download, part by part, kept in a sidecar file so that a later run can resume after a crash. Knows
//! nothing of the content itself.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
};

use super::{disk, root::Root};

const MAGIC: &[u8; 8] = b"mcparts1";
/// Magic, blob size, part length and boot ID of the machine that wrote it, in bytes.
const HEAD: usize = 8 + 8 + 8 + 16;
/// Bytes per part: how much of it is written.
const NUMBER: usize = 8;
/// The intended number of parts, unless that makes them too short for a separate request or too long to lose.
const PARTS: u64 = 32;
const SHORTEST: u64 = 8 << 20;
const LONGEST: u64 = 64 << 20;
/// The longest sidecar that is read, in bytes. Enough for the parts of 8 TiB.
const LONGEST_FILE: u64 = 1 << 20;

/// The parts of one blob. Each is written front to back by one writer at a time.
#[derive(Debug)]
pub(super) struct Parts {
    size: u64,
    length: u64,
    written: Vec<AtomicU64>,
    /// `None` if the sidecar cannot be written: then the download cannot be resumed.
    file: Option<File>,
}

impl Parts {
    /// The parts of an empty blob of `size` bytes, tracked in a sidecar at `path`.
    pub(super) fn create(root: &Root, path: &Path, size: u64) -> Self {
        Self::of_length(root, path, size, size.div_ceil(PARTS).clamp(SHORTEST, LONGEST))
    }

    /// A single part, for a server without range requests. Cannot be resumed.
    pub(super) fn one(size: u64) -> Self {
        Self { size, length: size.max(1), written: vec![AtomicU64::new(0)], file: None }
    }

    fn of_length(root: &Root, path: &Path, size: u64, length: u64) -> Self {
        let count = usize::try_from(size.div_ceil(length).max(1)).unwrap_or(usize::MAX);
        let written = (0..count).map(|_| AtomicU64::new(0)).collect();
        let mut parts = Self { size, length, written, file: None };
        parts.file = parts
            .keep(root, path)
            .inspect_err(|error| tracing::debug!(%error, "this download cannot be resumed"))
            .ok();
        parts
    }

    fn keep(&self, root: &Root, path: &Path) -> io::Result<File> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(boot().unwrap_or_default().to_le_bytes());
        bytes.resize(HEAD + NUMBER * self.written.len(), 0);
        let file = root.create_file(path)?;
        disk::open_to_all(&file)?;
        file.write_all_at(&bytes, 0)?;
        Ok(file)
    }

    /// Reads the sidecar of an earlier run for a blob of `size` bytes. `None` if it is invalid, such as after a crash while it
    /// was created.
    pub(super) fn read(root: &Root, path: &Path, size: u64) -> Option<ResumeState> {
        Self::read_any(root, path).filter(|kept| kept.size == size)
    }

    /// Reads the sidecar of an earlier run.
    pub(super) fn read_any(root: &Root, path: &Path) -> Option<ResumeState> {
        let bytes = root.read(path, LONGEST_FILE).ok()?;
        let (head, numbers) = bytes.split_at_checked(HEAD)?;
        let number = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
        let (size, length) = (number(8)?, number(16)?);
        let count = usize::try_from(size.div_ceil(length.max(1))).ok()?;
        if !head.starts_with(MAGIC) || length < SHORTEST || Some(numbers.len()) != count.checked_mul(NUMBER) {
            return None;
        }
        let written = numbers.chunks_exact(NUMBER).map(|number| number.try_into().map(u64::from_le_bytes));
        let written: Vec<_> = written.collect::<Result<_, _>>().ok()?;
        let boot = u128::from_le_bytes(head[24..HEAD].try_into().ok()?);
        let kept = ResumeState { size, length, written, same_boot: Some(boot) == self::boot() };
        (0..count)
            .all(|part| kept.written[part] <= kept.range(part).end - kept.range(part).start)
            .then_some(kept)
    }

    /// The number of parts.
    pub(super) fn count(&self) -> usize {
        self.written.len()
    }

    /// The byte range of a part in the blob.
    pub(super) fn range(&self, part: usize) -> Range<u64> {
        range(part, self.length, self.size)
    }

    /// The offset in the blob of the first missing byte of a part.
    pub(super) fn at(&self, part: usize) -> u64 {
        part as u64 * self.length + self.written[part].load(Acquire)
    }

    /// Records that `bytes` more of a part are written.
    pub(super) fn add(&self, part: usize, bytes: u64) {
        let now = self.written[part].load(Acquire) + bytes;
        self.written[part].store(now, Release);
        if let Some(file) = &self.file
            // If this is lost, only these bytes are downloaded again.
            && let Err(error) = file.write_all_at(&now.to_le_bytes(), (HEAD + NUMBER * part) as u64)
        {
            tracing::debug!(%error, "cannot save the download's progress");
        }
    }

    /// Resets all parts to empty.
    pub(super) fn clear(&self) {
        self.written.iter().for_each(|part| part.store(0, Release));
    }

    /// The bytes written in all parts.
    pub(super) fn present(&self) -> u64 {
        self.written.iter().map(|part| part.load(Acquire)).sum()
    }

    /// The end of the contiguous data from `at` on, within the part of `at`.
    pub(super) fn contiguous(&self, at: u64) -> u64 {
        let part = usize::try_from(at / self.length).unwrap_or(usize::MAX);
        if part < self.written.len() { self.at(part).max(at) } else { at }
    }

    /// Whether a later run can resume it.
    pub(super) fn is_kept(&self) -> bool {
        self.file.is_some()
    }
}

/// The sidecar of an earlier run.
#[derive(Debug)]
pub(super) struct ResumeState {
    size: u64,
    length: u64,
    written: Vec<u64>,
    /// Whether it ran on this machine since the last boot: then its writes are visible, and so are its locks.
    pub(super) same_boot: bool,
}

impl ResumeState {
    fn range(&self, part: usize) -> Range<u64> {
        range(part, self.length, self.size)
    }

    /// The bytes it had written.
    pub(super) fn present(&self) -> u64 {
        self.written.iter().sum()
    }

    /// The minimum length of a file that contains them.
    pub(super) fn extent(&self) -> u64 {
        let ends = self.written.iter().enumerate().filter(|(_, written)| **written > 0);
        ends.map(|(part, written)| self.range(part).start + written).max().unwrap_or_default()
    }

    /// Continues with the sidecar at `path`.
    pub(super) fn resume(self, root: &Root, path: &Path) -> io::Result<Parts> {
        let file = root.open_own(path)?;
        file.write_all_at(&boot().unwrap_or_default().to_le_bytes(), 24)?;
        let Self { size, length, written, .. } = self;
        Ok(Parts {
            size,
            length,
            written: written.into_iter().map(AtomicU64::new).collect(),
            file: Some(file),
        })
    }
}

fn range(part: usize, length: u64, size: u64) -> Range<u64> {
    let start = part as u64 * length;
    start..start.saturating_add(length).min(size)
}

/// The kernel's boot ID.
fn boot() -> Option<u128> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    const SIZE: u64 = 20 << 20;

    #[test]
    fn progress_survives_to_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let (root, path) = (Root::new(folder.path()), folder.path().join("parts"));
        let parts = Parts::create(&root, &path, SIZE);
        assert_eq!((parts.count(), parts.range(2)), (3, (16 << 20)..SIZE));
        parts.add(0, 5);
        parts.add(0, 6);
        parts.add(2, 7);
        let kept = Parts::read(&root, &path, SIZE).unwrap();
        assert_eq!((kept.present(), kept.extent(), kept.same_boot), (18, (16 << 20) + 7, true));
        let parts = kept.resume(&root, &path).unwrap();
        assert_eq!([parts.at(0), parts.at(1), parts.at(2)], [11, 8 << 20, (16 << 20) + 7]);
        assert_eq!((parts.contiguous(3), parts.contiguous(12), parts.contiguous(SIZE)), (11, 12, SIZE));
    }

    #[test]
    fn a_corrupt_sidecar_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let (root, path) = (Root::new(folder.path()), folder.path().join("parts"));
        Parts::create(&root, &path, SIZE);
        let good = fs::read(&path).unwrap();
        assert!(Parts::read(&root, &path, SIZE).is_some());
        assert!(Parts::read(&root, &path, SIZE + 1).is_none());
        let mut long = good.clone();
        long[HEAD + 3] = 1;
        for bad in [&good[..HEAD + 9], &good[..7], &[], &long] {
            fs::write(&path, bad).unwrap();
            assert!(Parts::read(&root, &path, SIZE).is_none(), "{} bytes", bad.len());
        }
    }

    #[test]
    fn parts_are_neither_tiny_nor_huge() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        for (size, count) in [(1, 1), (SHORTEST, 1), (SHORTEST + 1, 2), (1 << 30, 32), (100 << 30, 1600)] {
            let path = folder.path().join(size.to_string());
            assert_eq!(Parts::create(&root, &path, size).count(), count);
        }
    }
}
