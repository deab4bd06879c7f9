//! Clients that are behind: far on a slow line, and at another size than what
//! they get was written for.

use serde_json::{Value, json};

use crate::support::level1::{Visit, Window};
use crate::support::{Broker, Sandboxd};

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
