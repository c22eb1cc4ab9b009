//! How far the work is, in one line on stderr if that is a terminal, and gone when it is done.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use libwatch::tools::Progress;

const PAUSE: Duration = Duration::from_millis(100);
const COLUMNS: u64 = 30;

/// The line. Dropping it removes it from the screen.
pub struct Bar {
    shown: bool,
    wanted: bool,
    next: Instant,
}

impl Bar {
    /// Nothing is shown before the first pause is over: short work needs no bar.
    pub fn new(quiet: bool) -> Self {
        let wanted = !quiet && std::io::stderr().is_terminal();
        Self { shown: false, wanted, next: Instant::now() + PAUSE }
    }

    pub fn show(&mut self, progress: Progress) {
        if self.wanted && Instant::now() >= self.next {
            self.next = Instant::now() + PAUSE;
            self.shown = true;
            // Whether the line is seen is of no consequence.
            let _ = write!(std::io::stderr(), "\r{}", line(progress));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(progress: Progress) -> String {
    let total = progress.total.max(1);
    let done = progress.done.min(total);
    let full = (done * COLUMNS / total) as usize;
    let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
    let rest = COLUMNS as usize - full;
    format!("[{}{}] {}/{} MiB", "#".repeat(full), ".".repeat(rest), megabytes(done), megabytes(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// etcd 19.9: a part of libwatch only.
    #[test]
    fn the_bar_fills_from_left_to_right_and_never_overflows() {
        let of = |done, total| line(Progress { done, total });
        assert_eq!(of(0, 4 << 20), format!("[{}] 0/4 MiB", ".".repeat(30)));
        assert_eq!(of(2 << 20, 4 << 20), format!("[{}{}] 2/4 MiB", "#".repeat(15), ".".repeat(15)));
        assert_eq!(of(9 << 20, 4 << 20), format!("[{}] 4/4 MiB", "#".repeat(30)));
        assert_eq!(of(0, 0), format!("[{}] 0/1 MiB", ".".repeat(30)));
    }
}
