//! Progress in a region of the terminal that is redrawn in place: a headline for each build, its phases with their
//! times, and the end of the backend's log. It goes away when the command is done.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use hwb_lib::Event;
use hwb_lib::event::{Cell, Phase};
use terminal_size::{Height, Width};
use unicode_width::UnicodeWidthStr as _;

use super::plain::{NOTE, WARNING};
use super::text;

const TITLE: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const CURRENT: Style = AnsiColor::Cyan.on_default();

/// How often times are brought up to date.
const TICK: Duration = Duration::from_millis(100);
/// The most that is kept of a log.
const TAIL: usize = 5;

/// A region at the lower end of the terminal; dropping it clears it.
#[derive(Debug)]
pub(crate) struct Live {
    screen: Arc<Mutex<Screen>>,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

#[derive(Debug, Default)]
struct Screen {
    builds: BTreeMap<Cell, Build>,
    /// How many rows stand there now.
    rows: usize,
}

#[derive(Debug)]
struct Build {
    title: String,
    started: Instant,
    done: Vec<(Phase, Duration)>,
    current: Option<(Phase, Instant)>,
    tail: VecDeque<String>,
}

#[derive(Debug, Clone, Copy)]
struct Size {
    columns: usize,
    rows: usize,
}

impl Live {
    /// Begins with an empty region.
    pub(super) fn start() -> Self {
        let screen = Arc::new(Mutex::new(Screen::default()));
        let (stop, stopped) = mpsc::channel();
        let shared = Arc::clone(&screen);
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                lock(&shared).draw("");
            }
        });
        // Without the thread only the times stand still between two events.
        Self { screen, ticker: thread.ok().map(|thread| (stop, thread)) }
    }

    /// Takes an event in.
    pub(super) fn show(&self, event: &Event) {
        let mut screen = lock(&self.screen);
        match event {
            // The next tick shows it: a backend may print thousands of lines in a second.
            Event::Log { cell, line } => screen.log(*cell, line),
            Event::Fetched { what, bytes } | Event::Sent { what, bytes } => {
                screen.draw(&format!("  {} {DIM}{}{DIM:#}\n", text::row(what), text::size(*bytes)));
            }
            Event::Note { message } => {
                screen.draw(&format!("{NOTE}note:{NOTE:#} {}\n", text::visible(message)));
            }
            Event::Warning { message } => {
                screen.draw(&format!("{WARNING}warning:{WARNING:#} {}\n", text::visible(message)));
            }
            event => {
                screen.advance(event, Instant::now());
                screen.draw("");
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            let _panicked = thread.join();
        }
        let mut screen = lock(&self.screen);
        screen.builds.clear();
        screen.draw("");
    }
}

fn lock(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Screen {
    fn advance(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Started { cell, title } => {
                let build = Build {
                    title: text::row(title),
                    started: now,
                    done: Vec::new(),
                    current: None,
                    tail: VecDeque::new(),
                };
                self.builds.insert(*cell, build);
            }
            Event::Phase { cell, phase } => {
                if let Some(build) = self.builds.get_mut(cell) {
                    build.current = Some((*phase, now));
                    build.tail.clear();
                }
            }
            Event::PhaseDone { cell, phase, elapsed } => {
                if let Some(build) = self.builds.get_mut(cell) {
                    build.current = build.current.filter(|(current, _)| current != phase);
                    build.done.push((*phase, *elapsed));
                }
            }
            Event::Finished { cell, outcome: _ } => {
                self.builds.remove(cell);
            }
            Event::Log { .. }
            | Event::Fetched { .. }
            | Event::Sent { .. }
            | Event::Note { .. }
            | Event::Warning { .. } => {}
        }
    }

    fn log(&mut self, cell: Cell, line: &str) {
        let line = text::row(line);
        if let Some(build) = self.builds.get_mut(&cell).filter(|_| !line.trim().is_empty()) {
            build.tail.truncate(TAIL - 1);
            build.tail.push_front(line);
        }
    }

    /// Draws the region anew, below `above`, which stays.
    fn draw(&mut self, above: &str) {
        let frame = self.frame(Instant::now(), size());
        if self.rows == 0 && frame.is_empty() && above.is_empty() {
            return;
        }
        let mut picture = String::new();
        if self.rows > 0 {
            picture.push_str(&format!("\x1b[{}A", self.rows));
        }
        picture.push_str("\r\x1b[J");
        picture.push_str(&styled(above));
        for row in &frame {
            picture.push_str(&styled(row));
            picture.push('\n');
        }
        self.rows = frame.len();
        // One write, so that no half of it is ever seen; a terminal that is gone needs no progress.
        let _gone = std::io::stderr().lock().write_all(picture.as_bytes());
    }

    /// The rows of the region, each narrower than the terminal.
    fn frame(&self, now: Instant, size: Size) -> Vec<String> {
        let columns = size.columns.saturating_sub(1);
        let tail = match self.builds.len() {
            0 | 1 => TAIL,
            2 => 3,
            _ => 1,
        };
        let mut rows = Vec::new();
        for build in self.builds.values() {
            rows.push(build.headline(now, columns));
            rows.push(build.phases(now, columns));
            let newest = build.tail.iter().take(tail).collect::<Vec<_>>();
            for line in newest.into_iter().rev() {
                rows.push(format!("{DIM}    {}{DIM:#}", text::fit(line, columns.saturating_sub(4))));
            }
        }
        rows.truncate(size.rows.saturating_sub(1));
        rows
    }
}

impl Build {
    fn headline(&self, now: Instant, columns: usize) -> String {
        let time = text::elapsed(now.saturating_duration_since(self.started));
        let title = text::fit(&self.title, columns.saturating_sub(time.width() + 1));
        format!("{TITLE}{title}{TITLE:#} {DIM}{time}{DIM:#}")
    }

    /// The phases in one row; the first ones give way if there is no room.
    fn phases(&self, now: Instant, columns: usize) -> String {
        let current = self.current.map(|(phase, since)| {
            let time = text::elapsed(now.saturating_duration_since(since));
            text::fit(&format!("{} {time}", phase.label()), columns.saturating_sub(2))
        });
        let mut room = columns.saturating_sub(2 + current.as_ref().map_or(0, |current| current.width() + 3));
        let mut done = VecDeque::new();
        for (phase, time) in self.done.iter().rev() {
            let part = format!("{} {}", phase.label(), text::elapsed(*time));
            let Some(rest) = room.checked_sub(part.width() + 3) else { break };
            room = rest;
            done.push_front(format!("{DIM}{part}{DIM:#}"));
        }
        let parts = done.into_iter().chain(current.map(|current| format!("{CURRENT}{current}{CURRENT:#}")));
        format!("  {}", parts.collect::<Vec<_>>().join(&format!("{DIM} · {DIM:#}")))
    }
}

/// The text without styles where colours are not wanted.
fn styled(text: &str) -> String {
    let choice = anstream::AutoStream::choice(&std::io::stderr());
    if choice == anstream::ColorChoice::Never {
        return anstream::adapter::strip_str(text).to_string();
    }
    text.to_owned()
}

fn size() -> Size {
    let size = terminal_size::terminal_size_of(std::io::stderr());
    let (Width(columns), Height(rows)) = size.unwrap_or((Width(80), Height(24)));
    Size { columns: columns.into(), rows: rows.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(events: &[Event], start: Instant) -> Screen {
        let mut screen = Screen::default();
        for event in events {
            match event {
                Event::Log { cell, line } => screen.log(*cell, line),
                event => screen.advance(event, start),
            }
        }
        screen
    }

    fn events() -> Vec<Event> {
        let cell = Cell(0);
        let mut events = vec![
            Event::Started { cell, title: "greeter for cpython 3.11.7".to_owned() },
            Event::Phase { cell, phase: Phase::Source },
            Event::PhaseDone { cell, phase: Phase::Source, elapsed: Duration::from_millis(120) },
            Event::Phase { cell, phase: Phase::Wheel },
        ];
        events.extend((1..=7).map(|n| Event::Log { cell, line: format!("\x1b[1mline {n}\x1b[0m") }));
        events
    }

    fn rows(screen: &Screen, now: Instant, columns: usize, rows: usize) -> Vec<String> {
        let frame = screen.frame(now, Size { columns, rows });
        frame.iter().map(|row| anstream::adapter::strip_str(row).to_string()).collect()
    }

    #[test]
    fn shows_phases_and_the_end_of_the_log() {
        let start = Instant::now();
        let screen = screen(&events(), start);
        assert_eq!(
            rows(&screen, start + Duration::from_millis(2300), 80, 24),
            [
                "greeter for cpython 3.11.7 2.3s",
                "  preparing source 0.1s · building wheel 2.3s",
                "    line 3",
                "    line 4",
                "    line 5",
                "    line 6",
                "    line 7",
            ]
        );
    }

    #[test]
    fn never_outgrows_the_terminal() {
        let start = Instant::now();
        let mut all = events();
        all.push(Event::Log { cell: Cell(0), line: "日本語".repeat(40) });
        let screen = screen(&all, start);
        for columns in 1..60 {
            for height in 1..10 {
                let rows = rows(&screen, start, columns, height);
                assert!(rows.len() < height, "{columns}x{height}");
                let widest = rows.iter().map(|row| row.width()).max().unwrap_or(0);
                assert!(columns < 8 || widest < columns, "{columns}x{height}: {rows:?}");
            }
        }
    }

    #[test]
    fn a_finished_build_leaves() {
        let start = Instant::now();
        let mut all = events();
        all.push(Event::Finished { cell: Cell(0), outcome: hwb_lib::event::Outcome::Built });
        assert!(rows(&screen(&all, start), start, 80, 24).is_empty());
    }
}
