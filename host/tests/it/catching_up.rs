//! Clients that are behind: far on a slow line, and at another size than what
//! they get was written for.

use sandbox_broker_terminal::frames::level1::ClientFrame;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::level1::{Told, Visit, Window};
use crate::support::line::Line;
use crate::support::{Broker, Sandboxd};

/// Of a line at home, far from the broker.
const BITS: u64 = 20_000_000;
const ROUND_TRIP: Duration = Duration::from_millis(150);

/// What that line carries in two seconds. A machine under load is slower than
/// the line, so that this and not the time is what can be promised of it.
const TWO_SECONDS: u64 = BITS / 8 * 2;

async fn broker(server: &Sandboxd) -> Broker {
    let sections = server.section("box");
    Broker::start_quiet(&format!("[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n{sections}")).await
}

fn size(cols: u16, rows: u16) -> Value {
    json!({ "cols": cols, "rows": rows })
}

/// The size that a program in the terminal is told.
async fn stty(window: &mut Window) -> String {
    window.input("echo \"size=$(stty size);\"\n").await;
    window.expect("size=").await;
    window.expect(";").await;
    let text = window.text();
    let (_, told) = text.rsplit_once("size=").unwrap();
    told.split_once(';').unwrap().0.to_owned()
}

/// Reads until `text` was printed or is on a screen.
async fn sees(window: &mut Window, text: &str) {
    let mut at = window.output.len();
    loop {
        match window.next().await.unwrap() {
            Told::Said(said) => {
                at = window.output.len();
                if said["data"].as_str().is_some_and(|screen| screen.contains(text)) {
                    return;
                }
            }
            Told::Output(..) => {
                let from = at.max(window.output.len().saturating_sub(64 * 1024));
                if String::from_utf8_lossy(&window.output[from..]).contains(text) {
                    return;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_megabytes_behind_the_first_key_is_echoed_soon() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let line = Line::start(&broker.url, BITS, ROUND_TRIP).await;
    let mut desk = Window::open(&broker.url, Visit::default().client("desk").size(100, 30).viewer()).await;
    let ready = desk.ready().await;
    let visit = || Visit::to(&ready.session).client("away").size(100, 30).screens();
    let mut away = Window::open(line.url(), visit()).await;
    let epoch = away.ready().await.epoch;
    away.input("seq -f '%050.0f' 1200000; echo all-of-$((30+30))\n").await;
    away.expect("0001\r\n").await;
    let end = away.end.unwrap();
    away.cut();
    desk.expect("all-of-60").await;
    assert!(desk.end.unwrap() - end > 60_000_000);

    let (before, began) = (line.carried(), Instant::now());
    let mut away = Window::open(line.url(), visit().since(end, epoch)).await;
    away.seq = away.ready().await.input;
    away.input("echo the-first-key-$((6*7))\n").await;
    sees(&mut away, "the-first-key-42").await;
    let (took, carried) = (began.elapsed(), line.carried() - before);
    println!("60 MB behind: {took:?} from the connection to the echo, {carried} bytes");
    assert!(carried < TWO_SECONDS, "{carried} bytes came before the echo, which is {took:?} after the connection");
    // And what follows is whole.
    away.input("seq -s, 2000; echo do''ne\n").await;
    away.expect("1999,2000\r\ndone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_falls_behind_gets_screens_and_its_keys_are_echoed() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let line = Line::start(&broker.url, BITS, ROUND_TRIP).await;
    let mut away = Window::open(line.url(), Visit::default().size(100, 30).screens()).await;
    away.ready().await;
    away.input("yes \"$(seq -s, 25)\"\n").await;
    for _ in 0..3 {
        away.told("screen").await;
    }
    let (before, began) = (line.carried(), Instant::now());
    away.input("\x03").await;
    away.input("echo the-first-key-$((6*7))\n").await;
    sees(&mut away, "the-first-key-42").await;
    let (took, carried) = (began.elapsed(), line.carried() - before);
    println!("in a flood: {took:?} from the key to its echo, {carried} bytes");
    assert!(carried < TWO_SECONDS, "{carried} bytes came before the echo, which took {took:?}");
    away.input("seq -s, 2000; echo do''ne\n").await;
    away.expect("1999,2000\r\ndone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_joins_late_is_told_the_size_that_programs_are_told() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut driver = Window::open(&broker.url, Visit::default().client("driver").size(100, 30)).await;
    let ready = driver.ready().await;
    assert_eq!(ready.size, size(100, 30));
    driver.input("stty -echo; seq 300000; echo flo''od\n").await;
    driver.expect("flood").await;
    driver.resize(150, 40).await;
    driver.told_that("size", |told| told["cols"] == 150 && told["rows"] == 40).await;
    assert_eq!(stty(&mut driver).await, "40 150");
    for visit in [Visit::to(&ready.session).viewer(), Visit::to(&ready.session).viewer().screens()] {
        let mut late = Window::open(&broker.url, visit).await;
        assert_eq!(late.ready().await.size, size(150, 40));
        assert_eq!(late.told("screen").await["size"], size(150, 40));
        driver.input("echo ma''rk\n").await;
        late.expect("mark").await;
        driver.expect("mark").await;
        let sizes = late.said.iter().filter(|said| said["type"] == "size").count();
        assert_eq!(sizes, 0, "there is nothing to correct: {:?}", late.said);
    }
    // A phone takes control, is told what it asked for, and the desk comes back to what that is.
    let mut phone = Window::open(&broker.url, Visit::to(&ready.session).client("phone").size(48, 30).screens()).await;
    phone.ready().await;
    phone.send_frame(ClientFrame::TakeControl).await;
    let has = |said: &Value| said["cols"] == 48 || said["size"]["cols"] == 48;
    while !phone.said.iter().any(has) {
        phone.next().await.unwrap();
    }
    assert_eq!(stty(&mut phone).await, "30 48");
    driver.cut();
    let visit = Visit::to(&ready.session).client("driver").viewer().size(180, 40).screens();
    let mut driver = Window::open(&broker.url, visit).await;
    assert_eq!(driver.ready().await.size, size(48, 30));
}

/// What a client is told of a session in which lines were printed at several
/// sizes: the size before each.
fn widths(window: &Window, first: &Value) -> Vec<(u64, u64)> {
    let mut changes = vec![(0, first["cols"].as_u64().unwrap())];
    let sizes = window.said.iter().filter(|said| said["type"] == "size");
    changes.extend(sizes.map(|said| (said["offset"].as_u64().unwrap(), said["cols"].as_u64().unwrap())));
    changes
}

#[tokio::test(flavor = "multi_thread")]
async fn output_comes_with_the_size_that_it_was_written_for() {
    let server = Sandboxd::start().await;
    let broker = broker(&server).await;
    let mut driver = Window::open(&broker.url, Visit::default().client("driver").size(80, 24)).await;
    let ready = driver.ready().await;
    driver.input("stty -echo; PS1=; echo rea''dy\n").await;
    driver.expect("ready").await;
    for cols in [90, 100, 110] {
        driver.resize(cols, 24).await;
        driver.told_that("size", |told| told["cols"] == cols).await;
        driver.input("echo \"at=$(stty size);\"\n").await;
        driver.expect(&format!("at=24 {cols};")).await;
    }
    let told = widths(&driver, &ready.size);
    assert_eq!(told.iter().map(|(_, cols)| *cols).collect::<Vec<_>>(), [80, 90, 100, 110]);
    // From the log, from anywhere.
    for since in [None, Some(told[1].0), Some(told[2].0 + 1), Some(told[3].0)] {
        let visit = Visit { since, epoch: Some(ready.epoch), ..Visit::to(&ready.session).viewer() };
        let mut late = Window::open(&broker.url, visit).await;
        let first = late.ready().await;
        late.expect("at=24 110;").await;
        let from = since.unwrap_or(0);
        let at = told.iter().rposition(|(at, _)| *at <= from).unwrap();
        assert_eq!(first.size["cols"], told[at].1, "from {since:?}");
        assert_eq!(widths(&late, &first.size)[1..], told[at + 1..], "from {since:?}");
    }
}
