// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Log lines on standard error. If that is the journal, each line begins with its priority, as
//! `sd-daemon(3)` tells.

use std::fmt;
use std::os::fd::AsFd;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The length of the longest line, in bytes. Lines have strings that a program has chosen.
const MAX_LINE: usize = 1024;

/// Sends log lines to standard error.
pub fn init(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        // A line that cannot be written must not end the agent: saying so on standard error panics
        // if that is what fails, as when the journal has ended in a shutdown.
        .log_internal_errors(false)
        .event_format(Lines {
            priority: is_journal(),
        })
        .init();
}

/// Whether standard error is the stream to the journal that `$JOURNAL_STREAM` names by device
/// and inode.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr().as_fd())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

struct Lines {
    priority: bool,
}

/// `syslog(3)`'s numbers.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        if self.priority {
            write!(writer, "<{}>", priority(level))?;
        } else if level <= Level::WARN {
            write!(writer, "{}: ", level.as_str().to_lowercase())?;
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        writeln!(writer, "{}", printable(&line.0))
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        // A String takes everything.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// The text as one line of bounded length.
fn printable(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if line.len() + c.len_utf8() > MAX_LINE {
            line.push_str("...");
            break;
        }
        line.push(if c.is_control() { '?' } else { c });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_bounded() {
        assert_eq!(printable("a\nb\x1b[m"), "a?b?[m");
        let long = printable(&"\u{20ac}".repeat(MAX_LINE));
        assert!(long.len() <= MAX_LINE + 3);
        assert!(long.ends_with("..."));
    }
}
