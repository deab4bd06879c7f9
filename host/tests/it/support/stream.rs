//! A stream of which every byte tells its own offset, and a client that checks
//! it over all its connections: any byte that is lost, doubled, moved or
//! foreign is named.

use std::time::{Duration, Instant};

use super::level1::{Ready, Told, Visit, Window};

/// Bytes of a line of the stream: its number and a line's end.
pub const LINE: u64 = 8;

/// A shell that prints the stream's first line, waits for a line, prints the
/// others, waits for another line and ends with status 7. Nothing else is ever
/// printed.
pub fn streams(lines: u64) -> String {
    let last = lines - 1;
    format!(
        r#"shell = ["/bin/sh", "-c", "stty -opost -echo; echo 0000000; read go; seq -f %07.0f 1 {last}; read end; exit 7"]"#
    )
}

/// A shell that prints the stream until a line is typed, and then ends with status 7. It takes bash, for the pace.
pub const UNTIL_TOLD: &str = r#"shell = ["/bin/sh", "-c", "export LC_ALL=C; exec /bin/bash -c \"$0\"", "stty -opost -echo; i=0; until read -t 0.1 end; do seq -f %07.0f $i $((i + 49)); i=$((i + 50)); done; exit 7"]"#;

/// Reads so many more lines of such a shell.
pub async fn reads(window: &mut Window, lines: u64) {
    let until = window.end.unwrap() + lines * LINE;
    while window.end < Some(until) {
        window.next().await.unwrap();
    }
}

/// Ends such a shell, whose output this window has had from its beginning; returns how many bytes came, without a hole.
pub async fn ends(mut window: Window) -> u64 {
    window.input("end\n").await;
    let exit = window.told("exit").await;
    let all = window.output.len() as u64;
    assert_eq!((exit["code"].as_u64(), exit["offset"].as_u64()), (Some(7), Some(all)), "{:?}", window.stretches);
    check(0, &window.output);
    all
}

/// Checks a stretch of the stream. Names the first byte that is wrong.
pub fn check(from: u64, bytes: &[u8]) {
    let mut number = String::new();
    let mut of = u64::MAX;
    for (i, byte) in bytes.iter().enumerate() {
        let offset = from + i as u64;
        if of != offset / LINE {
            of = offset / LINE;
            number = format!("{of:07}\n");
        }
        let expected = number.as_bytes()[(offset % LINE) as usize];
        assert!(*byte == expected, "at {offset}: {:?} is foreign, {:?} was written", *byte as char, expected as char);
    }
}

/// One client's output of one session, over all its connections.
pub struct Follower {
    pub name: &'static str,
    pub session: String,
    pub epoch: u64,
    /// From offset 0 on, without a hole.
    pub end: u64,
    /// When each connection lost its last byte and the next one got its first.
    pub resumed: Vec<Duration>,
    last: Instant,
}

impl Follower {
    pub fn new(name: &'static str, ready: &Ready) -> Self {
        let (session, epoch) = (ready.session.clone(), ready.epoch);
        Follower { name, session, epoch, end: 0, resumed: Vec::new(), last: Instant::now() }
    }

    pub fn visit(&self) -> Visit {
        let visit = Visit::to(&self.session).client(self.name).since(self.end, self.epoch);
        if self.name == "viewer" { visit.viewer() } else { visit }
    }

    /// Waits for the first line, after which the terminal echoes nothing, and
    /// lets the others come.
    pub async fn starts(&mut self, window: &mut Window) {
        assert!(self.follow(window, LINE).await, "the broker lives");
        window.input("go\n").await;
    }

    /// Reads until the output ends at `until`, or the connection breaks, which
    /// it tells.
    pub async fn follow(&mut self, window: &mut Window, until: u64) -> bool {
        let mut first = true;
        while self.end < until {
            match window.next().await {
                Ok(Told::Output(offset, bytes)) => {
                    assert_eq!(offset, self.end, "{}: nothing is lost or doubled", self.name);
                    check(offset, &bytes);
                    self.end += bytes.len() as u64;
                    if std::mem::take(&mut first) && offset > 0 {
                        self.resumed.push(self.last.elapsed());
                    }
                    self.last = Instant::now();
                }
                Ok(Told::Said(said)) => assert_ne!(said["type"], "gap", "{}: {said}", self.name),
                Err(_) => return false,
            }
        }
        true
    }
}
